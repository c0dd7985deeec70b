"""Where words look: attention maps as pictures and as masks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import cv2
import numpy as np
import torch

from engine.context import Context
from engine.diffusion import text as prompts
from engine.diffusion.alignment import check_positions, positions_of
from engine.errors import BadInput
from engine.node import Range, Text, node
from engine.types import AttentionStore, Clip, Heatmap, Image, Saved
from nodes.basics._pixels import write_pictures
from nodes.editing.diffedit import show_heatmap


class WordMaps(NamedTuple):
    """A map per word, and the same as pictures with the words below."""

    heatmap: Heatmap
    image: Image


@node(category="editing/attention")
def attention_of_words(
    ctx: Context,
    attention: AttentionStore,
    clip: Clip,
    text: Annotated[str, Text()],
    words: Annotated[str, Text(multiline=False)] = "",
    picture: Image | None = None,
    *,
    row: Annotated[int, Range(0, 255)] = 0,
    cells: Annotated[int, Range(1, 4096)] = 256,
) -> WordMaps:
    """Show where each word of a prompt looked while its picture was made, averaged over the steps.

    A heat map becomes a mask with Heatmap to mask.

    Args:
        attention: What a sampler kept.
        clip: The text encoder of the model.
        text: The prompt of that picture.
        words: Which words or phrases, commas between them; empty takes all.
        picture: The picture to lay them over.
        row: Which picture of the batch; of a pair the originals come first.
        cells: The finest grid that is shown has at most so many cells.
    """
    found = _words(ctx, clip, text)
    named = [w.strip() for w in words.split(",") if w.strip()] or [w for w, _ in found if w[:1].isalnum()]
    stacked = _looked(grid_of(attention, cells), row, [positions_of(found, word, field="words") for word in named])
    side = max(stacked.shape[1:])
    finest = max(max(map(int, size.split("x"))) for size in attention.maps)
    heat = Heatmap(stacked, attention.factor * round(finest / side))
    pictures = show_heatmap(heat, picture, 1.0 if picture is None else 0.6).pixels
    return WordMaps(heat, Image(torch.stack([labelled(p, w) for p, w in zip(pictures, named, strict=True)])))


@node(category="editing/attention", effect=True)
def show_attention(
    ctx: Context,
    attention: AttentionStore,
    clip: Clip,
    text: Annotated[str, Text()],
    picture: Image | None = None,
    *,
    row: Annotated[int, Range(0, 255)] = 0,
) -> Saved:
    """Look at where each word of a prompt was drawn: word by word, on every grid that was kept, over the picture.

    Args:
        attention: What a sampler kept.
        clip: The text encoder of the model.
        text: The prompt of that picture.
        picture: The picture to lay the maps over.
        row: Which picture of the batch; of a pair the originals come first.
    """
    words = [(word, places) for word, places in _words(ctx, clip, text) if word[:1].isalnum()]
    grids, strips = [], []
    for size, maps in sorted(attention.maps.items(), key=lambda each: each[1][0, 0].numel()):
        heat = _looked(maps, row, [places for _, places in words])
        peaks = heat.flatten(1).amax(1)
        grids.append({"size": size, "width": heat.shape[2], "height": heat.shape[1], "peaks": peaks.tolist()})
        strip = torch.cat(list(heat / peaks.clamp_min(1e-12)[:, None, None]), 1)  # (h, W w)
        strips.append(strip[..., None].expand(-1, -1, 3))
    if not strips:
        raise BadInput("No attention was kept: sample with an attention control.", field="attention")
    under = [] if picture is None else [picture.pixels[0]]
    files = write_pictures(ctx, [*under, *strips], "attention", temporary=True)
    said = {"words": [word for word, _ in words], "grids": grids, "picture": bool(under)}
    return Saved("attention", files, json.dumps(said))


def _words(ctx: Context, clip: Clip, text: str) -> tuple[prompts.Word, ...]:
    """Return the words and marks of a prompt."""
    with ctx.models.use(clip) as network:
        return prompts.tokenise(network, text).words


def _looked(maps: torch.Tensor, row: int, places: Sequence[tuple[int, ...]]) -> torch.Tensor:
    """Return where words at token `places` looked in one picture of the maps (B, T, h, w), (W, h, w)."""
    if row >= len(maps):
        raise BadInput(f"Attention of {len(maps)} pictures was kept; row {row} is none of them.", field="row")
    if not places:
        raise BadInput("The prompt has no words.", field="text")
    check_positions((p for each in places for p in each), maps.shape[1])
    return torch.stack([maps[row, list(each)].sum(0) for each in places])


def grid_of(attention: AttentionStore, cells: int) -> torch.Tensor:
    """Return the maps (B, T, h, w) of the finest grid of at most `cells` cells, or the coarsest there is."""
    if not attention.maps:
        raise BadInput("No attention was kept: sample with an attention control.", field="attention")
    ordered = sorted(attention.maps.values(), key=lambda m: m.shape[2] * m.shape[3])
    fitting = [m for m in ordered if m.shape[2] * m.shape[3] <= cells]
    return fitting[-1] if fitting else ordered[0]


def labelled(pixels: torch.Tensor, word: str) -> torch.Tensor:
    """Return a picture (H, W, 3) with a word on a black bar below it."""
    width = pixels.shape[1]
    bar = np.zeros((max(12, width // 6), width, 3), np.uint8)
    size = bar.shape[0] / 30
    place, white = (2, int(bar.shape[0] * 0.75)), (255, 255, 255)
    cv2.putText(bar, word, place, cv2.FONT_HERSHEY_SIMPLEX, size, white, 1, cv2.LINE_AA)
    return torch.cat([pixels, torch.from_numpy(bar).float() / 255])
