"""GLIGEN: boxes with a text each say what stands where.

Li et al. 2023, arXiv 2301.07093. The layers act in the first part of sampling, when places are decided. The negative
prompt is told of boxes too, but of none in particular, as in training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import torch
from torch import Tensor

from engine.context import Context
from engine.diffusion.companions import Grounding
from engine.errors import BadInput
from engine.node import File, node
from engine.types import Boxes, Clip, Cond, Conditioning, Gligen
from nodes.basics._pixels import Fraction
from nodes.basics.load import part_of
from nodes.control.controlnet import Steered

BOXES_MAX = 30  # that the layers were trained with
EXTRA = "grounding"


@node(category="load", title="Load GLIGEN")
def load_gligen(ctx: Context, file: Annotated[str, File("gligen")]) -> Gligen:
    """Load layers that let boxes with texts say what stands where.

    Args:
        file: A file in models/gligen, for Stable Diffusion 1.x.
    """
    gligen: Gligen = part_of(ctx, ctx.models.find("gligen", file), "gligen")
    return gligen


@node(category="conditioning/control", title="Apply GLIGEN")
def apply_gligen(
    ctx: Context,
    positive: Conditioning,
    negative: Conditioning,
    gligen: Gligen,
    clip: Clip,
    boxes: Boxes,
    *,
    end: Fraction = 0.3,
) -> Steered:
    """Let boxes with a text each say what stands where. What they name should be in the prompt too.

    Args:
        positive: What the picture should show.
        negative: What it should not show.
        gligen: The layers that read the boxes.
        clip: The text encoder of the model.
        boxes: At most 30 boxes, each with its text.
        end: Part of sampling until which they act: 0.3 decides places, 1 keeps to them at the cost of details.
    """
    if not all(text.strip() for text in boxes.texts):
        raise BadInput("Write into every box what shall stand there.", field="boxes")
    grounding = Grounding(gligen, end)
    steered = grounded(positive, grounding, boxes.boxes, pooled(ctx, clip, boxes.texts))
    return Steered(steered, without_boxes(negative, steered))


def pooled(ctx: Context, clip: Clip, texts: Sequence[str]) -> Tensor:
    """Return the pooled states (1, n, D) of texts, each the end of its text before any projection."""
    with ctx.models.use(clip) as network:
        states = [network.condition(text).pooled for text in texts]
    return torch.cat(states)[None] if states else torch.zeros(1, 0, 1)


def grounded(
    conditioning: Conditioning, grounding: Grounding, boxes: Sequence[Sequence[float]], texts: Tensor
) -> Conditioning:
    """Return the conditions with further boxes (left, top, width, height) and their texts (1, n, D)."""
    new = {"boxes": torch.tensor([list(boxes)], dtype=torch.float32).reshape(1, -1, 4), "texts": texts,
           "there": torch.ones(1, len(boxes))}  # fmt: skip
    return Conditioning(tuple(_with(cond, grounding, new) for cond in conditioning.conds))


def _with(cond: Cond, grounding: Grounding, new: dict[str, Tensor]) -> Cond:
    before: dict[str, Any] = cond.extra.get(EXTRA, {})
    if before and before["grounding"] != grounding:
        raise BadInput("The prompt carries boxes for other GLIGEN layers, or another part of sampling.")
    merged = {k: torch.cat([before[k], v], 1) if before else v for k, v in new.items()}
    if merged["boxes"].shape[1] > BOXES_MAX:
        raise BadInput(f"GLIGEN reads at most {BOXES_MAX} boxes, got {merged['boxes'].shape[1]}.", field="boxes")
    return replace(cond, extra={**cond.extra, EXTRA: {"grounding": grounding, **merged}})


def without_boxes(conditioning: Conditioning, like: Conditioning) -> Conditioning:
    """Return the conditions told of no box in particular, where the first of `like` is told of some."""
    given = next((c.extra[EXTRA] for c in like.conds if EXTRA in c.extra), None)
    if given is None:
        return conditioning
    none = {**given, "there": torch.zeros_like(given["there"])}
    return Conditioning(tuple(
        c if EXTRA in c.extra else replace(c, extra={**c.extra, EXTRA: none}) for c in conditioning.conds
    ))  # fmt: skip
