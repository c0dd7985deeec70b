"""Work on a part of a picture at full size: crop around a mask, then paste the result back."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import torch

from engine.errors import BadInput
from engine.node import Range, node
from engine.types import Image, Mask
from nodes.basics._pixels import Border, Fraction, match, match_batches, resample, size_of


class Region(NamedTuple):
    """A part of a picture, its mask, and where it was."""

    image: Image
    mask: Mask
    box: dict[str, Any]


@node(category="mask/region")
def crop_to_mask(
    image: Image,
    mask: Mask,
    margin: Border = 32,
    multiple: Annotated[int, Range(1, 256)] = 8,
    threshold: Fraction = 0.01,
) -> Region:
    """Cut out the part of pictures around their mask, for editing it at full resolution.

    All masks of a batch share one box. Resize the part if a model wants another size; `paste_back` undoes that.

    Args:
        image: The pictures.
        mask: Where the part is, in the pictures' size.
        margin: Room around the mask in pixels.
        multiple: Width and height of the part become multiples of this where the picture is large enough.
        threshold: Mask values below it do not count.
    """
    pixels, values = match(image.pixels, mask.values, "Image and mask")
    rows, columns = (values >= threshold).any(0).nonzero(as_tuple=True)
    if not len(rows):
        raise BadInput(f"The mask is empty (nothing reaches {threshold:g}): there is nothing to cut out.", field="mask")
    h, w = values.shape[1:]
    x, width = _span(int(columns.min()) - margin, int(columns.max()) + 1 + margin, w, multiple)
    y, height = _span(int(rows.min()) - margin, int(rows.max()) + 1 + margin, h, multiple)
    part = slice(y, y + height), slice(x, x + width)
    box = {"x": x, "y": y, "width": width, "height": height}
    return Region(Image(pixels[:, *part].clone()), Mask(values[:, *part].clone()), box)


@node(category="mask/region")
def paste_back(original: Image, part: Image, box: dict[str, Any], mask: Mask | None = None) -> Image:
    """Put an edited part back where `crop_to_mask` took it from.

    Args:
        original: The whole pictures.
        part: The edited part, in any size.
        box: Where it belongs, from `crop_to_mask`.
        mask: Where the part shows, in any size; everywhere in the box if not given.
    """
    canvas, patch = match_batches(original.pixels, part.pixels, "Original and part")
    x, y, width, height = (_whole(box, key) for key in ("x", "y", "width", "height"))
    if x + width > canvas.shape[2] or y + height > canvas.shape[1] or not (width and height):
        raise BadInput(f"The box {box} lies outside the original, which is {size_of(canvas)}.", field="box")
    alpha = torch.ones(1, height, width) if mask is None else resample(mask.values, width, height, "bilinear")
    patch, alpha = match(resample(patch, width, height), alpha, "Part and mask")
    canvas, patch = match_batches(canvas, patch, "Original and part")
    result = canvas.clone()
    result[:, y : y + height, x : x + width].lerp_(patch, alpha[..., None])
    return Image(result)


def _span(start: int, end: int, limit: int, multiple: int) -> tuple[int, int]:
    """Return start and length of a span inside 0..limit, its length rounded up to a multiple."""
    start, end = max(start, 0), min(end, limit)
    length = min(-(-(end - start) // multiple) * multiple, limit)
    return max(0, min(start - (length - (end - start)) // 2, limit - length)), length


def _whole(box: dict[str, Any], key: str) -> int:
    value = box.get(key) if isinstance(box, dict) else None
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise BadInput(f"The box needs a whole number {key!r}, as crop_to_mask gives it; got {box!r:.80}.", field="box")
    return value
