"""Latents: size, place, batches, masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.errors import BadInput
from engine.node import Range, node
from engine.types import Latent, Mask
from nodes.basics._pixels import (
    SIZE_MAX,
    Border,
    Count,
    Fraction,
    Offset,
    border_ramp,
    check_room,
    match_batches,
    place,
)

Pixels = Annotated[int, Range(8, SIZE_MAX, 8)]
Scaling = Literal["nearest", "bilinear", "bicubic", "area"]
Index = Annotated[int, Range(0, 10_000)]


@node(category="latent/size")
def upscale_latent(latent: Latent, width: Pixels = 512, height: Pixels = 512, method: Scaling = "nearest") -> Latent:
    """Resize latents to the size of a picture.

    Args:
        latent: The latents.
        width: Width of the picture they stand for, in pixels.
        height: Height of that picture.
        method: Nearest keeps the noise statistics that samplers expect; the others are smoother.
    """
    return _resized(latent, max(1, width // latent.factor), max(1, height // latent.factor), method)


@node(category="latent/size")
def scale_latent(
    latent: Latent, factor: Annotated[float, Range(0.05, 8, 0.05)] = 2.0, method: Scaling = "nearest"
) -> Latent:
    """Make latents larger or smaller by a factor.

    Args:
        latent: The latents.
        factor: 2 doubles width and height.
        method: Nearest keeps the noise statistics that samplers expect; the others are smoother.
    """
    h, w = latent.samples.shape[2:]
    return _resized(latent, max(1, round(w * factor)), max(1, round(h * factor)), method)


@node(category="latent/size")
def crop_latent(latent: Latent, x: Border = 0, y: Border = 0, width: Pixels = 512, height: Pixels = 512) -> Latent:
    """Cut a rectangle out of latents; what would lie outside is left away.

    Args:
        latent: The latents.
        x: Left edge in pixels, rounded down to whole latent cells.
        y: Upper edge in pixels.
        width: Width in pixels.
        height: Height in pixels.
    """
    h, w = latent.samples.shape[2:]
    left, top = min(x // latent.factor, w - 1), min(y // latent.factor, h - 1)
    part = slice(top, top + max(1, height // latent.factor)), slice(left, left + max(1, width // latent.factor))
    return _each(latent, lambda t: t[..., *part].clone())


@node(category="latent/size")
def flip_latent(latent: Latent, direction: Literal["horizontal", "vertical", "both"] = "horizontal") -> Latent:
    """Mirror latents.

    Args:
        latent: The latents.
        direction: Horizontal swaps left and right.
    """
    sides = {"horizontal": (-1,), "vertical": (-2,), "both": (-2, -1)}[direction]
    return _each(latent, lambda t: t.flip(sides))


@node(category="latent/size")
def rotate_latent(latent: Latent, turns: Annotated[int, Range(-3, 3)] = 1) -> Latent:
    """Turn latents counter-clockwise by quarter turns.

    Args:
        latent: The latents.
        turns: Number of quarter turns; negative turns clockwise.
    """
    return _each(latent, lambda t: torch.rot90(t, turns, (-2, -1)).contiguous())


@node(category="latent/combine")
def composite_latents(base: Latent, layer: Latent, x: Offset = 0, y: Offset = 0, feather: Border = 0) -> Latent:
    """Put latents onto others at a place; what sticks out is cut off.

    Args:
        base: The latents below.
        layer: The latents to put on them.
        x: Left edge of the layer in pixels, rounded to whole latent cells.
        y: Upper edge of the layer in pixels.
        feather: Width in pixels over which the layer's edges fade.
    """
    canvas, patch = _fit(base, layer, size=False)
    h, w = patch.shape[2:]
    soft = feather // base.factor
    alpha = border_ramp(h, w, soft, soft, soft, soft).expand(len(patch), h, w)
    result = canvas.movedim(1, -1).clone()  # (B, C, h, w) -> (B, h, w, C)
    column, row = x // base.factor, y // base.factor
    there, here = place(result, patch.movedim(1, -1), column, row)
    there.copy_(there.lerp(here, place(result, alpha, column, row)[1][..., None]))
    return _like(base, result.movedim(-1, 1).contiguous())


@node(category="latent/combine")
def blend_latents(a: Latent, b: Latent, amount: Fraction = 0.5) -> Latent:
    """Mix two latents: a at 0, b at 1.

    Args:
        a: First latents.
        b: Second latents, of the same size.
        amount: Share of b.
    """
    x, y = _fit(a, b)
    return _like(a, x.lerp(y, amount))


@node(category="latent/combine")
def add_latents(
    a: Latent,
    b: Latent,
    scale_a: Annotated[float, Range(-10, 10, 0.05)] = 1.0,
    scale_b: Annotated[float, Range(-10, 10, 0.05)] = 1.0,
) -> Latent:
    """Add two latents, each multiplied by a number (-1 subtracts).

    Args:
        a: First latents.
        b: Second latents, of the same size.
        scale_a: Factor of a.
        scale_b: Factor of b.
    """
    x, y = _fit(a, b)
    return _like(a, scale_a * x + scale_b * y)


@node(category="latent/batch")
def batch_latents(latents: list[Latent], more: list[Latent] | None = None) -> Latent:
    """Make one batch of latents that have the same size.

    Args:
        latents: Latents or batches.
        more: Further latents to put behind them.
    """
    every = [*latents, *(more or [])]
    if not every:
        raise BadInput("There are no latents to batch; connect at least one.", field="latents")
    for one in every:
        _check_same(every[0], one)
    masks = [one.mask if one.mask is not None else torch.ones_like(one.samples[:, 0]) for one in every]
    has_mask = any(one.mask is not None for one in every)
    seeds = tuple(s for one in every for s in _seeds(one)) if any(one.seeds is not None for one in every) else None
    samples = torch.cat([one.samples for one in every])
    return Latent(samples, every[0].factor, torch.cat(masks) if has_mask else None, seeds)


@node(category="latent/batch")
def repeat_latent(latent: Latent, count: Count = 2) -> Latent:
    """Repeat latents; each copy gets noise of its own.

    Args:
        latent: The latents.
        count: How often.
    """
    h, w = latent.samples.shape[2:]
    check_room(count * len(latent.samples), h * latent.factor, w * latent.factor)
    samples = latent.samples.repeat(count, 1, 1, 1)
    mask = None if latent.mask is None else latent.mask.repeat(count, 1, 1)
    seeds = _seeds(latent)
    fresh = tuple(s + copy * (max(seeds) + 1) for copy in range(count) for s in seeds)
    return replace(latent, samples=samples, mask=mask, seeds=None if latent.seeds is None else fresh)


@node(category="latent/batch")
def select_latents(latent: Latent, start: Index = 0, count: Count = 1) -> Latent:
    """Take some latents out of a batch; each keeps its noise, so that the same picture comes out.

    Args:
        latent: The batch.
        start: Number of the first one, counted from 0.
        count: How many; fewer if the batch ends before.
    """
    if start >= len(latent.samples):
        raise BadInput(f"start is {start}, but the batch holds {len(latent.samples)} latents.", field="start")
    part = slice(start, start + count)
    return replace(_each(latent, lambda t: t[part].clone()), seeds=_seeds(latent)[part])


@node(category="latent")
def set_latent_mask(latent: Latent, mask: Mask | None = None) -> Latent:
    """Say which part of latents is made anew; the rest is kept. Without a mask everything is.

    Args:
        latent: The latents.
        mask: 1 where a sampler may change the picture; it is scaled to the latents by area.
    """
    if mask is None:
        return replace(latent, mask=None)
    h, w = latent.samples.shape[2:]
    small = F.adaptive_avg_pool2d(mask.values[:, None], (h, w))[:, 0]  # (B, H, W) -> (B, h, w)
    return replace(latent, mask=_mask_for(small, len(latent.samples)))


def _each(latent: Latent, change: Callable[[Tensor], Tensor]) -> Latent:
    """Apply a change of the last two axes to samples (B, C, h, w) and mask (B, h, w)."""
    return replace(latent, samples=change(latent.samples), mask=None if latent.mask is None else change(latent.mask))


def _like(latent: Latent, samples: Tensor) -> Latent:
    """Return new samples with the mask and noise of `latent`; noise of their own if it was repeated for a batch."""
    seeds = latent.seeds if len(samples) == len(latent.samples) else None
    return replace(latent, samples=samples, mask=_mask_for(latent.mask, len(samples)), seeds=seeds)


def _resized(latent: Latent, w: int, h: int, method: Scaling) -> Latent:
    check_room(len(latent.samples), h * latent.factor, w * latent.factor)
    mode = "nearest-exact" if method == "nearest" else method
    smooth = {"antialias": True} if method in ("bilinear", "bicubic") else {}
    samples = F.interpolate(latent.samples, (h, w), mode=mode, **smooth)
    mask = None if latent.mask is None else F.interpolate(latent.mask[:, None], (h, w), mode="area")[:, 0]
    return replace(latent, samples=samples, mask=mask)


def _seeds(latent: Latent) -> tuple[int, ...]:
    return tuple(range(len(latent.samples))) if latent.seeds is None else latent.seeds


def _check_same(a: Latent, b: Latent, *, size: bool = True) -> None:
    x, y = a.samples.shape[1:], b.samples.shape[1:]
    if x[0] != y[0] or a.factor != b.factor:
        raise BadInput(f"These latents are of different models: {x[0]} channels of {a.factor} pixels and "
                       f"{y[0]} of {b.factor}.")  # fmt: skip
    if size and x != y:
        raise BadInput(f"These latents differ in size: {x[2]} x {x[1]} and {y[2]} x {y[1]} cells; scale one of them.")


def _fit(a: Latent, b: Latent, *, size: bool = True) -> tuple[Tensor, Tensor]:
    """Return the samples of both, batches of one repeated to the other's length."""
    _check_same(a, b, size=size)
    return match_batches(a.samples, b.samples, "The two latents")


def _mask_for(mask: Tensor | None, batch: int) -> Tensor | None:
    """Repeat a mask (1 or B, h, w) for a batch."""
    if mask is None or len(mask) == batch:
        return mask
    if len(mask) != 1:
        raise BadInput(f"There are {len(mask)} masks for {batch} latents; give one, or one each.", field="mask")
    return mask.repeat(batch, 1, 1)
