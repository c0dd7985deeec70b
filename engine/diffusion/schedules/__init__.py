"""Schedules, one file each: a function `sigmas(levels, steps)` that places the steps on the noise levels.

Each returns (steps + 1,) float64, strictly falling, the last one 0. Warps of the noise amplitude act on
sigma, for flow models on s = sigma / (1 + sigma).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from engine.diffusion import discovery
from engine.diffusion.levels import Levels, Schedule
from engine.errors import BadInput


def names() -> tuple[str, ...]:
    """Return the schedules there are, sorted."""
    return discovery.names(sys.modules[__name__])


def get(name: str) -> Schedule:
    """Return the schedule called `name`, with its options by keyword; it refuses fewer steps than one."""
    sigmas = discovery.load(sys.modules[__name__], name, "schedule").sigmas

    def checked(levels: Levels, steps: int, **options: Any) -> Tensor:
        if steps < 1:
            raise BadInput(f"A schedule needs at least one step, not {steps}.", field="steps")
        placed: Tensor = sigmas(levels, steps, **options)
        return placed

    return checked


def ending_in_zero(sigmas: Tensor) -> Tensor:
    """Append the clean level."""
    return torch.cat([sigmas, sigmas.new_zeros(1)])


def at_levels(levels: Levels, ks: Iterable[float]) -> Tensor:
    """Return the sigmas of falling levels, then 0."""
    return ending_in_zero(levels.sigmas(ks))


def warped(levels: Levels, warp: Callable[[float, float], Tensor]) -> Tensor:
    """Return warp(least, most noise) as sigmas, then 0; noise is sigma, for flow models s."""
    if levels.kind != "flow":
        return ending_in_zero(warp(levels.sigma_min, levels.sigma_max))
    low, high = (sigma / (1 + sigma) for sigma in (levels.sigma_min, levels.sigma_max))
    s = warp(low, high)
    return ending_in_zero(s / (1 - s))


def ramp(steps: int) -> Tensor:
    """Return `steps` numbers from 0 to 1 (one step: 0), float64."""
    return torch.linspace(0, 1, steps, dtype=torch.float64)
