"""DPM-Solver-2: the midpoint method in lambda = -ln(sigma)."""

from __future__ import annotations

import math

from torch import Tensor

from engine.diffusion.stepping import Denoise, OnStep, StepNoise, walk

ORDER = 2


def sample(denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: StepNoise, on_step: OnStep) -> Tensor:
    """Sample by Lu et al. 2022, arXiv 2206.00927, algorithm 1: two calls per step, one in the last."""
    for step in walk(sigmas):
        denoised = denoise(x, step.sigma)
        x = midpoint(denoise, x, denoised, step.sigma, step.sigma_next)
        x = step.done(on_step, x, denoised)
    return x


def midpoint(denoise: Denoise, x: Tensor, denoised: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """Return one step from sigma to sigma_next, given D(x, sigma)."""
    if sigma_next == 0:
        return denoised
    sigma_mid = math.sqrt(sigma * sigma_next)
    middle = denoised + sigma_mid / sigma * (x - denoised)
    eps = (middle - denoise(middle, sigma_mid)) / sigma_mid
    return x + (sigma_next - sigma) * eps
