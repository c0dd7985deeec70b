"""Paint-with-words: say where each word belongs (Balaji et al. 2022, arXiv 2211.01324, section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.context import Context
from engine.diffusion import text as prompts
from engine.diffusion.alignment import positions_of
from engine.errors import BadInput
from engine.node import Range, Text, Widget, node
from engine.types import AttentionControl, AttentionPart, Clip, Mask
from nodes.basics._pixels import Fraction
from nodes.basics.region_prompts import region_masks


@node(category="editing/attention")
def paint_words(
    ctx: Context,
    clip: Clip,
    text: Annotated[str, Text()],
    words: Annotated[str, Text(multiline=False)],
    mask: Mask,
    strength: Fraction = 1.0,
    *,
    weight: Annotated[float, Range(0, 10, 0.05)] = 0.4,
    stat: Literal["std", "max"] = "std",
    before: AttentionControl | None = None,
) -> AttentionControl:
    """Pull words of a prompt to where they are painted; several of these in a row paint together.

    Args:
        clip: The text encoder of the model.
        text: The whole prompt that is sampled.
        words: The words or phrases painted here, commas between them, wherever they occur.
        mask: Where they belong.
        strength: How much of that pull these words get, next to other painted ones.
        weight: How strongly words are pulled: 0 not at all, 1 surely, but the picture bends. Of several of these nodes
            in a row the last one's counts for all.
        stat: What the pull is measured in: the spread of attention, or its maximum as published.
        before: What was painted so far.
    """
    if len(mask.values) != 1:
        raise BadInput(f"Words take one mask, got {len(mask.values)}; select one of them.", field="mask")
    return _painted(ctx, clip, text, [(words, mask.values * strength)], before, field="words", weight=weight, stat=stat)


@node(category="editing/attention")
def paint_regions(
    ctx: Context,
    clip: Clip,
    text: Annotated[str, Text()],
    regions: Annotated[dict[str, Any], Widget("regions", {"paint": True})],
    weight: Annotated[float, Range(0, 10, 0.05)] = 0.4,
    *,
    stat: Literal["std", "max"] = "std",
    side: Annotated[int, Range(32, 1024, 8)] = 128,
    before: AttentionControl | None = None,
) -> AttentionControl:
    """Pull words of a prompt to where they are drawn: boxes and painted regions with their words written to them.

    Later regions lie over earlier ones. In a workflow file a region has a text, its words, and either x, y, width and
    height in 0..1 of the picture or a mask, the name of a picture file.

    Args:
        clip: The text encoder of the model.
        text: The whole prompt that is sampled.
        regions: Where they are, and which words of the prompt belong in each, commas between them.
        weight: How strongly words are pulled: 0 not at all, 1 surely, but the picture bends. Of several of these nodes
            in a row the last one's counts for all.
        stat: What the pull is measured in: the spread of attention, or its maximum as published.
        side: Size of the masks in pixels; they are scaled to the picture.
        before: What was painted so far.
    """
    listed: Any = regions
    masks = region_masks(ctx, listed, side)
    drawn = [(str(plain.get("text", "")), mask[None]) for plain, mask in zip(listed, masks, strict=True)]
    return _painted(ctx, clip, text, drawn, before, field="regions", weight=weight, stat=stat)


def _painted(
    ctx: Context,
    clip: Clip,
    text: str,
    drawn: Sequence[tuple[str, Tensor]],
    before: AttentionControl | None,
    *,
    field: str,
    weight: float,
    stat: str,
) -> AttentionControl:
    """Add words, each with its mask (1, H, W), to what was painted before."""
    with ctx.models.use(clip) as network:
        found = prompts.tokenise(network, text).words
    tokens = tuple(positions_of(found, words, field=field) for words, _ in drawn)
    if not all(tokens):
        raise BadInput("Name the words that are painted.", field=field)
    masks = [mask for _, mask in drawn]
    parts = () if before is None else before.parts
    if parts and parts[-1].kind == "paint":  # one bias for all, since its size is measured on what it is added to
        masks, tokens, parts = [parts[-1].tensors["masks"], *masks], (*parts[-1].options["tokens"], *tokens), parts[:-1]
    size = (int(masks[0].shape[1]), int(masks[0].shape[2]))
    stacked = torch.cat([F.interpolate(mask[:, None], size=size, mode="area")[:, 0] for mask in masks])
    painted = AttentionPart("paint", {"tokens": tokens, "weight": weight, "stat": stat}, {"masks": stacked})
    return AttentionControl((*parts, painted))
