"""Small linear steps at high noise, then quadratic ones."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.diffusion.levels import Levels
from engine.diffusion.schedules import warped


def sigmas(levels: Levels, steps: int, *, threshold: float = 0.025) -> Tensor:
    """Fall linearly by `threshold` of the noise in half the steps, then as a parabola with the same slope.

    Polyak et al. 2024, "Movie Gen", arXiv 2410.13720; written for flow time, where the first half emulates a
    far finer linear schedule.
    """

    def warp(low: float, high: float) -> Tensor:
        linear = steps // 2
        slope = threshold / linear if linear else 0.0
        i = torch.arange(steps, dtype=torch.float64)
        j = (i - linear).clamp(min=0)
        curve = (1 - threshold * bool(linear) - slope * (steps - linear)) / (steps - linear) ** 2
        return high * (1 - slope * i - curve * j**2)

    return warped(levels, warp)
