"""Masks."""

from __future__ import annotations

from typing import Annotated, Literal

import torch

from engine.context import Context
from engine.node import File, Range
from engine.types import Image, Mask, Saved
from nodes.basics import image_files
from nodes.basics import mask as ours
from nodes.basics._pixels import ImageAndMask, gray_image, place
from nodes.comfyui._core import Border, Place, Side, core

Channel = Literal["red", "green", "blue", "alpha"]


@core("LoadImageMask", "mask", "Load Image (as Mask)")
def load_image_mask(
    ctx: Context, image: Annotated[str, File("input")], channel: Literal["alpha", "red", "green", "blue"] = "alpha"
) -> Mask:
    """Load a mask from one channel of a picture file; of alpha, 1 is where it is transparent.

    Args:
        image: A picture from the input folder.
        channel: The channel.
    """
    return image_files.load_mask(ctx, image, "transparency" if channel == "alpha" else channel)


@core("MaskToImage", "mask", "Convert Mask to Image")
def mask_to_image(mask: Mask) -> Image:
    """Show masks as pictures."""
    return ours.mask_to_image(mask)


@core("ImageToMask", "mask", "Convert Image to Mask")
def image_to_mask(image: Image, channel: Channel = "red") -> Mask:
    """Turn one channel of pictures into masks.

    Args:
        channel: The channel; without transparency, alpha is 1 everywhere.
    """
    if channel == "alpha":
        return Mask(_alpha(image))
    return ours.mask_from_channel(image, channel)


@core("ImageColorToMask", "mask")
def image_color_to_mask(image: Image, color: Annotated[int, Range(0, 0xFFFFFF)] = 0) -> Mask:
    """Select the pixels of exactly one colour.

    Args:
        color: Red, green and blue as one number, 0xRRGGBB.
    """
    wanted = torch.tensor([(color >> shift) & 255 for shift in (16, 8, 0)])
    return Mask(((image.pixels * 255).round() == wanted).all(-1).float())


@core("SolidMask", "mask")
def solid_mask(value: Annotated[float, Range(0, 1)] = 1.0, width: Side = 512, height: Side = 512) -> Mask:
    """Make a mask of one value."""
    return ours.solid_mask(value, width, height)


@core("InvertMask", "mask")
def invert_mask(mask: Mask) -> Mask:
    """Swap what is edited and what is kept."""
    return ours.invert_mask(mask)


@core("CropMask", "mask")
def crop_mask(mask: Mask, x: Border = 0, y: Border = 0, width: Side = 512, height: Side = 512) -> Mask:
    """Cut a rectangle out of masks."""
    return ours.crop_mask(mask, x, y, width, height)


@core("MaskComposite", "mask")
def mask_composite(
    destination: Mask, source: Mask, x: Border = 0, y: Border = 0,
    operation: Literal["multiply", "add", "subtract", "and", "or", "xor"] = "multiply",
) -> Mask:  # fmt: skip
    """Combine a mask with another at a place.

    Args:
        operation: How they combine; and, or, xor read masks rounded to 0 and 1.
    """
    out = destination.values.clone()
    into, patch = place(out, source.values, x, y)
    whole_into, whole_patch = into.round().bool(), patch.round().bool()
    result = {
        "multiply": into * patch, "add": into + patch, "subtract": into - patch, "and": whole_into & whole_patch,
        "or": whole_into | whole_patch, "xor": whole_into ^ whole_patch,
    }[operation]  # fmt: skip
    into.copy_(result)
    return Mask(out.clamp(0, 1))


@core("FeatherMask", "mask")
def feather_mask(mask: Mask, left: Border = 0, top: Border = 0, right: Border = 0, bottom: Border = 0) -> Mask:
    """Let masks fade out towards the borders: the k-th pixel from one keeps k / n of its value."""
    values = mask.values.clone()
    _, height, width = values.shape
    for axis, length, first, last in ((2, width, left, right), (1, height, top, bottom)):
        shape = [1, 1, 1]
        shape[axis] = length
        values = values * (_ramp(length, first) * _ramp(length, last).flip(0)).reshape(shape)
    return Mask(values)


@core("GrowMask", "mask")
def grow_mask(mask: Mask, expand: Place = 0, tapered_corners: bool = True) -> Mask:
    """Grow masks, or shrink them by a negative number of pixels.

    Args:
        expand: How many pixels.
        tapered_corners: Whether corners are cut off, as by a diamond; else they grow as a square does.
    """
    return ours.grow_mask(mask, expand, "diamond" if tapered_corners else "square")


@core("ThresholdMask", "mask")
def threshold_mask(mask: Mask, value: Annotated[float, Range(0, 1)] = 0.5) -> Mask:
    """Make masks hard: 1 above the value, else 0."""
    return Mask((mask.values > value).float())


@core("MaskPreview", "mask", effect=True)
def mask_preview(ctx: Context, mask: Mask) -> Saved:
    """Show masks without keeping them."""
    return image_files.preview_image(ctx, gray_image(mask.values))


@core("SplitImageWithAlpha", "mask/compositing")
def split_image_with_alpha(image: Image) -> ImageAndMask:
    """Take colour and transparency apart; the mask is 1 where pictures are see-through."""
    return ImageAndMask(Image(image.pixels[..., :3]), Mask(1 - _alpha(image)))


def _alpha(image: Image) -> torch.Tensor:
    """Return how opaque pictures are, (B, H, W)."""
    pixels = image.pixels
    return pixels[..., 3].clone() if pixels.shape[-1] == 4 else torch.ones(pixels.shape[:3])


def _ramp(length: int, count: int) -> torch.Tensor:
    """Return (length,): (k + 1) / count for the first `count` places k, then 1."""
    return ((torch.arange(length) + 1) / max(1, min(count, length))).clamp(max=1)
