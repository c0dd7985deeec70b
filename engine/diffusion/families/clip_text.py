"""CLIP's text encoder with its tokenizer: token ids to hidden states, with clip skip and injected embeddings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from engine.diffusion.families.load import Place, assign, number, on_meta, whole
from engine.diffusion.files import read_config
from engine.diffusion.patches import Report
from engine.diffusion.text import Vectors, no_embeddings
from engine.errors import BadFile, BadInput

SIZES = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "max_position_embeddings", "projection_dim",
)  # fmt: skip
TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")
VOCABULARY_MAX = 16 << 20  # bytes
SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token")
DEFAULT_SPECIAL = ("<|startoftext|>", "<|endoftext|>")
CLIP_TOKENIZER = Path(__file__).parent / "assets" / "clip_tokenizer"


@dataclass(frozen=True, eq=False)
class ClipText:
    """A CLIP text model and tokenizer, the `engine.diffusion.text.TextNetwork` of Stable Diffusion 1.x and its kin."""

    module: CLIPTextModel
    tokenizer: CLIPTokenizer
    vectors: Vectors = no_embeddings
    patched: Callable[[], AbstractContextManager[None]] = nullcontext
    reports: tuple[Report, ...] = ()

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

    def encode(self, ids: Tensor, injected: Mapping[tuple[int, int], Tensor], skip: int) -> tuple[Tensor, Tensor]:
        """Return hidden states (N, L, D) and the pooled ones (N, D) for ids (N, L), in float32.

        `injected` replaces the embedding at (row, position). `skip` 1 is the last layer, 2 the one before, each with
        the final norm (as trained for Stable Diffusion 1.x); the pooled state always comes from the last layer.
        """

        def inject(module: object, args: object, embedded: Tensor) -> Tensor:
            for (row, position), vector in injected.items():
                embedded[row, position] = vector.to(embedded)
            return embedded

        layers = int(self.module.config.num_hidden_layers)
        if not 1 <= skip <= layers:
            raise BadInput(f"This text encoder has {layers} layers; layer {skip} from the end is none of them.")
        device = self.module.embeddings.token_embedding.weight.device
        hook = self.module.embeddings.token_embedding.register_forward_hook(inject)
        try:
            with self.patched():
                out = self.module(ids.to(device), output_hidden_states=skip > 1)
                hidden = out.last_hidden_state
                if skip > 1:
                    hidden = self.module.final_layer_norm(out.hidden_states[-skip])
        finally:
            hook.remove()
        return hidden.float().cpu(), out.pooler_output.float().cpu()


def build_clip_text(
    config: Mapping[str, Any], weights: Mapping[str, Tensor], tokenizer: Path, place: Place
) -> ClipText:
    """Build the text encoder of `config` around `weights`; keys with or without their `text_model.` prefix."""
    module = on_meta(lambda: CLIPTextModel(_config(config)), config, "text encoder")
    named = {k.removeprefix("text_model."): v for k, v in weights.items() if not k.endswith("position_ids")}
    named.pop("text_projection.weight", None)
    assign(module, named, place, "text encoder")
    positions = torch.arange(module.config.max_position_embeddings, device=place.device).expand((1, -1))
    module.embeddings.register_buffer("position_ids", positions, persistent=False)  # no file carries it
    return ClipText(module, load_tokenizer(tokenizer))


def _config(config: Mapping[str, Any]) -> CLIPTextConfig:
    """Read what shapes the network; transformers' own defaults are those of the config class."""
    sizes = {name: whole(config, name, getattr(CLIPTextConfig, name)) for name in SIZES}
    return CLIPTextConfig(
        **sizes,
        hidden_act=str(config.get("hidden_act", CLIPTextConfig.hidden_act)),
        layer_norm_eps=number(config, "layer_norm_eps", CLIPTextConfig.layer_norm_eps),
        **{name: int(number(config, name, getattr(CLIPTextConfig, name))) for name in TOKENS},
    )


def load_tokenizer(folder: Path) -> CLIPTokenizer:
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
    return CLIPTokenizer(
        vocab=vocabulary,
        merges=merges,
        model_max_length=length if isinstance(length, int) and length > 2 else 77,
        **named,
    )
