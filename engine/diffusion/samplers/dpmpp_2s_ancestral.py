"""DPM-Solver++(2S) steps to below the next level, then fresh noise up to it."""

from __future__ import annotations

import math

from torch import Tensor

from engine.diffusion.stepping import Denoise, OnStep, StepNoise, ancestral_split, walk

ORDER = 2
STOCHASTIC = True


def sample(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: StepNoise,
    on_step: OnStep,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Tensor:
    """Sample by Lu et al. 2022, arXiv 2211.01095, algorithm 1 (r = 1/2), within the ancestral split."""
    for step in walk(sigmas):
        denoised = target = denoise(x, step.sigma)
        sigma_down, sigma_up = ancestral_split(step.sigma, step.sigma_next, eta)
        if sigma_down > 0:
            sigma_mid = math.sqrt(step.sigma * sigma_down)
            target = denoise(denoised + sigma_mid / step.sigma * (x - denoised), sigma_mid)
        x = target + sigma_down / step.sigma * (x - target)
        if sigma_up > 0:
            x = x + s_noise * sigma_up * noise(step.sigma, step.sigma_next)
        x = step.done(on_step, x, denoised)
    return x
