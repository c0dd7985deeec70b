"""A network inside another one that changes how it is called."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from engine.diffusion.denoiser import Denoiser


@dataclass(frozen=True, eq=False)
class Wrapped:
    """All of `network`, but denoising goes through the subclass's own call."""

    network: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)

    @property
    def denoiser(self) -> Denoiser:
        """The network as D(x, sigma, cond) -> x0."""
        own: Denoiser = self.network.denoiser
        return replace(own, network=self)
