"""Experts by noise level in one sampler: base and refiner, eDiff-I, Wan 2.2 (Balaji et al. 2022, arXiv 2211.01324)."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Annotated, Literal

from engine.context import Context
from engine.diffusion.experts import RoutedNetwork
from engine.diffusion.levels import Levels
from engine.diffusion.sample import working_bytes
from engine.errors import BadInput
from engine.node import Range, node
from engine.types import Guider, Latent, Model, Noise, Sampler, Sigmas
from nodes.basics._sampling import run

EXPERTS_MAX = 8


@node(category="editing/experts")
def sample_experts(
    ctx: Context,
    guider: Guider,
    experts: list[Model],
    boundaries: list[Annotated[float, Range(0, 1000)]],
    sampler: Sampler,
    sigmas: Sigmas,
    *,
    latent: Latent,
    noise: Noise | None = None,
    unit: Literal["level", "sigma"] = "level",
) -> Latent:
    """Sample with several models, each for its own range of noise, in one run of one sampler.

    Two samplers in a row forget their history at the border and may ask the wrong model between levels; this does not.

    Args:
        guider: The model for the noisiest range, and how all are steered.
        experts: The models for the cleaner ranges, in order; they share the autoencoder and the text encoder.
        boundaries: Where each of them begins, falling, one for each.
        sampler: How steps are taken.
        sigmas: The noise levels.
        latent: Where to begin.
        noise: Noise to add at the first level.
        unit: level is a part of the first model's noise levels (0.2 is near the end), sigma a noise level itself.
    """
    if not 1 <= len(experts) <= EXPERTS_MAX or len(boundaries) != len(experts):
        raise BadInput(f"Give 1 to {EXPERTS_MAX} experts and a boundary for each, got {len(experts)} and "
                       f"{len(boundaries)}.", field="boundaries")  # fmt: skip
    with ExitStack() as held:
        models = (guider.model, *experts)
        networks = tuple(held.enter_context(ctx.models.use(m, working_bytes=working_bytes(latent))) for m in models)
        borders = tuple(_sigma(networks[0].denoiser.levels, b, unit) for b in boundaries)
        routed = RoutedNetwork(networks, borders)
        return run(ctx, routed, guider, sampler, sigmas=sigmas.values, latent=latent, noise=noise).latent


def _sigma(levels: Levels, boundary: float, unit: str) -> float:
    if unit == "sigma":
        return boundary
    if not 0 <= boundary <= 1:
        raise BadInput(
            f"A boundary in levels lies in 0..1, got {boundary:g}; for a noise level itself set the unit to sigma.",
            field="boundaries",
        )
    return levels.sigma(boundary * levels.count)
