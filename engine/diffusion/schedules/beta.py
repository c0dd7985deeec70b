"""Timesteps at the quantiles of a beta distribution: dense at both ends."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from engine.diffusion.levels import Levels
from engine.diffusion.schedules import at_levels


def sigmas(levels: Levels, steps: int, *, alpha: float = 0.6, beta: float = 0.6) -> Tensor:
    """Place step i at the 1 - i / steps quantile of Beta(alpha, beta) over the levels.

    Lee et al. 2024, arXiv 2407.12173. Levels are whole as long as that keeps them apart.
    """
    ks = 1 + quantiles(1 - torch.arange(steps, dtype=torch.float64) / steps, alpha, beta) * (levels.count - 1)
    whole = ks.round()
    return at_levels(levels, (whole if bool((whole.diff() < 0).all()) else ks).tolist())


def quantiles(p: Tensor, alpha: float, beta: float) -> Tensor:
    """Return the quantiles of Beta(alpha, beta) to about 5e-6, for alpha and beta of at least 1/2.

    With u = sin^2(theta) the density is sin^(2 alpha - 1) cos^(2 beta - 1) dtheta, without the poles at 0 and
    1.
    """
    theta = torch.linspace(0, math.pi / 2, 20001, dtype=torch.float64)
    density = theta.sin() ** (2 * alpha - 1) * theta.cos().clamp(min=0) ** (2 * beta - 1)
    mass = torch.cumulative_trapezoid(density, theta)
    mass = torch.cat([mass.new_zeros(1), mass]) / mass[-1]
    return torch.from_numpy(np.interp(p.numpy(), mass.numpy(), (theta.sin() ** 2).numpy()))
