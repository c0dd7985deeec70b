"""iPNDM: Adams-Bashforth with the coefficients of equal steps."""

from __future__ import annotations

from torch import Tensor

from engine.diffusion.stepping import Denoise, OnStep, StepNoise, walk

ORDER = 2  # 4 where sigma itself falls in equal steps

WEIGHTS = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))


def sample(denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: StepNoise, on_step: OnStep, order: int = 4) -> Tensor:
    """Sample by Liu et al. 2022, arXiv 2202.09778, warmed up by the lower orders."""
    past: list[Tensor] = []  # eps, newest first
    for step in walk(sigmas):
        denoised = denoise(x, step.sigma)
        past = [(x - denoised) / step.sigma, *past][:order]
        for weight, eps in zip(WEIGHTS[len(past) - 1], past, strict=True):
            x = x + (step.sigma_next - step.sigma) * weight * eps
        x = step.done(on_step, x, denoised)
    return x
