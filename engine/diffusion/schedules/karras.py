"""The schedule of EDM: dense at low noise."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.diffusion.levels import Levels
from engine.diffusion.schedules import ramp, warped


def sigmas(levels: Levels, steps: int, *, rho: float = 7.0) -> Tensor:
    """Place the steps evenly in sigma^(1/rho) (Karras et al. 2022, arXiv 2206.00364, eq. 5)."""

    def warp(low: float, high: float) -> Tensor:
        a, b = high ** (1 / rho), low ** (1 / rho)
        return torch.pow(a + ramp(steps) * (b - a), rho)

    return warped(levels, warp)
