"""Uniform in the network's timesteps, both ends included."""

from __future__ import annotations

from torch import Tensor

from engine.diffusion.levels import Levels
from engine.diffusion.schedules import at_levels, ramp


def sigmas(levels: Levels, steps: int) -> Tensor:
    """Place the steps evenly at levels N .. 1 ("linspace" of Lin et al. 2023, arXiv 2305.08891, table 2)."""
    return at_levels(levels, (levels.count - (levels.count - 1) * ramp(steps)).tolist())
