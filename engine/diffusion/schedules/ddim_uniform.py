"""DDIM's spacing: every so-many-th timestep, counted from the clean end."""

from __future__ import annotations

from torch import Tensor

from engine.diffusion.levels import Levels
from engine.diffusion.schedules import at_levels


def sigmas(levels: Levels, steps: int) -> Tensor:
    """Place the steps at timesteps 1 + i (N // steps).

    Song et al. 2020, arXiv 2010.02502, appendix D.2, offset by 1 as in Stable Diffusion. Starts below
    sigma_max, as published ("leading" of Lin et al. 2023). Timestep t is level t + 1.
    """
    stride = levels.count // steps or levels.count / steps
    return at_levels(levels, (min(2, stride) + i * stride for i in reversed(range(steps))))
