"""ER-SDE-Solver-3: the extended reverse-time SDE, solved in sigma."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from torch import Tensor

from engine.diffusion.stepping import Denoise, OnStep, StepNoise, walk

ORDER = 3
STOCHASTIC = True


def sample(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: StepNoise,
    on_step: OnStep,
    s_noise: float = 1.0,
    order: int = 3,
) -> Tensor:
    """Sample by Cui et al. 2023, arXiv 2309.06169, in VE form, with phi(s) = s (e^(s^0.3) + 10).

    With q = phi(sigma_next) / phi(sigma) and D expanded around sigma, the drift is q x + (1 - q) D + (d +
    phi_next I_0) D' + (d^2 / 2 + phi_next I_1) D'', where d = sigma_next - sigma and I_k is the integral of
    (s - sigma)^k / phi(s) from sigma_next to sigma; the noise has variance sigma_next^2 - (q sigma)^2.
    """
    past: list[tuple[float, Tensor]] = []  # (sigma, D), newest first
    for step in walk(sigmas):
        sigma, sigma_next = step.sigma, step.sigma_next
        denoised = denoise(x, sigma)
        past = [(sigma, denoised), *past][:order]
        if sigma_next > 0:
            q = _phi(sigma_next) / _phi(sigma)
            x = denoised + q * (x - denoised)
            d = sigma_next - sigma
            for k, derivative in enumerate(_derivatives(past)):
                x = x + (d ** (k + 1) / (k + 1) + _phi(sigma_next) * _integral(sigma, sigma_next, k)) * derivative
            if s_noise > 0:
                sigma_up = math.sqrt(max(0.0, sigma_next**2 - (q * sigma) ** 2))
                x = x + s_noise * sigma_up * noise(sigma, sigma_next)
        else:
            x = denoised
        x = step.done(on_step, x, denoised)
    return x


def _phi(s: float) -> float:
    return s * float(_phi_over_s(s))


def _phi_over_s(s: Any) -> Any:
    return np.exp(s**0.3) + 10


def _integral(sigma: float, sigma_next: float, k: int) -> float:
    """Integrate (s - sigma)^k / phi(s) from sigma_next to sigma, over u = ln(s), where it is smooth."""
    points, weights = np.polynomial.legendre.leggauss(24)
    a, b = math.log(sigma_next), math.log(sigma)
    s = np.exp((b - a) / 2 * points + (a + b) / 2)
    return float((b - a) / 2 * np.sum(weights * (s - sigma) ** k / _phi_over_s(s)))


def _derivatives(past: list[tuple[float, Tensor]]) -> list[Tensor]:
    """Return D' and D'' at the newest sigma of the polynomial through `past`, as many as it allows."""
    slopes = [(a - b) / (s - t) for (s, a), (t, b) in pairwise(past)]
    if len(slopes) < 2:
        return slopes
    second = 2 * (slopes[0] - slopes[1]) / (past[0][0] - past[2][0])
    return [slopes[0] + (past[0][0] - past[1][0]) / 2 * second, second]
