"""Many pictures: batches, lists, contact sheets, comparisons."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
import torch
from PIL import Image as Pil
from PIL import ImageDraw, ImageFont
from torch import Tensor

from engine.context import Context
from engine.errors import BadInput
from engine.node import Range, node
from engine.pictures import to_uint8
from engine.types import Image, Saved
from nodes.basics._pixels import Color, Count, check_room, filled, luma, match_batches, size_of, write_pictures

Columns = Annotated[int, Range(0, 64)]
Index = Annotated[int, Range(0, 10_000)]


@node(category="image/compose", effect=True)
def compare_images(ctx: Context, before: Image, after: Image) -> Saved:
    """Look at pairs of pictures with a slider, side by side or as their difference.

    Args:
        before: Pictures on the left.
        after: Pictures on the right.
    """
    pairs = zip(*match_batches(before.pixels, after.pixels, "Before and after"), strict=True)
    return Saved("compare", write_pictures(ctx, (p for pair in pairs for p in pair), "compare", temporary=True))


@node(category="image/batch")
def batch_images(images: list[Image], more: list[Image] | None = None) -> Image:
    """Make one batch of pictures that have the same size.

    Args:
        images: Pictures or batches.
        more: Further pictures to put behind them.
    """
    every = [i.pixels for i in (*images, *(more or []))]
    if not every:
        raise BadInput("There are no pictures to batch; connect at least one.", field="images")
    for pixels in every:
        if pixels.shape[1:] != every[0].shape[1:]:
            raise BadInput(f"A batch needs one size, got {size_of(every[0])} and {size_of(pixels)}; resize them first.")
    return Image(torch.cat(every))


@node(category="image/batch")
def unbatch_images(image: Image) -> list[Image]:
    """Take a batch apart into a list of pictures; what follows runs once for each.

    Args:
        image: The batch.
    """
    return [Image(p[None].clone()) for p in image.pixels]


@node(category="image/batch")
def select_images(image: Image, start: Index = 0, count: Count = 1) -> Image:
    """Take some pictures out of a batch.

    Args:
        image: The batch.
        start: Number of the first one, counted from 0.
        count: How many; fewer if the batch ends before.
    """
    if start >= len(image.pixels):
        raise BadInput(f"start is {start}, but the batch holds {len(image.pixels)} pictures.", field="start")
    return Image(image.pixels[start : start + count].clone())


@node(category="image/batch")
def repeat_image(image: Image, count: Count = 2) -> Image:
    """Repeat a batch of pictures.

    Args:
        image: The pictures.
        count: How often.
    """
    check_room(count * len(image.pixels), *image.pixels.shape[1:3])
    return Image(image.pixels.repeat(count, 1, 1, 1))


@node(category="image/compose")
def contact_sheet(
    images: list[Image],
    labels: list[str] | None = None,
    columns: Columns = 0,
    gap: Annotated[int, Range(0, 256)] = 8,
    color: Color = "#16181c",
    text_size: Annotated[int, Range(6, 200)] = 12,
) -> Image:
    """Lay pictures out in a grid, each with its label below it.

    Args:
        images: Pictures or batches, in reading order; smaller ones are centred in their cells.
        labels: One text per picture, or one per batch; none leaves the labels away.
        columns: Pictures per row; 0 makes the sheet about square.
        gap: Space between pictures in pixels.
        color: Background; labels are black or white, whichever reads better on it.
        text_size: Height of the labels in pixels.
    """
    cells = [p for i in images for p in i.pixels]  # each (H, W, 3)
    if not cells:
        raise BadInput("There are no pictures to lay out; connect at least one.", field="images")
    texts = _per_picture(labels or [], images)
    height, width = max(c.shape[0] for c in cells), max(c.shape[1] for c in cells)
    columns = min(columns or math.ceil(math.sqrt(len(cells))), len(cells))
    below = 2 * text_size if texts else 0
    down, across = height + below + gap, width + gap
    sheet = filled(1, math.ceil(len(cells) / columns) * down + gap, columns * across + gap, color)
    for i, cell in enumerate(cells):
        x, y = gap + i % columns * across, gap + i // columns * down
        left, top = x + (width - cell.shape[1]) // 2, y + (height - cell.shape[0]) // 2
        sheet[0, top : top + cell.shape[0], left : left + cell.shape[1]] = cell
        if texts:
            box = sheet[0, y + height : y + height + below, x : x + width]
            box.copy_(_label(texts[i], box, text_size))
    return Image(sheet)


def _per_picture(labels: list[str], images: list[Image]) -> list[str]:
    """Return one label for each picture of the batches."""
    if len(labels) == len(images):
        return [label for label, i in zip(labels, images, strict=True) for _ in i.pixels]
    count = sum(len(i.pixels) for i in images)
    if labels and len(labels) != count:
        raise BadInput(f"There are {len(labels)} labels for {count} pictures; give one each.", field="labels")
    return labels


def _label(text: str, box: Tensor, size: int) -> Tensor:
    """Return `box` (h, w, 3) with `text` written in its middle, shortened to fit."""
    image = Pil.fromarray(to_uint8(box.numpy()))
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size)
    text = " ".join(text.split())[:200]
    while len(text) > 1 and draw.textlength(text, font=font) > image.width:
        text = text.rstrip("…")[:-1] + "…"
    ink = (0, 0, 0) if luma(box[0, 0]) > 0.5 else (255, 255, 255)
    draw.text((image.width / 2, image.height / 2), text, fill=ink, font=font, anchor="mm")
    return torch.from_numpy(np.asarray(image, np.float32) / 255)
