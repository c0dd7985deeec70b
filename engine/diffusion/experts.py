"""Experts by noise level: several networks as one denoiser, each for its own range of sigma.

Balaji et al. 2022, arXiv 2211.01324 (eDiff-I), section 4. The range is looked up for the sigma of each call, so that
samplers that look ahead or between levels get the right expert, and multistep samplers keep one history.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from engine.diffusion.denoiser import Combine, Denoiser, Prediction
from engine.diffusion.levels import Levels
from engine.errors import BadInput
from engine.types import Cond


@dataclass(frozen=True, eq=False)
class Routed:
    """Denoisers from noisiest to cleanest; `boundaries` are the sigmas between them, falling: above is the former's."""

    denoisers: tuple[Denoiser, ...]
    boundaries: tuple[float, ...]

    def __post_init__(self) -> None:
        ordered = all(a > b for a, b in zip(self.boundaries, self.boundaries[1:], strict=False))
        if len(self.boundaries) != len(self.denoisers) - 1 or not ordered:
            raise BadInput(
                f"{len(self.denoisers)} models need {len(self.denoisers) - 1} falling boundaries, got sigmas "
                f"{', '.join(f'{b:.3g}' for b in self.boundaries)}.", field="boundaries",
            )  # fmt: skip

    @property
    def levels(self) -> Levels:
        """The noise levels of the noisiest expert."""
        return self.denoisers[0].levels

    @property
    def prediction(self) -> Prediction:
        """What the noisiest expert predicts."""
        return self.denoisers[0].prediction

    @property
    def sigma_data(self) -> float:
        """The data's deviation as the noisiest expert sees it."""
        return self.denoisers[0].sigma_data

    @property
    def combine(self) -> Combine | None:
        """How the noisiest expert wants to be guided, if not plainly."""
        return self.denoisers[0].combine

    def expert(self, sigma: float) -> Denoiser:
        """Return the denoiser whose range holds sigma; a boundary belongs to the cleaner one."""
        return self.denoisers[sum(sigma <= b for b in self.boundaries)]

    def __call__(self, x: Tensor, sigma: float, cond: Cond) -> Tensor:
        """Denoise x under one condition."""
        return self.expert(sigma)(x, sigma, cond)

    def each(self, x: Tensor, sigma: float, conds: Sequence[Cond]) -> list[Tensor]:
        """Denoise x under several conditions."""
        return self.expert(sigma).each(x, sigma, conds)


@dataclass(frozen=True)
class RoutedNetwork:
    """Experts as a network that sampling can use."""

    networks: tuple[Any, ...]
    boundaries: tuple[float, ...]

    def __post_init__(self) -> None:
        if len({n.channels for n in self.networks}) != 1:
            raise BadInput(
                "The experts work on latents of different channels: give models that share one autoencoder.",
                field="experts",
            )

    @property
    def channels(self) -> int:
        """Channels of the latent."""
        return int(self.networks[0].channels)

    @property
    def preview(self) -> Tensor | None:
        """Factors from latent channels to colours."""
        factors: Tensor | None = self.networks[0].preview
        return factors

    @property
    def denoiser(self) -> Any:
        """The experts as one denoiser."""
        return Routed(tuple(n.denoiser for n in self.networks), self.boundaries)
