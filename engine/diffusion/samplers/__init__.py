"""Samplers, one file each: a file with a function `sample` (see `stepping.Sample`) is all that it takes.

`ORDER` is the global order of convergence of the deterministic part on a smooth schedule, `STOCHASTIC = True`
marks a sampler that draws noise with its default options.

Flow models use the same functions with sigma = s / (1 - s), s the flow time: Euler steps are the same in
both, and the stochastic samplers keep the right marginals. s = 1 is sigma = infinity, so flow schedules start
at s = 0.9999 (`levels.FLOW_MAX`); from there sigma falls by a factor of hundreds in one step, which heun and
dpm_2 do not survive: `Sampler.on` makes the deterministic samplers step in s instead.
"""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from engine.diffusion import discovery
from engine.diffusion.flow_time import in_flow_time
from engine.diffusion.levels import Levels
from engine.diffusion.noise import NoiseSource
from engine.diffusion.stepping import Denoise, OnStep, Sample, StepNoise, silent


@dataclass(frozen=True)
class Sampler:
    """A sampler found by name. Calling it samples."""

    name: str
    sample: Sample
    order: int
    stochastic: bool = False
    brownian: bool = False

    @property
    def options(self) -> dict[str, Any]:
        """The keyword-only options beside noise and on_step, with their defaults."""
        parameters = inspect.signature(self.sample).parameters.values()
        return {p.name: p.default for p in parameters if p.default is not p.empty}

    def on(self, levels: Levels) -> Sampler:
        """Return the sampler as it is to be run: in flow time on a flow, if it draws no noise."""
        native = levels.kind == "flow" and not self.stochastic
        return replace(self, sample=in_flow_time(self.sample)) if native else self

    def noise(self, source: NoiseSource, like: Tensor) -> StepNoise:
        """Return the step noise that this sampler needs, for a batch like `like`."""
        return source.brownian(like) if self.brownian else source.steps(like)

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
    marks = {mark: getattr(module, mark.upper(), False) for mark in ("stochastic", "brownian")}
    return Sampler(name, module.sample, getattr(module, "ORDER", 1), **marks)
