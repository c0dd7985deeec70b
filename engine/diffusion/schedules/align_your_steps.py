"""Schedules optimised for Stable Diffusion and Stable Video Diffusion."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from engine.diffusion.levels import Levels
from engine.diffusion.schedules import ending_in_zero

# Sabour et al. 2024, arXiv 2404.14507, appendix; ten steps each, the last entry is the level before clean.
TABLES = {
    "sd15": (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029),
    "sdxl": (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029),
    "svd": (700.00, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002),
}


def sigmas(levels: Levels, steps: int, *, table: Literal["sd15", "sdxl", "svd"] | None = None) -> Tensor:
    """Interpolate a ten-step table in log(sigma), stretched to the range of `levels`."""
    log = np.log(TABLES[table or ("svd" if levels.kind == "edm" else "sd15")])
    low, high = math.log(levels.sigma_min), math.log(levels.sigma_max)
    log = low + (log - log[-1]) * (high - low) / (log[0] - log[-1])
    places = np.linspace(0, len(log) - 1, steps + 1)[:-1]
    return ending_in_zero(torch.from_numpy(np.exp(np.interp(places, np.arange(len(log)), log))))
