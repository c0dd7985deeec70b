"""UniPC: a unified predictor-corrector, multistep, one call per step."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from torch import Tensor

from engine.diffusion.stepping import Denoise, OnStep, StepNoise, phi, walk

ORDER = 4  # the corrector raises the predictor's order by one

Past = list[tuple[float, Tensor]]  # (lambda, D), newest first


def sample(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: StepNoise,
    on_step: OnStep,
    order: int = 3,
    b: Literal["bh1", "bh2"] = "bh1",
) -> Tensor:
    """Sample by Zhao et al. 2023, arXiv 2302.04867, in its data-prediction form.

    D at the predicted x corrects that x before the next prediction. A step whose x was replaced by `on_step`
    is not corrected, since that would undo the replacement.
    """
    past: Past = []
    start = x  # the corrected x of the step before
    p, corrects = 0, False
    for step in walk(sigmas):
        denoised = denoise(x, step.sigma)
        now = (-math.log(step.sigma), denoised)
        if corrects:
            x = _move(start, past[:p], now[0], b, corrector=now)
        past = [now, *past][:order]
        p = min(len(past), step.n - step.i)  # lower orders at the end are stabler
        start = x
        predicted = _move(x, past[:p], -math.log(step.sigma_next), b) if step.sigma_next > 0 else denoised
        x = step.done(on_step, predicted, denoised)
        corrects = x is predicted
    return x


def _move(x: Tensor, past: Past, u: float, b: str, *, corrector: tuple[float, Tensor] | None = None) -> Tensor:
    """Go from lambda = past[0][0] to u: UniP, or UniC if D at u is given as `corrector`."""
    (origin, denoised), h = past[0], u - past[0][0]
    used = [*past[1:], corrector] if corrector else past[1:]
    x = denoised + math.exp(-h) * (x - denoised)
    if not used:
        return x
    scale = -h if b == "bh1" else math.expm1(-h)  # B(h)
    r = np.array([(v - origin) / h for v, _ in used])
    n = len(r)
    if n == 1:
        rho = np.array([0.5])  # of order 2 whatever h is, as the paper notes
    else:
        matrix = np.vander(r, n, increasing=True).T  # R_p
        rho = np.linalg.solve(matrix, [math.factorial(k) * -h * phi(k + 1, -h) / scale for k in range(1, n + 1)])
    for weight, r_m, (_, d) in zip(rho.tolist(), r.tolist(), used, strict=True):
        x = x - scale * weight / r_m * (d - denoised)
    return x
