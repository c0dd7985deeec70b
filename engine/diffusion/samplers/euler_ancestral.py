"""Euler steps to below the next level, then fresh noise up to it."""

from __future__ import annotations

from torch import Tensor

from engine.diffusion.stepping import Denoise, OnStep, StepNoise, ancestral_split, walk

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
    """Sample from the posterior of Ho et al. 2020, arXiv 2006.11239, eq. 7 at eta 1; Euler steps at 0."""
    for step in walk(sigmas):
        denoised = denoise(x, step.sigma)
        sigma_down, sigma_up = ancestral_split(step.sigma, step.sigma_next, eta)
        x = denoised + sigma_down / step.sigma * (x - denoised)
        if sigma_up > 0:
            x = x + s_noise * sigma_up * noise(step.sigma, step.sigma_next)
        x = step.done(on_step, x, denoised)
    return x
