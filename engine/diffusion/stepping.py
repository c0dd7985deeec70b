"""What every sampler shares: the walk down the levels, the report of a step, the ancestral split, phi.

Samplers work in variance-exploding units, x = x0 + sigma * eps, where the probability-flow ODE is dx/dsigma =
(x - D(x, sigma)) / sigma (Karras et al. 2022, arXiv 2206.00364, eq. 1 and 3). With lambda = -ln(sigma) it is
dx/dlambda = D - x, whose linear part is solved exactly by the exponential integrators. Coefficients are
Python floats (double precision); tensors keep their own dtype.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from engine.errors import NotFinite


@dataclass(frozen=True)
class StepInfo:
    """What a finished step reports: `x` lies at `sigma_next`, `denoised` is D(x, sigma) of its start."""

    i: int
    n: int
    x: Tensor
    sigma: float
    sigma_next: float
    denoised: Tensor


Denoise = Callable[[Tensor, float], Tensor]
"""(x, sigma) -> x0, x in variance-exploding units."""

StepNoise = Callable[[float, float], Tensor]
"""(sigma_from, sigma_to) -> unit Gaussian noise of x's shape, always the same for the same pair."""

OnStep = Callable[[StepInfo], Tensor | None]
"""Called after each step; may return a replacement of `x` (blends) and raises to cancel."""


class Sample(Protocol):
    """Walk `x` from sigmas[0] down to sigmas[-1]; with one sigma or none `x` comes back untouched."""

    def __call__(self, denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: StepNoise, on_step: OnStep) -> Tensor:
        """Sample. Further keyword-only options have defaults."""
        ...


def silent(info: StepInfo) -> None:
    """Ignore a step: the `on_step` of samplers that nobody watches."""


class Step(NamedTuple):
    """Step i of n, from `sigma` down to `sigma_next`."""

    i: int
    n: int
    sigma: float
    sigma_next: float

    @property
    def h(self) -> float:
        """Step size in lambda = -ln(sigma); infinite for the step to zero noise."""
        return math.log(self.sigma / self.sigma_next) if self.sigma_next > 0 else math.inf

    def done(self, on_step: OnStep, x: Tensor, denoised: Tensor) -> Tensor:
        """Report the finished step and return x, or what `on_step` puts in its place."""
        if not torch.isfinite(x).all():
            raise NotFinite(
                f"Step {self.i + 1} of {self.n} gave values that are not finite. Lower the guidance scale, "
                "take more steps, or run the model in a wider number format."
            )
        replaced = on_step(StepInfo(self.i, self.n, x, self.sigma, self.sigma_next, denoised))
        return x if replaced is None else replaced


def walk(sigmas: Tensor) -> Iterator[Step]:
    """Yield the steps between neighbouring sigmas (steps + 1,)."""
    values = sigmas.double().tolist()
    n = len(values) - 1
    for i in range(n):
        yield Step(i, n, values[i], values[i + 1])


def ancestral_split(sigma: float, sigma_next: float, eta: float) -> tuple[float, float]:
    """Split a step into a deterministic part down to sigma_down and fresh noise sigma_up.

    The posterior q(x_next | x, x0) has variance sigma_next^2 (sigma^2 - sigma_next^2) / sigma^2 (Ho et al.
    2020, arXiv 2006.11239, eq. 7, in variance-exploding units); eta scales its root, and sigma_down^2 +
    sigma_up^2 = sigma_next^2 keeps the marginal.
    """
    posterior = sigma_next * math.sqrt(1 - (sigma_next / sigma) ** 2)
    sigma_up = min(sigma_next, eta * posterior)
    return math.sqrt(sigma_next**2 - sigma_up**2), sigma_up


def phi(k: int, z: float) -> float:
    """Return phi_k(z), phi_0 = e^z, phi_k = (phi_{k-1} - 1 / (k-1)!) / z; by its series where that cancels.

    Hochbruck and Ostermann 2010, Exponential integrators, eq. 2.10-2.11.
    """
    if abs(z) < 1:
        return sum(z**j / math.factorial(j + k) for j in range(18))
    return math.exp(z) if k == 0 else (phi(k - 1, z) - 1 / math.factorial(k - 1)) / z
