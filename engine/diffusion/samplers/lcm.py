"""Multistep consistency sampling, for consistency-distilled models."""

from __future__ import annotations

from torch import Tensor

from engine.diffusion.stepping import Denoise, OnStep, StepNoise, walk

STOCHASTIC = True


def sample(denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: StepNoise, on_step: OnStep) -> Tensor:
    """Jump to D and noise it again to the next level: Song et al. 2023, arXiv 2303.01469, algorithm 1.

    Used for latents by Luo et al. 2023, arXiv 2310.04378. Its marginals are right for consistency models
    only.
    """
    for step in walk(sigmas):
        x = denoised = denoise(x, step.sigma)
        if step.sigma_next > 0:
            x = denoised + step.sigma_next * noise(step.sigma, step.sigma_next)
        x = step.done(on_step, x, denoised)
    return x
