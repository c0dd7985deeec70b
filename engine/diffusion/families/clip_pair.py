"""Two CLIP text encoders that read a prompt together, as in SDXL: states joined by width, the second one pools."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from engine.diffusion.families.clip_text import ClipText
from engine.diffusion.patches import Report
from engine.diffusion.text import TextNetwork, Vectors, encode, no_embeddings
from engine.types import Cond

NAMES = ("clip_l", "clip_g")  # what their own parts of LoRA and embedding files are called


@dataclass(frozen=True, eq=False)
class ClipPair:
    """A `TextNetwork` that cuts prompts as its first encoder does. `module` holds both under `NAMES`."""

    first: ClipText
    second: ClipText
    module: nn.ModuleDict
    vectors: Vectors = no_embeddings
    patched: Callable[[], AbstractContextManager[None]] = nullcontext
    reports: tuple[Report, ...] = ()

    @classmethod
    def of(cls, first: ClipText, second: ClipText) -> ClipPair:
        """Join two encoders."""
        return cls(first, second, nn.ModuleDict(dict(zip(NAMES, (first.module, second.module), strict=True))))

    @property
    def encoders(self) -> tuple[TextNetwork, ...]:
        """Both, with the pair's embeddings and patches."""
        return tuple(replace(each, vectors=self.vectors, patched=self.patched) for each in (self.first, self.second))

    @property
    def length(self) -> int:
        """Tokens per chunk, begin and end included."""
        return self.first.length

    @property
    def width(self) -> int:
        """Width of a token embedding of the first."""
        return self.first.width

    @property
    def begin(self) -> int:
        """Id of the token that begins a chunk."""
        return self.first.begin

    @property
    def end(self) -> int:
        """Id of the token that ends a chunk."""
        return self.first.end

    @property
    def pad(self) -> int:
        """Id of the token that fills a chunk of the first."""
        return self.first.pad

    def pieces(self, text: str) -> list[tuple[int, int, int]]:
        """Return (token id, begin, end) for the tokens of `text`."""
        return self.first.pieces(text)

    def encode(
        self, ids: Tensor, injected: Mapping[tuple[int, int], Tensor], skip: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return what the first encoder makes of ids (N, L)."""
        return replace(self.first, patched=self.patched).encode(ids, injected, skip)

    def condition(self, prompt: str, *, skip: int | None = None) -> Cond:
        """Turn a prompt into a condition."""
        encoded = encode(self, prompt, skip=skip)
        return Cond(encoded.tokens, encoded.pooled)

    def configured(self, options: Mapping[str, Any]) -> ClipPair:
        """Return this network: it has no options of its own."""
        return self
