"""DEIS: an exponential integrator that extrapolates eps in log(sigma)."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from engine.diffusion.samplers._lagrange import integrals
from engine.diffusion.stepping import Denoise, OnStep, StepNoise, walk

ORDER = 3


def sample(denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: StepNoise, on_step: OnStep, order: int = 3) -> Tensor:
    """Sample by Zhang and Chen 2022, arXiv 2204.13902, with polynomials in log(rho), rho = sigma.

    The integral of eps over sigma is that of e^u L_j(u) over u = ln(sigma). The last step, to u = -infinity,
    is Euler's.
    """
    past: list[tuple[float, Tensor]] = []  # (ln sigma, eps), newest first
    for step in walk(sigmas):
        denoised = denoise(x, step.sigma)
        past = [(math.log(step.sigma), (x - denoised) / step.sigma), *past][:order]
        if step.sigma_next > 0:
            weights = integrals([u for u, _ in past], past[0][0], math.log(step.sigma_next), np.exp)
            for weight, (_, eps) in zip(weights, past, strict=True):
                x = x + weight * eps
        else:
            x = denoised
        x = step.done(on_step, x, denoised)
    return x
