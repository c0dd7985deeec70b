"""Linear multistep: Adams-Bashforth in sigma."""

from __future__ import annotations

from torch import Tensor

from engine.diffusion.samplers._lagrange import integrals
from engine.diffusion.stepping import Denoise, OnStep, StepNoise, walk

ORDER = 4


def sample(denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: StepNoise, on_step: OnStep, order: int = 4) -> Tensor:
    """Sample by Adams-Bashforth with variable steps on dx/dsigma = eps.

    eps is extrapolated by the polynomial through the last `order` steps (Hairer, Norsett and Wanner 1993,
    Solving Ordinary Differential Equations I, section III.5).
    """
    past: list[tuple[float, Tensor]] = []  # (sigma, eps), newest first
    for step in walk(sigmas):
        denoised = denoise(x, step.sigma)
        past = [(step.sigma, (x - denoised) / step.sigma), *past][:order]
        weights = integrals([sigma for sigma, _ in past], step.sigma, step.sigma_next)
        for weight, (_, eps) in zip(weights, past, strict=True):
            x = x + weight * eps
        x = step.done(on_step, x, denoised)
    return x
