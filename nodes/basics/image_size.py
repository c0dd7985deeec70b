"""Size, frame and orientation of pictures."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

import cv2
import torch

from engine.node import Range, node
from engine.types import Image, Mask
from nodes.basics._pixels import (
    Border,
    Color,
    Filter,
    ImageAndMask,
    Offset,
    Size,
    border_ramp,
    check_room,
    filled,
    parse_color,
    per_picture,
    place,
    resample,
)


class ImageSize(NamedTuple):
    """How large a batch of pictures is."""

    width: int
    height: int
    pictures: int


@node(category="image/size")
def resize_image(
    image: Image,
    width: Size = 512,
    height: Size = 512,
    mode: Literal["stretch", "fit", "fill", "pad"] = "fill",
    filter: Filter = "lanczos",
    color: Color = "#000000",
) -> Image:
    """Resize pictures to a width and height.

    Args:
        image: The pictures to resize.
        width: New width in pixels.
        height: New height in pixels.
        mode: Stretch ignores the shape; fit keeps it inside the size; fill keeps it and crops what sticks out; pad
            keeps it and fills the rest with the colour.
        filter: Lanczos is sharpest; area is smoothest; nearest keeps pixels.
        color: Colour around a padded picture.
    """
    b, h, w, _ = image.pixels.shape
    if mode == "stretch":
        return Image(resample(image.pixels, width, height, filter))
    ratio = (max if mode == "fill" else min)(width / w, height / h)
    scaled = resample(image.pixels, max(1, round(w * ratio)), max(1, round(h * ratio)), filter)
    if mode == "fit":
        return Image(scaled)
    canvas = filled(b, height, width, color)
    there, here = place(canvas, scaled, (width - scaled.shape[2]) // 2, (height - scaled.shape[1]) // 2)
    there.copy_(here)
    return Image(canvas)


@node(category="image/size")
def scale_image(
    image: Image, factor: Annotated[float, Range(0.01, 16, 0.05)] = 2.0, filter: Filter = "lanczos"
) -> Image:
    """Make pictures larger or smaller by a factor.

    Args:
        image: The pictures to scale.
        factor: 2 doubles width and height.
        filter: Lanczos is sharpest; area is smoothest; nearest keeps pixels.
    """
    h, w = image.pixels.shape[1:3]
    return Image(resample(image.pixels, max(1, round(w * factor)), max(1, round(h * factor)), filter))


@node(category="image/size")
def crop_image(image: Image, x: Border = 0, y: Border = 0, width: Size = 512, height: Size = 512) -> Image:
    """Cut a rectangle out of pictures; what would lie outside is left away.

    Args:
        image: The pictures to crop.
        x: Left edge in pixels.
        y: Upper edge in pixels.
        width: Width of the rectangle.
        height: Height of the rectangle.
    """
    h, w = image.pixels.shape[1:3]
    x, y = min(x, w - 1), min(y, h - 1)
    return Image(image.pixels[:, y : y + height, x : x + width].clone())


@node(category="image/size")
def pad_image(
    image: Image,
    left: Border = 0,
    top: Border = 0,
    right: Border = 0,
    bottom: Border = 0,
    *,
    fill: Literal["color", "edge", "mirror"] = "color",
    color: Color = "#000000",
) -> Image:
    """Add a border around pictures.

    Args:
        image: The pictures to pad.
        left: Pixels to add on the left.
        top: Pixels to add above.
        right: Pixels to add on the right.
        bottom: Pixels to add below.
        fill: One colour, the edge pixels drawn out, or a mirror image.
        color: The colour.
    """
    b, h, w, _ = image.pixels.shape
    check_room(b, h + top + bottom, w + left + right)
    kind = {"color": cv2.BORDER_CONSTANT, "edge": cv2.BORDER_REPLICATE, "mirror": cv2.BORDER_REFLECT}[fill]
    value = parse_color(color)
    padded = per_picture(image.pixels, lambda p: cv2.copyMakeBorder(p, top, bottom, left, right, kind, value=value))
    return Image(padded)


@node(category="image/size")
def pad_for_outpaint(
    image: Image,
    left: Border = 0,
    top: Border = 0,
    right: Border = 64,
    bottom: Border = 0,
    feather: Border = 16,
) -> ImageAndMask:
    """Add room around pictures for a model to fill, with the mask of the new part.

    The new part starts from the edge pixels drawn out. The mask is 1 there and falls to 0 over `feather` pixels
    inside the old picture.

    Args:
        image: The pictures to extend.
        left: Pixels to add on the left.
        top: Pixels to add above.
        right: Pixels to add on the right.
        bottom: Pixels to add below.
        feather: Width of the soft seam, in pixels of the old picture.
    """
    h, w = image.pixels.shape[1:3]
    padded = pad_image(image, left, top, right, bottom, fill="edge")
    mask = torch.ones(padded.pixels.shape[:3])
    mask[:, top : top + h, left : left + w] = 1 - border_ramp(
        h, w, *(feather * bool(side) for side in (left, top, right, bottom))
    )
    return ImageAndMask(padded, Mask(mask))


@node(category="image/size")
def rotate_image(
    image: Image,
    degrees: Annotated[float, Range(-360, 360, 1)] = 90.0,
    expand: bool = True,
    color: Color = "#000000",
) -> Image:
    """Turn pictures counter-clockwise; quarter turns keep every pixel.

    Args:
        image: The pictures to turn.
        degrees: Angle; negative turns clockwise.
        expand: Enlarge the frame so that nothing is cut off.
        color: Colour of the new corners.
    """
    h, w = image.pixels.shape[1:3]
    if degrees % 90 == 0 and (expand or degrees % 180 == 0 or h == w):
        return Image(torch.rot90(image.pixels, int(degrees // 90) % 4, (1, 2)).contiguous())
    matrix = cv2.getRotationMatrix2D(((w - 1) / 2, (h - 1) / 2), degrees, 1)
    new_w, new_h = w, h
    if expand:
        cos, sin = abs(matrix[0, 0]), abs(matrix[0, 1])
        new_w, new_h = round(w * cos + h * sin), round(w * sin + h * cos)
        matrix[:, 2] += (new_w - w) / 2, (new_h - h) / 2
    check_room(len(image.pixels), new_h, new_w)
    value = parse_color(color)
    turned = per_picture(
        image.pixels,
        lambda p: cv2.warpAffine(p, matrix, (new_w, new_h), flags=cv2.INTER_CUBIC, borderValue=value),
    )
    return Image(turned.clamp(0, 1))


@node(category="image/size")
def flip_image(image: Image, direction: Literal["horizontal", "vertical", "both"] = "horizontal") -> Image:
    """Mirror pictures.

    Args:
        image: The pictures to mirror.
        direction: Horizontal swaps left and right.
    """
    return Image(image.pixels.flip({"horizontal": (2,), "vertical": (1,), "both": (1, 2)}[direction]))


@node(category="image/size")
def shift_image(image: Image, x: Offset = 0, y: Offset = 0) -> Image:
    """Move pictures sideways and up or down; what leaves on one side comes back on the other (for tiling).

    Args:
        image: The pictures to move.
        x: Pixels to the right.
        y: Pixels down.
    """
    return Image(image.pixels.roll((y, x), (1, 2)))


@node(category="image/size")
def image_size(image: Image) -> ImageSize:
    """Tell width, height and number of pictures.

    Args:
        image: The pictures to measure.
    """
    b, h, w, _ = image.pixels.shape
    return ImageSize(w, h, b)
