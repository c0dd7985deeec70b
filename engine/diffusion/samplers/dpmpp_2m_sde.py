"""DPM-Solver++(2M) on the reverse SDE."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

from engine.diffusion.stepping import Denoise, OnStep, StepNoise, phi, walk

ORDER = 2
STOCHASTIC = True
BROWNIAN = True


def sample(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: StepNoise,
    on_step: OnStep,
    eta: float = 1.0,
    s_noise: float = 1.0,
    solver: Literal["midpoint", "heun"] = "midpoint",
) -> Tensor:
    """Sample by SDE-DPM-Solver++(2M) of Lu et al. 2022, arXiv 2211.01095, at any eta; 0 is the ODE.

    `heun` integrates the linear extrapolation of D exactly, `midpoint` takes its value in the middle of the
    step.
    """
    previous, h_last = None, 0.0
    for step in walk(sigmas):
        denoised = denoise(x, step.sigma)
        h = step.h
        if math.isinf(h):
            x = denoised
        else:
            decay = math.exp(-(1 + eta) * h)
            x_next = denoised + decay * (x - denoised)
            if previous is not None:
                z = -(1 + eta) * h
                weight = (1 - decay) / 2 if solver == "midpoint" else -z * phi(2, z)
                x_next = x_next + weight * h / h_last * (denoised - previous)
            x = x_next
            if eta > 0:
                sigma_up = step.sigma_next * math.sqrt(-math.expm1(-2 * eta * h))
                x = x + s_noise * sigma_up * noise(step.sigma, step.sigma_next)
        previous, h_last = denoised, h
        x = step.done(on_step, x, denoised)
    return x
