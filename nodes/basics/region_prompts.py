"""Prompts in regions of a picture: boxes and painted masks with a text each, in the order in which they lie."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import torch
from torch import Tensor

from engine import pictures
from engine.context import Context
from engine.errors import BadInput
from engine.node import Range, Text, Widget, node
from engine.types import Boxes, Clip, Conditioning, Mask
from nodes.basics._pixels import luma, resample
from nodes.basics.boxes import plain_boxes
from nodes.basics.text import encode_text

REGIONS_MAX = 32


class InRegions(NamedTuple):
    """The prompts, each with its region, and the regions as masks in their order."""

    conditioning: Conditioning
    mask: Mask


@node(category="conditioning")
def region_prompts(
    ctx: Context,
    clip: Clip,
    regions: Annotated[dict[str, Any] | None, Widget("regions", {"paint": True})] = None,
    background: Annotated[str, Text()] = "",
    side: Annotated[int, Range(32, 1024, 8)] = 128,
    boxes: Boxes | None = None,
) -> InRegions:
    """Write prompts into regions of the picture: boxes that are drawn and masks that are painted.

    Later regions lie over earlier ones and take their place where they meet. In a workflow file a region has a text and
    either x, y, width and height in 0..1 of the picture or a mask, the name of a picture file.

    Args:
        clip: The text encoder of the model.
        regions: Where they are, and what is to be seen in each.
        background: The prompt of the whole picture.
        side: Size of the masks in pixels; they are scaled to the picture.
        boxes: Boxes with their texts from elsewhere, above those that are drawn.
    """
    listed: Any = regions or []
    if isinstance(listed, list) and boxes is not None:
        listed = [*listed, *plain_boxes(boxes)]
    masks = region_masks(ctx, listed, side)
    whole = encode_text(ctx, clip, background)
    conds = [
        cond
        for plain, mask in zip(listed, masks, strict=True)
        for cond in encode_text(ctx, clip, str(plain.get("text", ""))).map(mask=mask[None]).conds
    ]
    return InRegions(Conditioning((*conds, *whole.conds)), Mask(torch.stack(masks)))


def region_masks(ctx: Context, listed: Any, side: int) -> list[Tensor]:
    """Return a mask (side, side) of each region; later ones take the place of earlier ones."""
    if not isinstance(listed, list) or not 0 < len(listed) <= REGIONS_MAX:
        raise BadInput(f"Draw one to {REGIONS_MAX} regions.", field="regions")
    masks: list[Tensor] = []
    for number, plain in enumerate(listed, 1):
        mask = _mask(ctx, plain, side, number)
        masks = [below * (1 - mask) for below in masks] + [mask]
    if not all(bool(mask.any()) for mask in masks):
        hidden = next(n for n, mask in enumerate(masks, 1) if not mask.any())
        raise BadInput(f"Region {hidden} is empty, or later ones cover it; move it or take it out.", field="regions")
    return masks


def _mask(ctx: Context, plain: Any, side: int, number: int) -> Tensor:
    """Return a region as a mask (side, side)."""
    if isinstance(plain, dict) and isinstance(plain.get("mask"), str):
        found = pictures.decode(ctx.files.find("input", plain["mask"]).read_bytes(), f"The mask of region {number}")
        return resample(luma(torch.from_numpy(found.rgb)[None]), side, side, "bilinear")[0]
    box: list[Any] = [plain.get(key) for key in ("x", "y", "width", "height")] if isinstance(plain, dict) else []
    if not box or not all(type(v) in (int, float) and 0 <= v <= 1 for v in box):
        raise BadInput(f"Region {number} needs x, y, width and height in 0..1, or a mask.", field="regions")
    x, y, width, height = (round(v * side) for v in box)
    mask = torch.zeros(side, side)
    mask[y : y + height, x : x + width] = 1
    return mask
