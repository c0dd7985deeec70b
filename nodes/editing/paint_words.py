"""Paint-with-words: say where each word belongs (Balaji et al. 2022, arXiv 2211.01324, section 5)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F

from engine.context import Context
from engine.diffusion import text as prompts
from engine.diffusion.alignment import positions_of
from engine.errors import BadInput
from engine.node import Range, Text, node
from engine.types import AttentionControl, AttentionPart, Clip, Mask
from nodes.basics._pixels import Fraction


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
        strength: How strongly, next to the other painted words.
        weight: How strongly altogether; taken from the last of these nodes.
        stat: What the pull is measured in: the spread of attention, or its maximum as published.
        before: What was painted so far.
    """
    if len(mask.values) != 1:
        raise BadInput(f"Words take one mask, got {len(mask.values)}; select one of them.", field="mask")
    with ctx.models.use(clip) as network:
        found = [(w.text, w.positions) for w in prompts.tokenise(network, text).words]
    places = positions_of(found, words, field="words")
    if not places:
        raise BadInput("Name the words that are painted.", field="words")
    masks, tokens = mask.values * strength, (places,)
    parts = () if before is None else before.parts
    if parts and parts[-1].kind == "paint":  # one bias for all, since its size is measured on what it is added to
        earlier = parts[-1].tensors["masks"]
        size = (int(earlier.shape[1]), int(earlier.shape[2]))
        masks = torch.cat([earlier, F.interpolate(masks[:, None], size=size, mode="area")[:, 0]])
        tokens, parts = (*parts[-1].options["tokens"], places), parts[:-1]
    painted = AttentionPart("paint", {"tokens": tokens, "weight": weight, "stat": stat}, {"masks": masks})
    return AttentionControl((*parts, painted))
