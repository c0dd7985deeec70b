"""Denoising diffusion implicit models."""

from __future__ import annotations

from torch import Tensor

from engine.diffusion.samplers import euler_ancestral
from engine.diffusion.stepping import Denoise, OnStep, StepNoise


def sample(
    denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: StepNoise, on_step: OnStep, eta: float = 0.0
) -> Tensor:
    """Sample by Song et al. 2020, arXiv 2010.02502, eq. 12.

    Divided by sqrt(alpha_bar_next), eq. 12 is D + sqrt(sigma_next^2 - v^2) eps + v z, and eq. 16's v is eta
    times sigma_next sqrt(sigma^2 - sigma_next^2) / sigma: the ancestral Euler step.
    """
    return euler_ancestral.sample(denoise, x, sigmas, noise=noise, on_step=on_step, eta=eta)
