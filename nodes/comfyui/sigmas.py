"""Noise levels to walk down."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import Annotated, Literal, NamedTuple

import torch
from torch import Tensor

from engine.context import Context
from engine.diffusion.levels import FLOW_MAX, Levels
from engine.diffusion.schedules import align_your_steps, beta, ending_in_zero
from engine.node import Range
from engine.types import Model, Sigmas
from nodes.basics import sampling_custom as ours
from nodes.comfyui._core import Line, Part, Side, Steps, core
from nodes.comfyui._sampling import SchedulerName, sigmas_of

Sigma = Annotated[float, Range(0, 5000)]
HIGH, LOW = 14.614642, 0.0291675  # of Stable Diffusion 1.x


class Halves(NamedTuple):
    """Noise levels cut in two; the level of the cut is in both."""

    high_sigmas: Sigmas
    low_sigmas: Sigmas


@core("BasicScheduler", "sampling/custom_sampling/schedulers")
def basic_scheduler(
    ctx: Context, model: Model, scheduler: SchedulerName = "simple", steps: Steps = 20, denoise: Part = 1.0
) -> Sigmas:
    """Spread steps over a model's noise levels."""
    return Sigmas(sigmas_of(_levels(ctx, model), scheduler, steps, denoise))


@core("KarrasScheduler", "sampling/custom_sampling/schedulers")
def karras_scheduler(
    steps: Steps = 20, sigma_max: Sigma = HIGH, sigma_min: Sigma = LOW, rho: Annotated[float, Range(0.01, 100)] = 7.0
) -> Sigmas:
    """Spread steps evenly in sigma^(1 / rho).

    Args:
        sigma_max: The noisiest level.
        sigma_min: The least noisy level before clean.
        rho: Greater is denser at low noise.
    """
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return Sigmas(ending_in_zero((high + _ramp(steps) * (low - high)) ** rho))


@core("ExponentialScheduler", "sampling/custom_sampling/schedulers")
def exponential_scheduler(steps: Steps = 20, sigma_max: Sigma = HIGH, sigma_min: Sigma = LOW) -> Sigmas:
    """Spread steps evenly in the logarithm of sigma.

    Args:
        sigma_max: The noisiest level.
        sigma_min: The least noisy level before clean.
    """
    return polyexponential_scheduler(steps, sigma_max, sigma_min, 1.0)


@core("PolyexponentialScheduler", "sampling/custom_sampling/schedulers")
def polyexponential_scheduler(
    steps: Steps = 20, sigma_max: Sigma = HIGH, sigma_min: Sigma = LOW, rho: Annotated[float, Range(0, 100)] = 1.0
) -> Sigmas:
    """Spread steps by a power in the logarithm of sigma.

    Args:
        sigma_max: The noisiest level.
        sigma_min: The least noisy level before clean.
        rho: The power.
    """
    high, low = (math.log(max(s, 1e-10)) for s in (sigma_max, sigma_min))
    return Sigmas(ending_in_zero((low + _ramp(steps).flip(0) ** rho * (high - low)).exp()))


@core("LaplaceScheduler", "sampling/custom_sampling/schedulers")
def laplace_scheduler(
    steps: Steps = 20, sigma_max: Sigma = HIGH, sigma_min: Sigma = LOW, mu: Annotated[float, Range(-10, 10)] = 0.0,
    beta: Annotated[float, Range(0, 10)] = 0.5,
) -> Sigmas:  # fmt: skip
    """Spread steps as the quantiles of a Laplace distribution of the logarithm of sigma (arXiv 2407.03297).

    Args:
        sigma_max: The noisiest level.
        sigma_min: The least noisy level before clean.
        mu: Where it is densest.
        beta: How wide it is.
    """
    p = 0.5 - torch.linspace(0, 1, steps, dtype=torch.float64)
    log = mu - beta * p.sign() * (1 - 2 * p.abs()).clamp(min=1e-5).log()
    return Sigmas(ending_in_zero(log.exp().clamp(sigma_min, sigma_max).sort(descending=True).values))


@core("VPScheduler", "sampling/custom_sampling/schedulers")
def vp_scheduler(
    steps: Steps = 20, beta_d: Sigma = 19.9, beta_min: Sigma = 0.1, eps_s: Annotated[float, Range(0, 1)] = 0.001
) -> Sigmas:
    """Spread steps evenly in the time of the variance-preserving SDE (Song et al. 2020, arXiv 2011.13456).

    Args:
        beta_d: How fast noise grows.
        beta_min: Where its growth begins.
        eps_s: The earliest time.
    """
    t = torch.linspace(1, eps_s, steps, dtype=torch.float64)
    return Sigmas(ending_in_zero((beta_d * t**2 / 2 + beta_min * t).expm1().sqrt()))


@core("BetaSamplingScheduler", "sampling/custom_sampling/schedulers")
def beta_sampling_scheduler(
    ctx: Context, model: Model, steps: Steps = 20, alpha: Annotated[float, Range(0.5, 50)] = 0.6,
    beta: Annotated[float, Range(0.5, 50)] = 0.6,
) -> Sigmas:  # fmt: skip
    """Spread steps as the quantiles of a beta distribution.

    Args:
        alpha: First parameter.
        beta: Second parameter.
    """
    return Sigmas(BETA(_levels(ctx, model), steps, alpha=alpha, beta=beta))


@core("SDTurboScheduler", "sampling/custom_sampling/schedulers")
def sd_turbo_scheduler(
    ctx: Context, model: Model, steps: Annotated[int, Range(1, 10)] = 1, denoise: Part = 1.0
) -> Sigmas:
    """Spread up to ten steps over the ten levels that turbo models were taught."""
    levels = _levels(ctx, model)
    first = 10 - int(10 * denoise)
    tenth = levels.count / 10
    ks = [levels.count - tenth * i for i in range(first, min(10, first + steps))]
    return Sigmas(ending_in_zero(levels.sigmas(ks)))


@core("AlignYourStepsScheduler", "sampling/custom_sampling/schedulers")
def align_your_steps_scheduler(
    model_type: Literal["SD1", "SDXL", "SVD"] = "SD1", steps: Steps = 10, denoise: Part = 1.0
) -> Sigmas:
    """Spread steps as Align Your Steps found best.

    Args:
        model_type: The family of the model.
    """
    table = torch.tensor(align_your_steps.TABLES[TABLES[model_type]], dtype=torch.float64).flip(0)
    levels = Levels(torch.cat([table.new_zeros(1), table]))
    taken = steps if denoise >= 1 else round(steps * denoise)
    if taken <= 0:
        return Sigmas(torch.zeros(0, dtype=torch.float64))
    places = torch.linspace(0, 10, steps + 1, dtype=torch.float64)
    values = (torch.tensor([levels.sigma(11 - float(p)) for p in places], dtype=torch.float64))[-(taken + 1) :]
    return Sigmas(torch.cat([values[:-1], values.new_zeros(1)]))


@core("Flux2Scheduler", "sampling/custom_sampling/schedulers")
def flux2_scheduler(steps: Annotated[int, Range(1, 4096)] = 20, width: Side = 1024, height: Side = 1024) -> Sigmas:
    """Spread steps over the noise levels of Flux 2, which rise with the picture's size and with fewer steps.

    The logarithm of their shift is linear in the number of tokens, for 10 and for 200 steps, and between these in the
    number of steps (Black Forest Labs 2025, Flux 2).
    """
    tokens = width * height / 256
    many = 0.00016927 * tokens + 0.45666666
    few = 8.73809524e-05 * tokens + 1.89833333
    mu = many if tokens > 4300 else many + (few - many) * (200 - steps) / 190
    s = torch.linspace(1, 0, steps + 1, dtype=torch.float64)[:-1]  # flow times
    return Sigmas(ending_in_zero((math.exp(mu) * s / (1 - s)).clamp(max=FLOW_MAX / (1 - FLOW_MAX))))


@core("SplitSigmas", "sampling/custom_sampling/sigmas")
def split_sigmas(sigmas: Sigmas, step: Annotated[int, Range(0, 10_000)] = 0) -> Halves:
    """Cut noise levels in two.

    Args:
        step: How many steps belong to the first half.
    """
    return Halves(Sigmas(sigmas.values[: step + 1]), Sigmas(sigmas.values[step:]))


@core("SplitSigmasDenoise", "sampling/custom_sampling/sigmas")
def split_sigmas_denoise(sigmas: Sigmas, denoise: Part = 1.0) -> Halves:
    """Cut noise levels in two at a part of their steps."""
    steps = max(len(sigmas.values) - 1, 0)
    step = steps - round(steps * denoise)
    return Halves(Sigmas(sigmas.values[: step + 1]), Sigmas(sigmas.values[step:]))


@core("FlipSigmas", "sampling/custom_sampling/sigmas")
def flip_sigmas(sigmas: Sigmas) -> Sigmas:
    """Turn noise levels upside down, for inversion."""
    return ours.flip_sigmas(sigmas)


@core("SetFirstSigma", "sampling/custom_sampling/sigmas")
def set_first_sigma(sigmas: Sigmas, sigma: Annotated[float, Range(0, 20_000)] = 136.0) -> Sigmas:
    """Replace the noisiest level.

    Args:
        sigma: What takes its place.
    """
    return Sigmas(torch.cat([sigmas.values.new_tensor([sigma]), sigmas.values[1:]]))


@core("SamplingPercentToSigma", "sampling/custom_sampling/sigmas")
def sampling_percent_to_sigma(
    ctx: Context, model: Model, sampling_percent: Part = 0.0, return_actual_sigma: bool = False
) -> float:
    """Tell the noise level at a part of sampling.

    Args:
        sampling_percent: The part, 0 noisiest.
        return_actual_sigma: Whether the ends are the model's own levels instead of beyond and 0.
    """
    levels = _levels(ctx, model)
    if sampling_percent in (0.0, 1.0) and return_actual_sigma:
        return levels.sigma_max if sampling_percent == 0 else levels.sigma_min
    sigma = levels.sigma_at(sampling_percent)
    return sigma if math.isfinite(sigma) else BEYOND


BEYOND = 999_999_999.9
TABLES = {"SD1": "sd15", "SDXL": "sdxl", "SVD": "svd"}
BETA = beta.sigmas


def _levels(ctx: Context, model: Model) -> Levels:
    with ctx.models.use(model) as network:
        levels: Levels = network.denoiser.levels
        return levels


def _ramp(steps: int) -> Tensor:
    return torch.linspace(0, 1, steps, dtype=torch.float64)


@core("ManualSigmas", "sampling/custom_sampling/sigmas")
def manual_sigmas(sigmas: Line = "1, 0.5") -> Sigmas:
    """Read noise levels from a text.

    Args:
        sigmas: Numbers, from noisy to clean, with anything between them.
    """
    numbers = [float(n) for n in re.findall(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", sigmas)]
    return Sigmas(torch.tensor(numbers, dtype=torch.float64))


@core("ExtendIntermediateSigmas", "sampling/custom_sampling/sigmas")
def extend_intermediate_sigmas(
    sigmas: Sigmas, steps: Annotated[int, Range(1, 100)] = 2,
    start_at_sigma: Annotated[float, Range(-1, 20_000)] = -1.0, end_at_sigma: Annotated[float, Range(0, 20_000)] = 12.0,
    spacing: Literal["linear", "cosine", "sine"] = "linear",
) -> Sigmas:  # fmt: skip
    """Put more levels between those of a range.

    Args:
        sigmas: The noise levels.
        steps: Into how many steps each one is cut.
        start_at_sigma: Noisiest level of the range; -1 has no bound.
        end_at_sigma: Least noisy level of the range.
        spacing: How they are spread between two levels.
    """
    values = sigmas.values
    start = math.inf if start_at_sigma < 0 else start_at_sigma
    part = torch.linspace(0, 1, steps + 1, dtype=torch.float64)[1:-1]
    part = {"linear": part, "cosine": (part * math.pi / 2).sin(), "sine": 1 - (part * math.pi / 2).cos()}[spacing]
    found = []
    for high, low in pairwise(values):
        found.append(high[None])
        if end_at_sigma <= float(high) <= start:
            found.append(torch.lerp(high, low, part))
    return Sigmas(torch.cat([*found, values[-1:]]))
