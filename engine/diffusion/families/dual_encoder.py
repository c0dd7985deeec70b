"""Dual encoders: pictures and texts become vectors of one space, and the cosine of two says how well they fit.

Radford et al. 2021, arXiv 2103.00020 (CLIP). The families that build one are `clip_dual` and `small_dual`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPTokenizer

from engine.diffusion.patches import Report

Colour = tuple[float, float, float]
AT_ONCE = 16  # pictures


@dataclass(frozen=True, eq=False)
class DualNetwork:
    """Two networks with one space, and how what they read is prepared.

    `look` maps pictures (B, 3, side, side), less `mean` and over `deviation`, to vectors (B, D); `read` maps token ids
    (N, length) to vectors (N, D).
    """

    module: Any
    look: Callable[[Tensor], Tensor]
    read: Callable[[Tensor], Tensor]
    tokenizer: CLIPTokenizer
    side: int
    length: int
    mean: Colour = (0.5, 0.5, 0.5)
    deviation: Colour = (0.5, 0.5, 0.5)
    patched: Callable[[], AbstractContextManager[None]] = nullcontext
    reports: tuple[Report, ...] = ()

    def configured(self, options: Mapping[str, Any]) -> DualNetwork:
        """Return itself: it has no settings."""
        return self

    @torch.no_grad()
    def pictures(self, pixels: Tensor) -> Tensor:
        """Return unit vectors (B, D) of pictures (B, H, W, 3) in 0..1, each resized to the side that is read."""
        planes = pixels.permute(0, 3, 1, 2)
        if planes.shape[-2:] != (self.side, self.side):
            planes = F.interpolate(planes, (self.side, self.side), mode="bicubic", antialias=True).clamp(0, 1)
        mean, deviation = (planes.new_tensor(c)[:, None, None] for c in (self.mean, self.deviation))
        ready = ((planes - mean) / deviation).to(self._weight)
        seen = [self.look(ready[i : i + AT_ONCE]) for i in range(0, len(ready), AT_ONCE)]
        return F.normalize(torch.cat(seen).float().cpu(), dim=-1)

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """Return unit vectors (N, D) of texts; what is longer than a text may be is cut."""
        ids = self.tokenizer(
            list(texts), padding="max_length", max_length=self.length, truncation=True, return_tensors="pt"
        ).input_ids
        return F.normalize(self.read(ids.to(self._weight.device)).float().cpu(), dim=-1)

    @property
    def _weight(self) -> Tensor:
        weight: Tensor = next(p for p in self.module.parameters() if p.is_floating_point())
        return weight
