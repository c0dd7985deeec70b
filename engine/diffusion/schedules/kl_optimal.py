"""The schedule that is optimal for Gaussian data."""

from __future__ import annotations

import math

from torch import Tensor

from engine.diffusion.levels import Levels
from engine.diffusion.schedules import ending_in_zero, ramp


def sigmas(levels: Levels, steps: int) -> Tensor:
    """Place the steps evenly in arctan(sigma): Sabour et al. 2024, arXiv 2404.14507, theorem 3.1."""
    low, high = math.atan(levels.sigma_min), math.atan(levels.sigma_max)
    return ending_in_zero((high + ramp(steps) * (low - high)).tan())
