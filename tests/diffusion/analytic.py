"""Denoisers with closed forms: what every exact test of the diffusion library stands on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from engine.diffusion.denoiser import Network, Prediction, from_x0, scaling
from engine.diffusion.stepping import Denoise, StepInfo
from engine.types import Cond

MEAN, STD = 0.3, 0.5


def gaussian(x: Tensor, sigma: float) -> Tensor:
    """E[x0 | x] for data N(MEAN, STD^2), each element by itself."""
    return MEAN + STD**2 / (STD**2 + sigma**2) * (x - MEAN)


def gaussian_flow_map(x: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """Where the ODE takes x from sigma to sigma_next: deviations scale with the marginal's standard deviation."""
    return MEAN + math.sqrt((STD**2 + sigma_next**2) / (STD**2 + sigma**2)) * (x - MEAN)


def mixture(
    x: Tensor,
    sigma: float,
    weights: Sequence[float] = (0.3, 0.3, 0.4),
    means: Sequence[float] = (-1.0, 0.5, 2.0),
    stds: Sequence[float] = (0.3, 0.4, 0.5),
) -> Tensor:
    """E[x0 | x] for a mixture of Gaussians, each element by itself."""
    share, mean, std = (x.new_tensor(v) for v in (weights, means, stds))
    variance = std**2 + sigma**2
    away = x[..., None] - mean
    chance = (share.log() - away**2 / (2 * variance) - variance.log() / 2).softmax(-1)
    return (chance * (mean + std**2 / variance * away)).sum(-1)


def mixture_ode(x: Tensor, sigma: float, sigma_next: float, steps: int = 600) -> Tensor:
    """Where the ODE of the mixture takes x, by the classical Runge-Kutta method of order 4 in lambda = -ln(sigma)."""
    h, u = math.log(sigma / sigma_next) / steps, -math.log(sigma)

    def slope(y: Tensor, at: float) -> Tensor:
        return mixture(y, math.exp(-at)) - y

    for _ in range(steps):
        k1 = slope(x, u)
        k2 = slope(x + h / 2 * k1, u + h / 2)
        k3 = slope(x + h / 2 * k2, u + h / 2)
        x, u = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + slope(x + h * k3, u + h)), u + h
    return x


def geometric(steps: int, sigma: float, sigma_next: float) -> Tensor:
    """Sigmas (steps + 1,) even in log(sigma)."""
    return torch.linspace(math.log(sigma), math.log(sigma_next), steps + 1, dtype=torch.float64).exp()


def as_network(prediction: Prediction, sigma: float, denoise: Callable[[Tensor, Cond], Tensor]) -> Network:
    """The network of some prediction type that stands for `denoise` at one sigma."""

    def network(x_in: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        x = x_in / scaling(prediction, sigma, x_in).c_in
        return from_x0(prediction, x, denoise(x, cond), sigma)

    return network


def no_noise(sigma: float, sigma_next: float) -> Tensor:
    """The step noise of samplers that must not ask for any."""
    raise AssertionError("a deterministic sampler asked for noise")


def silent(info: StepInfo) -> None:
    """Watch nothing."""


def counted(denoise: Denoise) -> tuple[Denoise, list[tuple[Tensor, float]]]:
    """Wrap a denoiser so that its calls are kept."""
    calls: list[tuple[Tensor, float]] = []

    def wrapped(x: Tensor, sigma: float) -> Tensor:
        calls.append((x, sigma))
        return denoise(x, sigma)

    return wrapped, calls
