"""Blended Latent Diffusion: make what is inside a mask, keep what is outside at the right noise level.

Avrahami et al. 2022, arXiv 2111.14818 and 2206.02779.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.context import Context
from engine.diffusion import blend as blends
from engine.diffusion.control import Controller
from engine.diffusion.sample import working_bytes
from engine.diffusion.score import gains, pairs_of
from engine.errors import BadInput
from engine.node import Range, Seed, node
from engine.types import (
    AttentionControl,
    AttentionStore,
    Blend,
    Conditioning,
    Guider,
    Latent,
    Mask,
    Model,
    Noise,
    Plot,
    Sampler,
    Sigmas,
)
from nodes.basics._sampling import run

Dilations = Annotated[int, Range(0, 16)]


class Edited(NamedTuple):
    """Latents where sampling ended, the clean picture seen there, and the attention of the run."""

    latent: Latent
    denoised: Latent
    attention: AttentionStore


class Ranked(NamedTuple):
    """Latents, best first, and their scores."""

    latent: Latent
    scores: Plot


def latent_mask(mask: Mask, latent: Latent) -> Tensor:
    """Return a mask (B, h, w) on the latent's cells: a cell is edited as much as its most edited pixel."""
    _check_proportions(mask, latent, "mask")
    return F.adaptive_max_pool2d(mask.values[:, None], latent.samples.shape[-2:])[:, 0]  # (B, H, W) -> (B, h, w)


def _check_proportions(mask: Mask, latent: Latent, field: str) -> None:
    """Refuse a mask of another picture; pictures are fitted to whole cells, so one cell more or less is none."""
    (height, width), (h, w) = mask.values.shape[-2:], latent.samples.shape[-2:]
    if abs(height * w / (width * h) - 1) > 1 / h + 1 / w:
        raise BadInput(
            f"The mask is {width} x {height} pixels, the latents {w} x {h} cells, which are other proportions: fit the "
            "mask as the picture was fitted.", field=field,
        )  # fmt: skip


@node(category="editing/blend")
def keep_outside(
    latent: Latent,
    mask: Mask,
    policy: Literal["fixed noise", "fresh noise"] = "fixed noise",
    dilations: Dilations = 0,
) -> Blend:
    """Keep latents where a mask is 0, noised after each step to just the level that the step reached.

    Args:
        latent: What is kept.
        mask: 1 is where to edit, 0 what to keep.
        policy: Fixed noise is right for every sampler; fresh noise at each step is what Blended Diffusion does.
        dilations: For thin masks: begin with a mask grown by so many latent cells and shrink it towards the end.
    """
    stages = blends.shrinking(latent_mask(mask, latent), dilations)
    return Blend("fixed" if policy == "fixed noise" else "fresh", stages, latent.samples)


@node(category="editing/blend")
def per_pixel_strength(latent: Latent, strength: Mask, grow: Annotated[float, Range(0, 16, 0.5)] = 0.0) -> Blend:
    """Give every place a strength of its own: 0 stays, 1 is made anew, between is changed so much.

    Args:
        latent: The picture that is changed.
        strength: How much may change where.
        grow: Grows what is held by so many latent cells at the noisiest level, and ever less below.
    """
    _check_proportions(strength, latent, "strength")
    h, w = latent.samples.shape[-2:]
    small = F.adaptive_avg_pool2d(strength.values[:, None], (h, w))[:, 0]
    return Blend("per_pixel", small[None], latent.samples, options={"dilate": grow})


@node(category="editing/blend")
def combine_blends(first: Blend, second: Blend) -> Blend:
    """Do one blend after the other.

    Args:
        first: What is put back first.
        second: What is put back then.
    """
    return replace(first, then=(*first.then, replace(second, then=()), *second.then))


@node(category="editing")
def sample_edit(
    ctx: Context,
    guider: Guider,
    sampler: Sampler,
    sigmas: Sigmas,
    latent: Latent,
    noise: Noise | None = None,
    *,
    blend: Blend | None = None,
    control: AttentionControl | None = None,
) -> Edited:
    """Sample with a blend after each step and control of attention.

    Args:
        guider: The model and how it is steered.
        sampler: How steps are taken.
        sigmas: The noise levels to walk down.
        latent: Where to begin.
        noise: Noise to add at the first level; without it the latents are there already, as after an inversion.
        blend: What is put back after each step.
        control: What is changed in attention.
    """
    with ctx.models.use(guider.model, working_bytes=working_bytes(latent)) as network:
        watcher = Controller(control, sigmas.values) if control else None
        ended = run(
            ctx, network, guider, sampler, sigmas=sigmas.values, latent=latent, noise=noise, blend=blend,
            control=watcher,
        )  # fmt: skip
    return Edited(*ended, watcher.store(latent.factor) if watcher else AttentionStore({}, latent.factor))


@node(category="editing")
def rank_latents(
    ctx: Context,
    model: Model,
    latent: Latent,
    positive: Conditioning,
    negative: Conditioning,
    mask: Mask | None = None,
    *,
    samples: Annotated[int, Range(1, 64)] = 8,
    seed: Seed = 0,
) -> Ranked:
    """Sort pictures by how much better the prompt explains them than the negative does, best first.

    The model itself judges: noise is added to each picture, and the score is by how much the prompt lowers the error
    of the model's guess, inside the mask.

    Args:
        model: The model.
        latent: The pictures to compare.
        positive: What they should show.
        negative: What the prompt is compared with, such as an empty one.
        mask: Where to look; without it everywhere.
        samples: At how many noise levels to look.
        seed: Number of the noise, the same for all pictures.
    """
    batch = len(latent.samples)
    where = torch.ones(1, *latent.samples.shape[-2:]) if mask is None else latent_mask(mask, latent)
    if len(where) not in (1, batch):
        raise BadInput(f"There are {len(where)} masks for {batch} pictures; give one, or one each.", field="mask")
    if not bool(where.flatten(1).any(1).all()):
        raise BadInput("The mask is empty: there is nothing to look at.", field="mask")
    with ctx.models.use(model, working_bytes=working_bytes(latent)) as network:
        pairs = pairs_of(network.levels, samples, seed)
        scores = gains(
            network.denoiser, latent.samples, [positive, negative], pairs, where=where, progress=ctx.progress
        )
    best = scores.argsort(descending=True, stable=True)
    seeds = latent.seeds or tuple(range(batch))
    ordered = replace(
        latent, samples=latent.samples[best], seeds=tuple(seeds[i] for i in best.tolist()),
        mask=None if latent.mask is None else latent.mask.expand(batch, -1, -1)[best],
    )  # fmt: skip
    points = tuple((float(i), float(scores[k])) for i, k in enumerate(best.tolist()))
    return Ranked(ordered, Plot({"score": points}, "rank", "score"))
