"""Uniform in the network's timesteps, without the cleanest one."""

from __future__ import annotations

from torch import Tensor

from engine.diffusion.levels import Levels
from engine.diffusion.schedules import at_levels, ramp


def sigmas(levels: Levels, steps: int) -> Tensor:
    """Place the steps at levels N .. 1 at equal distances, without level 1 (Stability's sgm)."""
    return at_levels(levels, (levels.count - (levels.count - 1) * ramp(steps + 1)[:-1]).tolist())
