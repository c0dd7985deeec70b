"""T5's encoder as a text encoder: one line of tokens, one state each (Raffel et al. 2020, arXiv 1910.10683).

`T5EncoderModel` and `UMT5EncoderModel` differ in where positions are known: in the first layer or in all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import T5Config, T5EncoderModel, UMT5Config, UMT5EncoderModel

from engine.diffusion.families import shapes
from engine.diffusion.families.base import Source
from engine.diffusion.families.ldm import Shapes
from engine.diffusion.families.load import Place, assign, number, on_meta, whole
from engine.diffusion.families.text_parts import TextPart, refuse_skip
from engine.diffusion.families.tokenizer import PIECE, Line, folder_of, line, unigram, unigram_of
from engine.diffusion.patches import Report
from engine.diffusion.text import Vectors, no_embeddings
from engine.errors import BadFile
from engine.types import Cond

PAD, END = 0, 1
SIZES = ("vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_heads", "relative_attention_num_buckets")
SHARED, TIED = "shared.weight", "encoder.embed_tokens.weight"
ATTENTION = "encoder.block.0.layer.0.SelfAttention."
EVERYWHERE = "encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight"  # what makes it UMT5
UNREAD = ("spiece_model", "scaled_fp8", "logit_scale")


@dataclass(frozen=True, eq=False)
class T5Text:
    """An encoder and its tokenizer. `length`: tokens read; `masked`: whether the encoder is told which are padding."""

    module: Any  # T5EncoderModel or UMT5EncoderModel
    tokenizer: Tokenizer
    length: int
    masked: bool = False
    vectors: Vectors = no_embeddings
    patched: Callable[[], AbstractContextManager[None]] = nullcontext
    reports: tuple[Report, ...] = ()

    @property
    def width(self) -> int:
        """Width of a state."""
        return int(self.module.config.d_model)

    def read(self, prompt: str) -> tuple[Tensor, Tensor]:
        """Return states (1, L, D) in float32 and which of them are tokens (1, L), for a prompt with weights.

        A weight w acts as in `engine.diffusion.text`: empty + w (state - empty).
        """
        found = self._line(prompt)
        states = self._states(found)
        if bool((found.weights != 1).any()):
            empty = self._states(self._line(""))
            states = torch.where(found.weights == 1, states, empty + found.weights * (states - empty))
        return states, found.mask

    def condition(self, prompt: str, *, skip: int | None = None) -> Cond:
        """Turn a prompt into a condition: tokens (1, L, D), and `mask` (1, L), 1 = a token, if the encoder reads it."""
        refuse_skip(skip)
        states, mask = self.read(prompt)
        return Cond(states, extra={"mask": mask} if self.masked else {})

    def configured(self, options: Mapping[str, Any]) -> T5Text:
        """Return this network: it has no options of its own."""
        return self

    def _line(self, prompt: str) -> Line:
        return line(self.tokenizer, prompt, self.length, pad=PAD, end=(END,))

    def _states(self, found: Line) -> Tensor:
        device = self.module.encoder.final_layer_norm.weight.device
        mask = found.mask.to(device) if self.masked else None
        with self.patched():
            states: Tensor = self.module(found.ids.to(device), attention_mask=mask).last_hidden_state
        return states.float().cpu()


def build_t5(
    config: Mapping[str, Any], weights: Mapping[str, Tensor], tokenizer: Tokenizer, place: Place, *,
    length: int, masked: bool = False,
) -> T5Text:  # fmt: skip
    """Build the encoder of `config` around `weights`; its table of tokens may come under one or both of its names."""
    umt5 = config.get("model_type") == "umt5"
    cls, made = (UMT5EncoderModel, UMT5Config) if umt5 else (T5EncoderModel, T5Config)
    plain = T5Config()  # for what a config does not say
    sizes = {name: whole(config, name, getattr(plain, name)) for name in SIZES}
    kind = str(config.get("feed_forward_proj", "gated-gelu"))
    epsilon = number(config, "layer_norm_epsilon", plain.layer_norm_epsilon)
    module = on_meta(
        lambda: cls(made(**sizes, feed_forward_proj=kind, layer_norm_epsilon=epsilon)), config, "T5 encoder"
    )
    named = {k: v for k, v in weights.items() if not k.startswith("decoder.") and k not in UNREAD}
    shared = named.get(SHARED, named.get(TIED))
    if shared is not None:
        named |= {SHARED: shared, TIED: shared}
    assign(module, named, place, "T5 encoder")
    if sizes["vocab_size"] < tokenizer.get_vocab_size():
        told = tokenizer.get_vocab_size()
        raise BadFile(f"T5 knows {sizes['vocab_size']} tokens, its tokenizer {told}: they do not belong together.")
    return T5Text(module, tokenizer, length, masked)


def t5_config(header: Shapes, prefix: str) -> dict[str, Any]:
    """Read an encoder's config from its shapes."""
    vocabulary, width = shapes.header_shape(header, prefix + SHARED) or shapes.header_shape(header, prefix + TIED)
    buckets, heads = shapes.header_shape(header, f"{prefix}{ATTENTION}relative_attention_bias.weight")
    inner = shapes.header_shape(header, f"{prefix}{ATTENTION}q.weight")[0]
    gated = f"{prefix}encoder.block.0.layer.1.DenseReluDense.wi_0.weight"
    plain = gated.replace("wi_0", "wi")
    return {
        "model_type": "umt5" if prefix + EVERYWHERE in header else "t5",
        "vocab_size": vocabulary,
        "d_model": width,
        "d_kv": inner // heads,
        "d_ff": (shapes.header_shape(header, gated) or shapes.header_shape(header, plain))[0],
        "num_layers": shapes.count(header, re.escape(prefix) + r"encoder\.block\.(\d{1,4})\.") + 1,
        "num_heads": heads,
        "relative_attention_num_buckets": buckets,
        "feed_forward_proj": "gated-gelu" if gated in header else "relu",
    }


@dataclass(frozen=True)
class T5Part(TextPart):
    """T5 as a family's text encoder. `name`, `origin`: of its tokenizer (`tokenizer.folder_of`)."""

    length: int = 512
    masked: bool = False
    everywhere: bool = False  # UMT5
    name: str = "t5"
    origin: str = "google/t5-v1_1-xxl"

    def is_at(self, header: Shapes, prefix: str) -> bool:
        """Say whether a T5 encoder lies behind `prefix`."""
        return (
            len(shapes.header_shape(header, f"{prefix}{ATTENTION}relative_attention_bias.weight")) == 2
            and len(shapes.header_shape(header, prefix + SHARED) or shapes.header_shape(header, prefix + TIED)) == 2
            and (prefix + EVERYWHERE in header) == self.everywhere
        )

    def config(self, header: Shapes, prefix: str) -> Mapping[str, Any]:
        """Return its config, from shapes."""
        return t5_config(header, prefix)

    def built(self, source: Source, config: Mapping[str, Any], weights: Mapping[str, Tensor], place: Place) -> T5Text:
        """Build it with the tokenizer that its file carries, or that lies beside it."""
        if PIECE in weights:
            tokenizer = unigram_of(bytes(weights[PIECE].tolist()), f"{source.path.name}/{PIECE}")
        else:
            tokenizer = unigram(folder_of(source, self.tokenizer, self.name, self.origin))
        return build_t5(config, weights, tokenizer, place, length=self.length, masked=self.masked)
