"""CLIP's text encoder with its tokenizer: token ids to hidden states, with clip skip and injected embeddings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from engine.diffusion.families.load import Place, assign, number, on_meta, whole
from engine.diffusion.files import read_config
from engine.diffusion.patches import Report
from engine.diffusion.text import TextNetwork, Vectors, encode, no_embeddings
from engine.errors import BadFile, BadInput
from engine.types import Cond

SIZES = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "max_position_embeddings", "projection_dim",
)  # fmt: skip
UNREAD = ("position_ids", "logit_scale")
TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")
VOCABULARY_MAX = 16 << 20  # bytes
SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token")
DEFAULT_SPECIAL = ("<|startoftext|>", "<|endoftext|>")
CLIP_TOKENIZER = Path(__file__).parent / "assets" / "clip_tokenizer"


@dataclass(frozen=True)
class Reading:
    """How a family reads a CLIP: from which layer (1 = the last), with the final norm or not, pooled and projected."""

    skip: int = 1
    norm: bool = True
    projected: bool = False


@dataclass(frozen=True, eq=False)
class ClipText:
    """A CLIP text model and tokenizer, the `engine.diffusion.text.TextNetwork` of Stable Diffusion."""

    module: Any  # CLIPTextModel, or CLIPTextModelWithProjection if the reading is projected
    tokenizer: CLIPTokenizer
    reading: Reading = Reading()  # frozen
    vectors: Vectors = no_embeddings
    patched: Callable[[], AbstractContextManager[None]] = nullcontext
    reports: tuple[Report, ...] = ()

    @property
    def core(self) -> Any:
        """The transformer without its projection."""
        return self.module.text_model if self.reading.projected else self.module

    @property
    def encoders(self) -> tuple[TextNetwork, ...]:
        """The encoders that read a prompt: this one."""
        return (self,)

    @property
    def length(self) -> int:
        """Tokens per chunk, begin and end included."""
        return min(int(self.tokenizer.model_max_length), int(self.module.config.max_position_embeddings))

    @property
    def width(self) -> int:
        """Width of a token embedding."""
        return int(self.module.config.hidden_size)

    @property
    def begin(self) -> int:
        """Id of the token that begins a chunk."""
        return int(self.tokenizer.bos_token_id)

    @property
    def end(self) -> int:
        """Id of the token that ends a chunk."""
        return int(self.tokenizer.eos_token_id)

    @property
    def pad(self) -> int:
        """Id of the token that fills a chunk."""
        return int(self.tokenizer.pad_token_id)

    def pieces(self, text: str) -> list[tuple[int, int, int]]:
        """Return (token id, begin, end) for the tokens of `text`, the ends counted in characters."""
        found = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        return [(i, a, b) for i, (a, b) in zip(found["input_ids"], found["offset_mapping"], strict=True)]

    def condition(self, prompt: str, *, skip: int | None = None) -> Cond:
        """Turn a prompt into a condition."""
        encoded = encode(self, prompt, skip=skip)
        return Cond(encoded.tokens, encoded.pooled)

    def configured(self, options: Mapping[str, Any]) -> ClipText:
        """Return this network: it has no options of its own."""
        return self

    def encode(
        self, ids: Tensor, injected: Mapping[tuple[int, int], Tensor], skip: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return hidden states (N, L, D) and the pooled ones (N, P) for ids (N, L), in float32.

        `injected` replaces the embedding at (row, position). `skip` 1 is the last layer, 2 the one before, None the one
        that the family reads; the pooled state always comes from the last layer.
        """

        def inject(module: object, args: object, embedded: Tensor) -> Tensor:
            for (row, position), vector in injected.items():
                embedded[row, position] = vector.to(embedded)
            return embedded

        skip = skip or self.reading.skip
        layers = int(self.module.config.num_hidden_layers)
        if not 1 <= skip <= layers:
            raise BadInput(f"This text encoder has {layers} layers; layer {skip} from the end is none of them.")
        embedding = self.core.embeddings.token_embedding
        hook = embedding.register_forward_hook(inject)
        try:
            with self.patched():
                out = self.module(ids.to(embedding.weight.device), output_hidden_states=True)
                hidden = out.hidden_states[-skip]
                if self.reading.norm:
                    hidden = self.core.final_layer_norm(hidden)
        finally:
            hook.remove()
        pooled = out.text_embeds if self.reading.projected else out.pooler_output
        return hidden.float().cpu(), pooled.float().cpu()


def build_clip_text(
    config: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    tokenizer: Path,
    place: Place,
    *,
    reading: Reading = Reading(),  # frozen
    pad: int | None = None,
) -> ClipText:
    """Build the text encoder of `config` around `weights`; keys with or without their `text_model.` prefix.

    `pad`: id of the token that fills a chunk, if it is not the tokenizer's.
    """
    cls = CLIPTextModelWithProjection if reading.projected else CLIPTextModel
    module = on_meta(lambda: cls(_config(config)), config, "text encoder")
    named = {k.removeprefix("text_model."): v for k, v in weights.items() if not k.endswith(UNREAD)}
    projection = named.pop("text_projection.weight", None)
    if reading.projected:
        named = {f"text_model.{k}": v for k, v in named.items()}
        named |= {} if projection is None else {"text_projection.weight": projection}
    assign(module, named, place, "text encoder")
    built = ClipText(module, load_tokenizer(tokenizer, pad), reading)
    known, told = int(module.config.vocab_size), len(built.tokenizer)
    if known < told:
        raise BadFile(f"The text encoder knows {known} tokens, its tokenizer {told}: they do not belong together.")
    positions = torch.arange(module.config.max_position_embeddings, device=place.device).expand((1, -1))
    built.core.embeddings.register_buffer("position_ids", positions, persistent=False)  # no file carries it
    return built


def _config(config: Mapping[str, Any]) -> CLIPTextConfig:
    """Read what shapes the network; transformers' own defaults are those of the config class."""
    sizes = {name: whole(config, name, getattr(CLIPTextConfig, name)) for name in SIZES}
    return CLIPTextConfig(
        **sizes,
        hidden_act=str(config.get("hidden_act", CLIPTextConfig.hidden_act)),
        layer_norm_eps=number(config, "layer_norm_eps", CLIPTextConfig.layer_norm_eps),
        **{name: int(number(config, name, getattr(CLIPTextConfig, name))) for name in TOKENS},
    )


def load_tokenizer(folder: Path, pad: int | None = None) -> CLIPTokenizer:
    """Load CLIP's tokenizer from `vocab.json` and `merges.txt`; BadFile if they are not there or do not fit.

    They are read and checked here, since transformers makes an empty tokenizer of a missing file and raises bare
    exceptions for a broken one.
    """
    vocabulary = read_config(folder / "vocab.json", limit=VOCABULARY_MAX)
    settings = read_config(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
    try:
        lines = (folder / "merges.txt").read_text("utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise BadFile(f"{folder.name}/merges.txt cannot be read: {error}.") from error
    merges = [tuple(line.split(" ")) for line in lines[1:] if line.strip()]
    whole = all(isinstance(i, int) and i >= 0 for i in vocabulary.values())
    if not whole or not all(len(m) == 2 and {*m, "".join(m)} <= vocabulary.keys() for m in merges):
        raise BadFile(f"The tokenizer in {folder.name} is damaged: its merges do not fit its vocabulary.")
    length = settings.get("model_max_length")
    named = {k: settings[k] for k in SPECIAL_TOKENS if isinstance(settings.get(k), str) and settings[k] in vocabulary}
    if not {named.get(k, d) for k, d in zip(SPECIAL_TOKENS, DEFAULT_SPECIAL, strict=False)} <= vocabulary.keys():
        raise BadFile(f"The tokenizer in {folder.name} lacks the tokens for start and end of text.")
    if pad is not None:
        named["pad_token"] = next(token for token, id in vocabulary.items() if id == pad)
    return CLIPTokenizer(
        vocab=vocabulary,
        merges=merges,
        model_max_length=length if isinstance(length, int) and length > 2 else 77,
        **named,
    )
