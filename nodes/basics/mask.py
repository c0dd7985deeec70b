"""Masks: where to act (1) and what to keep (0)."""

from __future__ import annotations

from typing import Annotated, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.node import Range, Widget, node
from engine.types import Image, Mask
from nodes.basics._pixels import (
    Border,
    Color,
    Count,
    Filter,
    Fraction,
    Size,
    border_ramp,
    check_room,
    gray_image,
    luma,
    match,
    parse_color,
    per_picture,
    resample,
)


@node(category="mask")
def solid_mask(value: Fraction = 1.0, width: Size = 512, height: Size = 512, count: Count = 1) -> Mask:
    """Make a mask of one value.

    Args:
        value: 1 acts everywhere, 0 nowhere.
        width: Width in pixels.
        height: Height in pixels.
        count: How many masks.
    """
    check_room(count, height, width)
    return Mask(torch.full((count, height, width), value))


@node(category="mask")
def mask_from_channel(
    image: Image, channel: Literal["brightness", "red", "green", "blue", "saturation"] = "brightness"
) -> Mask:
    """Turn one channel of pictures into masks.

    Args:
        image: The pictures.
        channel: What becomes the mask.
    """
    if channel == "brightness":
        return Mask(luma(image.pixels))
    if channel == "saturation":
        return Mask(per_picture(image.pixels, lambda p: cv2.cvtColor(p, cv2.COLOR_RGB2HSV)[..., 1]))
    return Mask(image.pixels[..., ("red", "green", "blue").index(channel)].clone())


@node(category="mask")
def mask_from_color(
    image: Image, color: Color = "#ff0000", tolerance: Fraction = 0.1, softness: Fraction = 0.0
) -> Mask:
    """Select the pixels of one colour.

    Args:
        image: The pictures.
        color: The colour to select.
        tolerance: How far red, green or blue may differ from it.
        softness: Over how much more the mask falls to 0.
    """
    far = (image.pixels - torch.tensor(parse_color(color))).abs().amax(-1) - tolerance - 1e-6
    return Mask((1 - far / softness).clamp(0, 1) if softness else (far <= 0).float())


@node(category="mask")
def mask_to_image(mask: Mask) -> Image:
    """Show masks as pictures, white where they act.

    Args:
        mask: The masks.
    """
    return gray_image(mask.values)


@node(category="mask")
def threshold_mask(mask: Mask, threshold: Annotated[float, Range(0, 1, 0.01), Widget("mask_threshold")] = 0.5) -> Mask:
    """Make masks hard: 1 where they reach the threshold, else 0.

    Args:
        mask: The masks.
        threshold: Least value that counts.
    """
    return Mask((mask.values >= threshold).float())


@node(category="mask")
def invert_mask(mask: Mask) -> Mask:
    """Swap what is edited and what is kept.

    Args:
        mask: The masks.
    """
    return Mask(1 - mask.values)


@node(category="mask")
def grow_mask(
    mask: Mask,
    pixels: Annotated[int, Range(-512, 512)] = 8,
    shape: Literal["round", "square", "diamond"] = "round",
) -> Mask:
    """Grow masks, or shrink them by a negative number of pixels.

    Args:
        mask: The masks.
        pixels: How far the edge moves outward; negative moves it inward.
        shape: Form of the brush that moves along the edge.
    """
    if pixels == 0:
        return mask
    brush = _brush(min(abs(pixels), sum(mask.values.shape[-2:])), shape)  # what reaches further reaches no more
    morph = cv2.dilate if pixels > 0 else cv2.erode
    return Mask(per_picture(mask.values, lambda m: morph(m, brush)))


@node(category="mask")
def feather_mask(
    mask: Mask,
    pixels: Annotated[float, Range(0, 512, 1)] = 8.0,
    side: Literal["both", "inside", "outside"] = "both",
) -> Mask:
    """Make the edges of masks soft.

    Args:
        mask: The masks.
        pixels: Width of the soft edge.
        side: Where the soft edge lies; inside never acts beyond the old mask, outside always acts fully within it.
    """
    if not pixels:
        return mask
    soft = per_picture(mask.values, lambda m: cv2.GaussianBlur(m, (0, 0), pixels / 2, borderType=cv2.BORDER_REPLICATE))
    if side == "inside":
        soft = (2 * soft - 1).clamp(0, 1).minimum(mask.values)
    if side == "outside":
        soft = (2 * soft).clamp(0, 1).maximum(mask.values)
    return Mask(soft.clamp(0, 1))


@node(category="mask")
def feather_border(mask: Mask, left: Border = 0, top: Border = 0, right: Border = 0, bottom: Border = 0) -> Mask:
    """Let masks fade out towards the borders of the picture.

    Args:
        mask: The masks.
        left: Width of the fade at the left border, in pixels.
        top: Width of the fade at the upper border.
        right: Width of the fade at the right border.
        bottom: Width of the fade at the lower border.
    """
    h, w = mask.values.shape[1:]
    return Mask(mask.values * border_ramp(h, w, left, top, right, bottom))


@node(category="mask")
def combine_masks(
    a: Mask,
    b: Mask,
    operation: Literal["add", "subtract", "multiply", "and", "or", "xor", "difference"] = "add",
) -> Mask:
    """Combine two masks pixel by pixel; and, or, xor read 0.5 and more as 1.

    Args:
        a: First mask.
        b: Second mask, of the same size.
        operation: Add joins them, subtract takes b away from a, multiply keeps what both have.
    """
    x, y = match(a.values, b.values, "The two masks")
    hard = (x >= 0.5) & (y >= 0.5), (x >= 0.5) | (y >= 0.5), (x >= 0.5) ^ (y >= 0.5)
    if operation in ("and", "or", "xor"):
        return Mask(hard[("and", "or", "xor").index(operation)].float())
    soft = {"add": x + y, "subtract": x - y, "multiply": x * y, "difference": (x - y).abs()}
    return Mask(soft[operation].clamp(0, 1))


@node(category="mask")
def crop_mask(mask: Mask, x: Border = 0, y: Border = 0, width: Size = 512, height: Size = 512) -> Mask:
    """Cut a rectangle out of masks; what would lie outside is left away.

    Args:
        mask: The masks.
        x: Left edge in pixels.
        y: Upper edge in pixels.
        width: Width of the rectangle.
        height: Height of the rectangle.
    """
    h, w = mask.values.shape[1:]
    x, y = min(x, w - 1), min(y, h - 1)
    return Mask(mask.values[:, y : y + height, x : x + width].clone())


@node(category="mask")
def resize_mask(mask: Mask, width: Size = 512, height: Size = 512, filter: Filter = "bilinear") -> Mask:
    """Stretch masks to a width and height.

    Args:
        mask: The masks.
        width: New width in pixels.
        height: New height in pixels.
        filter: Nearest keeps hard edges hard.
    """
    return Mask(resample(mask.values, width, height, filter))


@node(category="mask/shapes")
def rectangle_mask(
    width: Size = 512,
    height: Size = 512,
    x: Fraction = 0.25,
    y: Fraction = 0.25,
    w: Fraction = 0.5,
    h: Fraction = 0.5,
) -> Mask:
    """Draw a rectangle.

    Args:
        width: Width of the mask in pixels.
        height: Height of the mask in pixels.
        x: Left edge as a fraction of the width.
        y: Upper edge as a fraction of the height.
        w: Width of the rectangle as a fraction.
        h: Height of the rectangle as a fraction.
    """
    check_room(1, height, width)
    mask = torch.zeros(1, height, width)
    mask[:, round(y * height) : round((y + h) * height), round(x * width) : round((x + w) * width)] = 1
    return Mask(mask)


@node(category="mask/shapes")
def ellipse_mask(
    width: Size = 512,
    height: Size = 512,
    x: Fraction = 0.5,
    y: Fraction = 0.5,
    w: Fraction = 0.5,
    h: Fraction = 0.5,
) -> Mask:
    """Draw an ellipse.

    Args:
        width: Width of the mask in pixels.
        height: Height of the mask in pixels.
        x: Centre as a fraction of the width.
        y: Centre as a fraction of the height.
        w: Width of the ellipse as a fraction.
        h: Height of the ellipse as a fraction.
    """
    rows, columns = _grid(width, height)
    distance = ((columns - x) / max(w / 2, 1e-9)) ** 2 + ((rows - y) / max(h / 2, 1e-9)) ** 2
    return Mask((distance <= 1).float()[None])


@node(category="mask/shapes")
def gradient_mask(
    width: Size = 512,
    height: Size = 512,
    kind: Literal["right", "down", "left", "up", "centre", "edge"] = "right",
) -> Mask:
    """Draw a gradient from 0 to 1.

    Args:
        width: Width of the mask in pixels.
        height: Height of the mask in pixels.
        kind: Where it reaches 1.
    """
    rows, columns = _grid(width, height)
    radius = (((columns - 0.5) ** 2 + (rows - 0.5) ** 2).sqrt() * 2).clamp(max=1)
    values = {
        "right": columns + 0 * rows, "left": 1 - columns + 0 * rows, "down": rows + 0 * columns,
        "up": 1 - rows + 0 * columns, "centre": 1 - radius, "edge": radius,
    }  # fmt: skip
    return Mask(values[kind][None])


def _grid(width: int, height: int) -> tuple[Tensor, Tensor]:
    """Return pixel centres as fractions: rows (height, 1), columns (1, width)."""
    check_room(1, height, width)
    return ((torch.arange(height) + 0.5) / height)[:, None], ((torch.arange(width) + 0.5) / width)[None]


def _brush(radius: int, shape: str) -> NDArray[np.uint8]:
    across, down = np.abs(np.mgrid[-radius : radius + 1, -radius : radius + 1])
    inside = {
        "square": across + down >= 0, "diamond": across + down <= radius,
        "round": across**2 + down**2 <= (radius + 0.5) ** 2,
    }  # fmt: skip
    return np.asarray(inside[shape], np.uint8)
