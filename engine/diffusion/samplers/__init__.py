"""Samplers, one file each: a file with a function `sample` (see `stepping.Sample`) is all that a new one
needs.

`ORDER` is the global order of convergence of the deterministic part on a smooth schedule, `STOCHASTIC = True`
marks a sampler that draws noise with its default options.

Flow models use the same functions with sigma = s / (1 - s), s the flow time: Euler steps are the same in
both, and the stochastic samplers keep the right marginals. s = 1 is sigma = infinity, so flow schedules start
at s = 0.9999 (`levels.FLOW_MAX`). From there to the next level sigma falls by a factor of hundreds, which
only the samplers that solve the linear part exactly or step in native time survive: see `flow_time`.
"""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from engine.diffusion import discovery
from engine.diffusion.stepping import Denoise, OnStep, Sample, StepNoise, silent


@dataclass(frozen=True)
class Sampler:
    """A sampler found by name. Calling it samples."""

    name: str
    sample: Sample
    order: int
    stochastic: bool

    @property
    def options(self) -> dict[str, Any]:
        """The keyword-only options beside noise and on_step, with their defaults."""
        parameters = inspect.signature(self.sample).parameters.values()
        return {p.name: p.default for p in parameters if p.default is not p.empty}

    def __call__(
        self,
        denoise: Denoise,
        x: Tensor,
        sigmas: Tensor,
        *,
        noise: StepNoise,
        on_step: OnStep = silent,
        **options: Any,
    ) -> Tensor:
        """Walk x (B, C, h, w), in variance-exploding units at sigmas[0], down to sigmas[-1]."""
        return self.sample(denoise, x, sigmas, noise=noise, on_step=on_step, **options)


def names() -> tuple[str, ...]:
    """Return the samplers there are, sorted."""
    return discovery.names(sys.modules[__name__])


def get(name: str) -> Sampler:
    """Return the sampler called `name`."""
    module = discovery.load(sys.modules[__name__], name, "sampler")
    return Sampler(name, module.sample, getattr(module, "ORDER", 1), getattr(module, "STOCHASTIC", False))
