"""CLIP and T5 that read a prompt together, as in Stable Diffusion 3 and Flux.1: what they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Self

from torch import nn

from engine.diffusion.families.clip_pair import NAMES, ClipPair
from engine.diffusion.families.clip_text import ClipText
from engine.diffusion.families.t5_text import T5Text
from engine.diffusion.patches import Report
from engine.diffusion.text import TextNetwork, Vectors, no_embeddings
from engine.types import Cond

T5 = "t5"


@dataclass(frozen=True, eq=False)
class ClipAndT5(ABC):
    """To prompts it is CLIP, or the pair of them (`text.TextNetwork`); T5 reads the same prompt as one line.

    `module` holds all of them: `clip_l`, `clip_g`, `t5`.
    """

    first: ClipText | ClipPair
    t5: T5Text | None
    module: nn.ModuleDict
    vectors: Vectors = no_embeddings
    patched: Callable[[], AbstractContextManager[None]] = nullcontext
    reports: tuple[Report, ...] = ()

    @classmethod
    def of(cls, first: ClipText | ClipPair, t5: T5Text | None) -> Self:
        """Join encoders."""
        clips = first.module if isinstance(first, ClipPair) else {NAMES[0]: first.module}
        return cls(first, t5, nn.ModuleDict({**clips, **({} if t5 is None else {T5: t5.module})}))

    @property
    def encoders(self) -> tuple[TextNetwork, ...]:
        """The CLIPs, with these embeddings and patches."""
        return replace(self.first, vectors=self.vectors, patched=self.patched).encoders

    @property
    def line(self) -> T5Text | None:
        """T5 with these patches."""
        return self.t5 and replace(self.t5, patched=self.patched)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.first, name)

    @abstractmethod
    def condition(self, prompt: str, *, skip: int | None = None) -> Cond:
        """Turn a prompt into a condition."""

    def configured(self, options: Mapping[str, Any]) -> Self:
        """Return this network: it has no options of its own."""
        return self
