"""Pictures sorted by how well a text fits them, as a dual encoder sees it.

Part of Blended Latent Diffusion: several edits are made, and the best is kept (Avrahami et al. 2023, arXiv 2206.02779).
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

import torch
from torch import Tensor

from engine.context import Context
from engine.errors import BadInput
from engine.node import File, Text, node
from engine.types import DualEncoder, Image, Mask, Plot
from nodes.basics._pixels import match
from nodes.basics.load import part_of

ROOM = 0.25  # of the mask's side, on each side of it


class Ranked(NamedTuple):
    """Pictures, best first, the cosine of each with the text, and the number that the first one had before."""

    image: Image
    scores: Plot
    best: int


@node(category="load", title="Load dual encoder")
def load_dual_encoder(ctx: Context, file: Annotated[str, File("encoder")]) -> DualEncoder:
    """Load a network that says how well a text fits a picture: a whole CLIP, or the small one of the embedded model.

    Args:
        file: A file in models/dual_encoders with its config.json beside it, as CLIP models are published.
    """
    encoder: DualEncoder = part_of(ctx, ctx.models.find("encoder", file), "dual")
    return encoder


@node(category="image/batch")
def rank_images(
    ctx: Context, encoder: DualEncoder, image: Image, text: Annotated[str, Text()] = "", mask: Mask | None = None
) -> Ranked:
    """Sort pictures by how well a text fits them, best first.

    With a mask only the square around it is looked at, with a quarter of its side around for what it stands on: what
    else is kept does not count.

    Args:
        encoder: What compares pictures and texts.
        image: The pictures to compare.
        text: What they should show.
        mask: Where to look; without it everywhere.
    """
    parts = [image.pixels] if mask is None else _squares(image, mask)
    with ctx.models.use(encoder) as network:
        seen = torch.cat([network.pictures(part) for part in parts])  # (B, D)
        scores = seen @ network.texts([text])[0]
    order = scores.argsort(descending=True, stable=True)
    points = tuple((float(i), float(scores[k])) for i, k in enumerate(order.tolist()))
    return Ranked(Image(image.pixels[order].clone()), Plot({"cosine": points}, "rank", "cosine"), int(order[0]))


def _squares(image: Image, mask: Mask) -> list[Tensor]:
    """Return the square (1, s, s, 3) of each picture around its mask, less than square where the picture ends."""
    pixels, masks = match(image.pixels, mask.values, "Image and mask")
    if not bool(masks.flatten(1).any(1).all()):
        raise BadInput("The mask is empty: there is nothing to look at.", field="mask")
    parts = []
    for picture, where in zip(pixels, masks, strict=True):
        rows, columns = where.any(1).nonzero()[:, 0], where.any(0).nonzero()[:, 0]
        side = round((1 + 2 * ROOM) * (int(max(rows[-1] - rows[0], columns[-1] - columns[0])) + 1))
        top, left = (_start(int(ends[0]), int(ends[-1]) + 1, side, n) for ends, n in zip(
            (rows, columns), where.shape, strict=True
        ))  # fmt: skip
        parts.append(picture[None, top : top + side, left : left + side])
    return parts


def _start(first: int, end: int, side: int, limit: int) -> int:
    """Return where a span of `side` around first..end begins, inside 0..limit where it fits."""
    return max(0, min((first + end - side) // 2, limit - side))
