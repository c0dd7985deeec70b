"""Pictures from files and to files."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from engine import pictures
from engine.context import Context
from engine.node import File, Range, Text, node
from engine.pictures import Format, Picture
from engine.types import Image, Mask, Saved
from nodes.basics._pixels import ImageAndMask, luma, write_pictures


@node(category="image/files")
def load_image(ctx: Context, file: Annotated[str, File("input")]) -> ImageAndMask:
    """Load a picture (PNG, JPEG or WebP), turned upright.

    The mask is 1 where the picture is transparent, and 0 everywhere if it has no transparency.

    Args:
        file: A picture from the input folder; drop one here to upload it.
    """
    picture = _read(ctx, file)
    rgb = _batch(picture.rgb)  # (1, H, W, 3)
    alpha = torch.ones(rgb.shape[:3]) if picture.alpha is None else _batch(picture.alpha)
    return ImageAndMask(Image(rgb), Mask(1 - alpha))


@node(category="mask")
def load_mask(
    ctx: Context,
    file: Annotated[str, File("input")],
    channel: Literal["brightness", "red", "green", "blue", "alpha", "transparency"] = "brightness",
) -> Mask:
    """Load a mask from a picture file: 1 (white) is where to act.

    Args:
        file: A picture from the input folder; drop one here to upload it.
        channel: What becomes the mask; transparency is 1 where the picture is see-through.
    """
    picture = _read(ctx, file)
    rgb = _batch(picture.rgb)
    alpha = torch.ones(rgb.shape[:3]) if picture.alpha is None else _batch(picture.alpha)
    if channel in ("alpha", "transparency"):
        return Mask(alpha if channel == "alpha" else 1 - alpha)
    return Mask(luma(rgb) if channel == "brightness" else rgb[..., ("red", "green", "blue").index(channel)])


@node(category="image/files", effect=True)
def save_image(
    ctx: Context,
    image: Image,
    prefix: Annotated[str, Text(multiline=False, max_length=100)] = "sfumato",
    format: Format = "png",
    quality: Annotated[int, Range(1, 100)] = 92,
) -> Saved:
    """Save pictures in the output folder, each with the workflow that made it inside.

    Drop a saved picture on the editor to get its workflow back. A workflow above 1 MiB (in a JPEG: 64 kB) is left out.

    Args:
        image: The pictures; each of a batch becomes a file.
        prefix: Start of the file names; a number follows.
        format: PNG keeps every bit; WebP and JPEG are smaller.
        quality: Of WebP and JPEG; 100 makes WebP lossless.
    """
    return Saved("images", write_pictures(ctx, image.pixels, prefix, format, quality=quality))


@node(category="image/files", effect=True)
def preview_image(ctx: Context, image: Image) -> Saved:
    """Show pictures without keeping them.

    Args:
        image: The pictures to look at.
    """
    return Saved("images", write_pictures(ctx, image.pixels, "preview", temporary=True))


def _read(ctx: Context, file: str) -> Picture:
    return pictures.decode(ctx.files.find("input", file).read_bytes(), file)


def _batch(array: object) -> Tensor:
    return torch.as_tensor(array).contiguous()[None]
