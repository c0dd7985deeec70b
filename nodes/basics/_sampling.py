"""What the sampling nodes share."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from engine.context import Context
from engine.diffusion import sample, samplers, schedules
from engine.diffusion.control import Controller
from engine.diffusion.levels import Levels, by_strength
from engine.errors import BadInput
from engine.node import Choice, Range
from engine.types import Blend, Guider, Latent, Noise, Sampler

Steps = Annotated[int, Range(1, 1000)]
Strength = Annotated[float, Range(0, 1, 0.01)]
Scale = Annotated[float, Range(0, 100, 0.1)]
SamplerName = Annotated[str, Choice(samplers.names)]
ScheduleName = Annotated[str, Choice(schedules.names)]

PREVIEW_SIDE = 256
STRENGTH_MIN = 0.01  # a schedule of steps / strength steps is computed


def sigmas_of(levels: Levels, schedule: str, steps: int, strength: float) -> Tensor:
    """Return the sigmas (steps + 1,) of a schedule for a model, from its `strength` part down."""
    if 0 < strength < STRENGTH_MIN:
        raise BadInput(f"strength is 0 or at least {STRENGTH_MIN}, got {strength:g}.", field="strength")
    return by_strength(schedules.get(schedule), levels, steps, strength)


def enlarged(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Repeat the pixels (h, w, 3) of a latent's picture until it can be seen."""
    times = max(1, PREVIEW_SIDE // max(pixels.shape[:2]))
    return pixels.repeat(times, 0).repeat(times, 1)


def run(
    ctx: Context, network: sample.DiffusionNetwork, guider: Guider, sampler: Sampler, *,
    sigmas: Tensor, latent: Latent, noise: Noise | None, blend: Blend | None = None, control: Controller | None = None,
) -> sample.Sampled:  # fmt: skip
    """Sample, telling `ctx` of progress and previews."""
    watch = sample.Watch(ctx.progress, ctx.wants_preview, lambda pixels: ctx.preview(enlarged(pixels)))
    return sample.sample(
        network, guider, sampler, sigmas, latent, noise=noise, watch=watch, blend=blend, control=control
    )
