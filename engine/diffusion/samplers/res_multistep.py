"""RES: the refined exponential solver, second-order multistep."""

from __future__ import annotations

import math

from torch import Tensor

from engine.diffusion.stepping import Denoise, OnStep, StepNoise, phi, walk

ORDER = 2


def sample(denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: StepNoise, on_step: OnStep) -> Tensor:
    """Sample by Zhang et al. 2023, arXiv 2308.02157.

    b_2 = phi_2 / c_2 and b_1 = phi_1 - b_2 with c_2 = -h_last / h; the first and the last step are of first
    order.
    """
    previous, h_last = None, 0.0
    for step in walk(sigmas):
        denoised = denoise(x, step.sigma)
        h = step.h
        if previous is None or math.isinf(h):
            x = denoised + math.exp(-h) * (x - denoised)
        else:
            b_2 = -phi(2, -h) * h / h_last
            x = math.exp(-h) * x + h * ((phi(1, -h) - b_2) * denoised + b_2 * previous)
        previous, h_last = denoised, h
        x = step.done(on_step, x, denoised)
    return x
