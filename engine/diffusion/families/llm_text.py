"""A language model as a text encoder: a prompt inside a template, and the states of one of its layers.

Such a model reads plain language: brackets of a prompt are brackets, and weights are not read.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from engine.diffusion.families import shapes
from engine.diffusion.families.base import Source
from engine.diffusion.families.ldm import Shapes
from engine.diffusion.families.load import Place, assign, number, on_meta, whole
from engine.diffusion.families.text_parts import TextPart, refuse_skip
from engine.diffusion.families.tokenizer import folder_of
from engine.diffusion.patches import Report
from engine.diffusion.text import Vectors, no_embeddings
from engine.errors import BadFile
from engine.types import Cond

STARTS = ("model.language_model.", "language_model.model.", "language_model.", "model.", "")
EMBEDDING = "embed_tokens.weight"
KEPT = ("embed_tokens.", "layers.", "norm.")  # the rest are a vision tower and a head that says words
SIZES = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
         "num_key_value_heads")  # fmt: skip


@dataclass(frozen=True)
class Template:
    """What stands around a prompt, how many tokens of the beginning are dropped again, and how many are read."""

    before: str = ""
    after: str = ""
    drop: int = 0
    length: int = 512


@dataclass(frozen=True, eq=False)
class LlmText:
    """A decoder and its tokenizer. `layer`: whose states are read, -1 the last with its norm, -2 the one before it."""

    module: Any
    tokenizer: Tokenizer
    template: Template
    layer: int = -1
    vectors: Vectors = no_embeddings
    patched: Callable[[], AbstractContextManager[None]] = nullcontext
    reports: tuple[Report, ...] = ()

    @property
    def width(self) -> int:
        """Width of a state."""
        return int(self.module.config.hidden_size)

    def read(self, prompt: str) -> Tensor:
        """Return states (1, L, D) in float32; L is as long as the prompt, at most the template's length."""
        frame = self.template
        ids = self.tokenizer.encode(f"{frame.before}{prompt}{frame.after}", add_special_tokens=False).ids
        there = torch.tensor([ids[: frame.length + frame.drop]], device=self.module.norm.weight.device)
        with self.patched():
            found = self.module(there, output_hidden_states=True, use_cache=False)
        states: Tensor = found.hidden_states[self.layer]
        return states[:, frame.drop :].float().cpu()

    def condition(self, prompt: str, *, skip: int | None = None) -> Cond:
        """Turn a prompt into a condition: tokens (1, L, D), as long as the prompt."""
        refuse_skip(skip)
        return Cond(self.read(prompt))

    def configured(self, options: Mapping[str, Any]) -> LlmText:
        """Return this network: it has no options of its own."""
        return self


@dataclass(frozen=True)
class LlmPart(TextPart):
    """A decoder as a family's text encoder. `head`: width of its attention heads, which no shape tells.

    `name`, `origin`: of its tokenizer (`tokenizer.folder_of`).
    """

    template: Template = Template()
    layer: int = -1
    head: int = 128
    name: str = ""
    origin: str = ""

    @abstractmethod
    def is_kind(self, header: Shapes, start: str) -> bool:
        """Say whether the decoder whose keys begin with `start` is of this kind."""

    @abstractmethod
    def made(self, sizes: Mapping[str, Any], config: Mapping[str, Any]) -> Any:
        """Make the module of these sizes."""

    @abstractmethod
    def tokens(self, folder: Path) -> Tokenizer:
        """Load its tokenizer."""

    def is_at(self, header: Shapes, prefix: str) -> bool:
        """Say whether such a decoder lies behind `prefix`."""
        start = _start(header, prefix)
        return start is not None and self.is_kind(header, start)

    def config(self, header: Shapes, prefix: str) -> Mapping[str, Any]:
        """Return its config, from shapes."""
        start = _start(header, prefix) or prefix
        vocabulary, width = header[start + EMBEDDING].shape
        first = f"{start}layers.0."
        return {
            "vocab_size": vocabulary,
            "hidden_size": width,
            "intermediate_size": header[f"{first}mlp.gate_proj.weight"].shape[0],
            "num_hidden_layers": shapes.count(header, re.escape(start) + r"layers\.(\d{1,4})\.") + 1,
            "num_attention_heads": header[f"{first}self_attn.q_proj.weight"].shape[0] // self.head,
            "num_key_value_heads": header[f"{first}self_attn.k_proj.weight"].shape[0] // self.head,
            "head_dim": self.head,
        }

    def built(self, source: Source, config: Mapping[str, Any], weights: Mapping[str, Tensor], place: Place) -> LlmText:
        """Build it, without its vision tower and its head."""
        text = config.get("text_config")
        text = text if isinstance(text, Mapping) else config
        sizes = {name: whole(text, name, 1) for name in SIZES}
        module = on_meta(lambda: self.made(sizes, text), sizes, "language model")
        start = _start(weights, "") or ""
        named = {k.removeprefix(start): v for k, v in weights.items() if k.startswith(start)}
        assign(module, {k: v for k, v in named.items() if k.startswith(KEPT)}, place, "language model")
        module.rotary_emb = type(module.rotary_emb)(config=module.config).to(place.device)  # no file carries it
        folder = folder_of(source, self.tokenizer, self.name, self.origin)
        tokenizer = self.tokens(folder)
        if sizes["vocab_size"] < tokenizer.get_vocab_size():
            raise BadFile(
                f"The language model knows {sizes['vocab_size']} tokens, its tokenizer {tokenizer.get_vocab_size()}: "
                "they do not belong together."
            )
        return LlmText(module, tokenizer, self.template, self.layer)


def rope_theta(config: Mapping[str, Any], default: float) -> float:
    """Return the base of the rotation by position, wherever a config says it."""
    nested = config.get("rope_parameters")
    return number(nested if isinstance(nested, Mapping) else config, "rope_theta", default)


def _start(header: Mapping[str, Any], prefix: str) -> str | None:
    """Return how the keys of a decoder behind `prefix` begin, or None if there is none."""
    starts = (prefix + start for start in STARTS)
    signs = (EMBEDDING, "layers.0.self_attn.q_proj.weight", "layers.0.mlp.gate_proj.weight")
    return next((s for s in starts if all(len(shapes.header_shape(header, s + sign)) == 2 for sign in signs)), None)
