"""Third-order multistep exponential integrator on the reverse SDE."""

from __future__ import annotations

import math

from torch import Tensor

from engine.diffusion.stepping import Denoise, OnStep, StepNoise, phi, walk

ORDER = 3
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
) -> Tensor:
    """Sample by SDE-DPM-Solver++ with the parabola through the last three D in lambda; eta 0 is the ODE.

    After Lu et al. 2022, arXiv 2211.01095. With w = (lambda - lambda_i) / h, H = (1 + eta) h and D(w)
    = D + c_1 w + c_2 w^2 the drift is H phi_1(-H) D + H phi_2(-H) c_1 + 2 H phi_3(-H) c_2. (Public codes
    leave out the 2, which makes them of second order.)
    """
    past: list[tuple[float, Tensor]] = []  # (lambda, D), newest first
    for step in walk(sigmas):
        denoised = denoise(x, step.sigma)
        past = [(-math.log(step.sigma), denoised), *past][:3]
        if step.sigma_next > 0:
            big_h = (1 + eta) * step.h
            x = denoised + math.exp(-big_h) * (x - denoised)
            for k, c in enumerate(_slopes(past, step.h), start=1):
                x = x + math.factorial(k) * big_h * phi(k + 1, -big_h) * c
            if eta > 0:
                sigma_up = step.sigma_next * math.sqrt(-math.expm1(-2 * eta * step.h))
                x = x + s_noise * sigma_up * noise(step.sigma, step.sigma_next)
        else:
            x = denoised
        x = step.done(on_step, x, denoised)
    return x


def _slopes(past: list[tuple[float, Tensor]], h: float) -> list[Tensor]:
    """Return c_1, c_2 of D(w) by Newton's divided differences, as many as `past` allows."""
    if len(past) == 1:
        return []
    w = [(u - past[0][0]) / h for u, _ in past]  # 0, w_1 < 0, w_2 < w_1
    first = (past[0][1] - past[1][1]) / -w[1]
    if len(past) == 2:
        return [first]
    second = (first - (past[1][1] - past[2][1]) / (w[1] - w[2])) / -w[2]
    return [first - w[1] * second, second]
