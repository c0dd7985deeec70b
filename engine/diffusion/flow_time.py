"""Run a deterministic sampler in the native time of flow models."""

from __future__ import annotations

from dataclasses import replace
from functools import wraps
from typing import Any

from torch import Tensor

from engine.diffusion.stepping import Denoise, OnStep, Sample, StepInfo, StepNoise


def in_flow_time(sample: Sample) -> Sample:
    """Return the sampler stepping in s = sigma / (1 + sigma) on y = (1 - s) x; callers still see x and sigma.

    dy/ds = (y - D) / s has the form of dx/dsigma = (x - D) / sigma, so that any ODE sampler may be run on it
    as it is. Its first step, from s = 0.9999, is then as short as the others, while in sigma it is a fall by
    hundreds.
    """

    @wraps(sample)
    def run(
        denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: StepNoise, on_step: OnStep, **options: Any
    ) -> Tensor:
        times = sigmas.double() / (1 + sigmas.double())
        exact: dict[float, float] = dict(
            zip(times.tolist(), sigmas.tolist(), strict=True)
        )  # windows and kept latents compare sigmas

        def sigma_at(s: float) -> float:
            return exact.get(s, s / (1 - s))

        def denoise_native(y: Tensor, s: float) -> Tensor:
            sigma = sigma_at(s)
            return denoise(y * (1 + sigma), sigma)

        def report(info: StepInfo) -> Tensor | None:
            sigma, sigma_next = sigma_at(info.sigma), sigma_at(info.sigma_next)
            seen = replace(info, x=info.x * (1 + sigma_next), sigma=sigma, sigma_next=sigma_next)
            replaced = on_step(seen)
            return None if replaced is None else replaced / (1 + sigma_next)

        if len(times) < 2:
            return x
        y = sample(denoise_native, x * float(1 - times[0]), times, noise=noise, on_step=report, **options)
        return y * (1 + sigma_at(float(times[-1])))

    return run
