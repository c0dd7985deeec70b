"""Functions of other programs around a network: around its denoising, its guidance, its attention, on its way up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from engine.diffusion.attention import Hook
from engine.diffusion.denoiser import Combine, Denoiser, expand
from engine.diffusion.model_tweaks import Meeting, meetings
from engine.types import Cond


@dataclass
class Call:
    """The network call under way, for hooks to look at: sigma (B,), shape of x, and which condition each part has."""

    sigma: Tensor = field(default_factory=lambda: torch.zeros(0))
    shape: tuple[int, ...] = ()
    parts: tuple[int, ...] = ()


Around = Callable[[Callable[[Tensor, Tensor], Tensor], Tensor, Tensor, Cond, Call], Tensor]
"""(denoise(x, sigma), x (B, C, h, w), sigma (B,), cond, call) -> x0."""


@dataclass(frozen=True, eq=False)
class Overlaid:
    """A network with `hooks` on its attention, `around` its denoising and `combine` in place of plain guidance.

    `meetings` change in turn what meets on a U-Net's way up (`model_tweaks.meetings`).
    """

    network: Any
    call: Call
    hooks: tuple[Hook, ...] = ()
    around: Around | None = None
    combine: Combine | None = None
    meetings: tuple[Meeting, ...] = ()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)

    @property
    def denoiser(self) -> Denoiser:
        """The network as D(x, sigma, cond) -> x0."""
        plain = self.network.denoiser
        given = {f.name: getattr(plain, f.name) for f in fields(Denoiser)}
        return _Overlaid(**{**given, "combine": self.combine or plain.combine}, overlay=self)


@dataclass(frozen=True, eq=False)
class _Overlaid(Denoiser):
    overlay: Overlaid | None = None

    def __call__(self, x: Tensor, sigma: float | Tensor, cond: Cond) -> Tensor:
        assert self.overlay is not None
        call = self.overlay.call
        call.sigma = torch.as_tensor(sigma, dtype=torch.float32).expand(len(x))
        call.shape, call.parts = tuple(x.shape), call.parts or (0,)
        cond = expand(cond, len(x))
        extra = {**cond.extra, "attention": (*cond.extra.get("attention", ()), *self.overlay.hooks)}
        hooked = Cond(cond.tokens, cond.pooled, extra=extra)
        plain = super().__call__
        with ExitStack() as changes:
            for meeting in self.overlay.meetings:
                changes.enter_context(meetings(self.overlay.network.module, meeting))
            if self.overlay.around is None:
                return plain(x, sigma, hooked)
            return self.overlay.around(lambda x, sigma: plain(x, sigma, hooked), x, call.sigma, hooked, call)

    def each(self, x: Tensor, sigma: float, conds: Sequence[Cond]) -> list[Tensor]:
        """Denoise under each condition; the first counts as what is wanted (0), the others as what is not (1)."""
        assert self.overlay is not None
        self.overlay.call.parts = tuple(min(i, 1) for i in range(len(conds)))
        try:
            return super().each(x, sigma, conds)
        finally:
            self.overlay.call.parts = ()
