"""Boxes: where things are or shall be, drawn by hand or found from masks."""

from __future__ import annotations

from typing import Annotated, Any

import torch

from engine.errors import BadInput
from engine.node import Range, Text, Widget, node
from engine.types import Boxes, Image, Mask
from nodes.basics._pixels import SIZE_MAX, Color, Fraction, parse_color

BOXES_MAX = 1000
SIDES = ("x", "y", "width", "height")
Side = Annotated[int, Range(1, SIZE_MAX)]


@node(category="mask/region")
def draw_boxes(regions: Annotated[dict[str, Any], Widget("regions")]) -> Boxes:
    """Draw boxes, each with a text.

    In a workflow file a box has a text and x, y, width and height in 0..1 of the picture; the lowest comes first.

    Args:
        regions: Where they are, and what each one holds.
    """
    listed: Any = regions
    if not isinstance(listed, list) or len(listed) > BOXES_MAX:
        raise BadInput(f"Give a list of at most {BOXES_MAX} boxes.", field="regions")
    return Boxes(tuple(_box(plain) for plain in listed), tuple(str(plain.get("text", "")) for plain in listed))


@node(category="mask/region")
def boxes_of_masks(mask: Mask, threshold: Fraction = 0.5, texts: Annotated[str, Text()] = "") -> Boxes:
    """Find the smallest box around each mask.

    Args:
        mask: The masks; empty ones have no box.
        threshold: Mask values below it do not count.
        texts: What each mask shows, one a line.
    """
    names = texts.splitlines()
    found = []
    for k, values in enumerate(mask.values):
        rows, columns = (values >= threshold).nonzero(as_tuple=True)
        if len(rows):
            (h, w), (top, left) = values.shape, (int(rows.min()), int(columns.min()))
            size = (int(columns.max()) + 1 - left) / w, (int(rows.max()) + 1 - top) / h
            found.append(((left / w, top / h, *size), names[k] if k < len(names) else ""))
    return Boxes(tuple(box for box, _ in found), tuple(text for _, text in found))


@node(category="mask/region")
def masks_of_boxes(boxes: Boxes, width: Side = 512, height: Side = 512) -> Mask:
    """Turn boxes into masks, one each.

    Args:
        boxes: The boxes.
        width: Width of the masks in pixels.
        height: Height of the masks in pixels.
    """
    if not boxes.boxes:
        raise BadInput("There are no boxes to make masks of.", field="boxes")
    masks = torch.zeros(len(boxes.boxes), height, width)
    for mask, (x, y, across, down) in zip(masks, boxes.boxes, strict=True):
        mask[round(y * height) : round((y + down) * height), round(x * width) : round((x + across) * width)] = 1
    return Mask(masks)


@node(category="mask/region")
def show_boxes(
    image: Image, boxes: Boxes, color: Color = "#ff4040", thickness: Annotated[int, Range(1, 100)] = 2
) -> Image:
    """Draw the outlines of boxes on pictures.

    Args:
        image: The pictures.
        boxes: The boxes.
        color: Colour of the lines.
        thickness: Their thickness in pixels, inwards.
    """
    pixels, ink = image.pixels.clone(), torch.tensor(parse_color(color))
    if boxes.boxes:
        for mask in masks_of_boxes(boxes, pixels.shape[2], pixels.shape[1]).values:
            inner = -torch.nn.functional.max_pool2d(-mask[None], 2 * thickness + 1, 1, thickness)[0]
            inner[:thickness] = inner[-thickness:] = 0
            inner[:, :thickness] = inner[:, -thickness:] = 0
            pixels[:, (mask - inner) > 0] = ink
    return Image(pixels)


def plain_boxes(boxes: Boxes) -> list[dict[str, Any]]:
    """Return boxes as the region editor writes them."""
    return [{"text": t, **dict(zip(SIDES, box, strict=True))} for box, t in zip(boxes.boxes, boxes.texts, strict=True)]


def _box(plain: Any) -> tuple[float, float, float, float]:
    sides: list[Any] = [plain.get(key) for key in SIDES] if isinstance(plain, dict) else [None]
    if not all(type(v) in (int, float) and 0 <= v <= 1 for v in sides):
        raise BadInput("A box needs x, y, width and height in 0..1.", field="regions")
    x, y, width, height = map(float, sides)
    return x, y, width, height
