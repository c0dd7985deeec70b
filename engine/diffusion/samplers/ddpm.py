"""Denoising diffusion probabilistic models: the ancestral sampler."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

from engine.diffusion.stepping import Denoise, OnStep, StepNoise, walk

STOCHASTIC = True


def sample(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: StepNoise,
    on_step: OnStep,
    variance: Literal["small", "large"] = "small",
) -> Tensor:
    """Sample from the posterior of x_next given x and D: Ho et al. 2020, arXiv 2006.11239, eq. 7.

    Variance, over alpha_bar_next: `small` is beta-tilde = sigma_next^2 (1 - sigma_next^2 / sigma^2), `large`
    is beta = (sigma^2 - sigma_next^2) alpha_bar / alpha_bar_next. None in the last step.
    """
    for step in walk(sigmas):
        sigma, sigma_next = step.sigma, step.sigma_next
        denoised = denoise(x, sigma)
        ratio = (sigma_next / sigma) ** 2
        x = denoised + ratio * (x - denoised)
        if sigma_next > 0:
            factor = sigma_next**2 if variance == "small" else sigma**2 * (1 + sigma_next**2) / (1 + sigma**2)
            x = x + math.sqrt(factor * (1 - ratio)) * noise(sigma, sigma_next)
        x = step.done(on_step, x, denoised)
    return x
