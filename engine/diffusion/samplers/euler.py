"""Euler's method on the probability-flow ODE."""

from __future__ import annotations

from torch import Tensor

from engine.diffusion.stepping import Denoise, OnStep, StepNoise, walk


def sample(denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: StepNoise, on_step: OnStep) -> Tensor:
    """Sample by Karras et al. 2022, arXiv 2206.00364, algorithm 1, lines 4-5; equal to DDIM at eta 0."""
    for step in walk(sigmas):
        denoised = denoise(x, step.sigma)
        x = denoised + step.sigma_next / step.sigma * (x - denoised)
        x = step.done(on_step, x, denoised)
    return x
