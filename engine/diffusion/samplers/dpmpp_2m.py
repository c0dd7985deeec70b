"""DPM-Solver++(2M): second-order multistep in lambda = -ln(sigma)."""

from __future__ import annotations

import math

from torch import Tensor

from engine.diffusion.stepping import Denoise, OnStep, StepNoise, walk

ORDER = 2


def sample(denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: StepNoise, on_step: OnStep) -> Tensor:
    """Sample by Lu et al. 2022, arXiv 2211.01095, algorithm 2; first and last step of first order."""
    previous, h_last = None, 0.0
    for step in walk(sigmas):
        denoised = denoise(x, step.sigma)
        h, target = step.h, denoised
        if previous is not None and math.isfinite(h):
            target = denoised + h / (2 * h_last) * (denoised - previous)
        x = target + math.exp(-h) * (x - target)
        previous, h_last = denoised, h
        x = step.done(on_step, x, denoised)
    return x
