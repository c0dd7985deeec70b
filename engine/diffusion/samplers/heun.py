"""Heun's method on the probability-flow ODE."""

from __future__ import annotations

from torch import Tensor

from engine.diffusion.stepping import Denoise, OnStep, StepNoise, walk

ORDER = 2


def sample(denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: StepNoise, on_step: OnStep) -> Tensor:
    """Sample by Karras et al. 2022, arXiv 2206.00364, algorithm 1: two calls per step, one in the last."""
    for step in walk(sigmas):
        denoised = denoise(x, step.sigma)
        slope = (x - denoised) / step.sigma
        euler = denoised + step.sigma_next / step.sigma * (x - denoised)
        if step.sigma_next > 0:
            slope_next = (euler - denoise(euler, step.sigma_next)) / step.sigma_next
            x = x + (step.sigma_next - step.sigma) * (slope + slope_next) / 2
        else:
            x = euler
        x = step.done(on_step, x, denoised)
    return x
