"""Even in log(sigma)."""

from __future__ import annotations

import math

from torch import Tensor

from engine.diffusion.levels import Levels
from engine.diffusion.schedules import ramp, warped


def sigmas(levels: Levels, steps: int) -> Tensor:
    """Place the steps evenly in log(sigma): the uniform logSNR of Lu et al. 2022, arXiv 2206.00927."""
    return warped(levels, lambda low, high: high * (ramp(steps) * math.log(low / high)).exp())
