"""DPM-Solver-2 steps to below the next level, then fresh noise up to it."""

from __future__ import annotations

from torch import Tensor

from engine.diffusion.samplers.dpm_2 import midpoint
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
    """Sample by the ancestral split of Ho et al. 2020 around the step of Lu et al. 2022, arXiv 2206.00927.

    Unstable where sigma falls by hundreds in one step (flow models from s near 1); dpmpp_2s_ancestral is not.
    """
    for step in walk(sigmas):
        denoised = denoise(x, step.sigma)
        sigma_down, sigma_up = ancestral_split(step.sigma, step.sigma_next, eta)
        x = midpoint(denoise, x, denoised, step.sigma, sigma_down)
        if sigma_up > 0:
            x = x + s_noise * sigma_up * noise(step.sigma, step.sigma_next)
        x = step.done(on_step, x, denoised)
    return x
