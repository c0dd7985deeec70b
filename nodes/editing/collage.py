"""Collage Diffusion: layers with words become one picture (Sarukkai et al. 2023, arXiv 2303.00262)."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import cv2
import torch

from engine.context import Context
from engine.diffusion import text as prompts
from engine.diffusion.alignment import positions_of
from engine.errors import BadInput
from engine.node import Range, Text, node
from engine.types import AttentionControl, AttentionPart, Clip, Image, Mask
from nodes.basics._pixels import Fraction, match_batches, per_picture, place

LAYERS_MAX = 64
Pull = Annotated[float, Range(0, 4, 0.05)]


class Composed(NamedTuple):
    """The layers on each other, and what is seen of each (one mask a layer)."""

    image: Image
    visible: Mask


@node(category="editing/collage")
def compose_layers(
    background: Image, layers: list[Image], masks: list[Mask], places: dict[str, Any] | None = None
) -> Composed:
    """Lay cut-outs on each other, back to front.

    Args:
        background: What lies behind all; one picture.
        layers: The cut-outs, the first one farthest back.
        masks: Their outlines, each of its layer's size; 1 is opaque.
        places: Where each begins, a list of [x, y] in pixels; without it all begin at the upper left.
    """
    if not 1 <= len(layers) <= LAYERS_MAX or len(layers) != len(masks):
        raise BadInput(f"Give 1 to {LAYERS_MAX} layers with a mask each, got {len(layers)} and {len(masks)}.")
    offsets = _offsets(places, len(layers))
    canvas = background.pixels[:1].clone()  # (1, H, W, 3)
    visible = torch.zeros(len(layers), *canvas.shape[1:3])
    for i, (layer, mask, (x, y)) in enumerate(zip(layers, masks, offsets, strict=True)):
        pixels, outline = layer.pixels[:1], mask.values[:1]
        if pixels.shape[1:3] != outline.shape[1:]:
            raise BadInput(f"Layer {i + 1} and its mask differ in size; put a resize node before one of them.")
        under, over = place(canvas, pixels, x, y)
        _, alpha = place(canvas[..., 0], outline, x, y)
        under += alpha[..., None] * (over - under)
        for k in range(i):
            seen, _ = place(visible[k][None], outline, x, y)
            seen *= 1 - alpha
        own, _ = place(visible[i][None], outline, x, y)
        own += alpha
    return Composed(Image(canvas), Mask(visible))


def _offsets(places: Any, count: int) -> list[tuple[int, int]]:
    if places is None:
        return [(0, 0)] * count
    good = isinstance(places, list) and len(places) == count and all(
        isinstance(p, list) and len(p) == 2 and all(type(v) is int and abs(v) < 100_000 for v in p) for p in places
    )  # fmt: skip
    if not good:
        raise BadInput(f"places is a list of {count} pairs [x, y] of whole pixels.", field="places")
    return [(p[0], p[1]) for p in places]


@node(category="editing/collage")
def layer_attention(
    ctx: Context,
    clip: Clip,
    text: Annotated[str, Text()],
    phrases: Annotated[str, Text()],
    visible: Mask,
    inside: Pull = 0.5,
    *,
    outside: Pull = 0.25,
) -> AttentionControl:
    """Pull each layer's words into its layer and push them out elsewhere.

    Args:
        clip: The text encoder of the model.
        text: The prompt of the whole scene.
        phrases: The words of each layer in it, a line for each, in the order of the layers; empty lines have none.
            Layers of the same words take them in turn.
        visible: What is seen of each layer.
        inside: How strongly words are pulled in.
        outside: How strongly they are pushed out.
    """
    lines = [line.strip() for line in phrases.splitlines()]
    if len(lines) != len(visible.values):
        raise BadInput(f"There are {len(visible.values)} layers and {len(lines)} lines of words.", field="phrases")
    with ctx.models.use(clip) as network:
        found = [(w.text, w.positions) for w in prompts.tokenise(network, text).words]
    used = [i for i, line in enumerate(lines) if line and bool((visible.values[i] > 0.5).any())]  # hidden: no words
    if not used:
        return AttentionControl(())
    tokens = tuple(_in_turn(positions_of(found, lines[i], field="phrases"), lines, i) for i in used)
    amounts = {"positive": torch.full((len(used),), inside), "negative": torch.full((len(used),), outside)}
    return AttentionControl((AttentionPart("collage", {"tokens": tokens}, {"masks": visible.values[used], **amounts}),))


def _in_turn(tokens: tuple[int, ...], lines: list[str], i: int) -> tuple[int, ...]:
    """Return the tokens of layer i: of layers with the same words, said as often, each takes its own in turn."""
    same = [k for k, line in enumerate(lines) if line == lines[i]]
    share, rest = divmod(len(tokens), len(same))
    turn = same.index(i)
    return tokens if rest or not share else tokens[turn * share : (turn + 1) * share]


@node(category="editing/collage")
def layer_strengths(
    visible: Mask,
    strengths: dict[str, Any],
    background: Fraction = 0.5,
    blur: Annotated[float, Range(0, 100)] = 10.0,
) -> Mask:
    """Say how much of each layer may change, for Per pixel strength.

    Args:
        visible: What is seen of each layer.
        strengths: A list of numbers, one a layer: 0 stays as it is, 1 is made anew.
        background: How much may change where no layer is.
        blur: Soft borders between strengths, in pixels: a fiftieth of the picture's side is usual.
    """
    amounts: Any = strengths
    count = len(visible.values)
    if (
        not isinstance(amounts, list)
        or len(amounts) != count
        or not all(type(a) in (int, float) and 0 <= a <= 1 for a in amounts)
    ):
        raise BadInput(f"strengths is a list of {count} numbers in 0..1.", field="strengths")
    each, _ = match_batches(torch.tensor(amounts, dtype=torch.float32)[:, None, None], visible.values)
    covered = visible.values.sum(0, keepdim=True).clamp(0, 1)
    map_ = (visible.values * each).sum(0, keepdim=True) + (1 - covered) * background
    return Mask(per_picture(map_, lambda m: cv2.GaussianBlur(m, (0, 0), blur)) if blur else map_)
