"""Pictures: from files and to files, sizes, batches."""

from __future__ import annotations

import math
from typing import Annotated, Literal, NamedTuple

import torch

from engine.context import Context
from engine.errors import BadInput
from engine.node import File, Range
from engine.types import Image, Mask, Saved
from nodes.basics import image_batch, image_color, image_files, image_size
from nodes.basics._pixels import ImageAndMask, filled, place
from nodes.comfyui._core import Batch, Border, Crop, Line, Scaling, Side, core
from nodes.comfyui._resize import pasted, scaled

Turn = Literal["none", "90 degrees", "180 degrees", "270 degrees"]
Mirror = Literal["x-axis: vertically", "y-axis: horizontally"]
NO_MASK = 64  # side of the empty mask of a picture without transparency


class Sizes(NamedTuple):
    """Size of a batch of pictures."""

    width: int
    height: int
    batch_size: int


@core("LoadImage", "image", "Load Image")
def load_image(ctx: Context, image: Annotated[str, File("input")]) -> ImageAndMask:
    """Load a picture; the mask is 1 where it is transparent.

    Args:
        image: A picture from the input folder.
    """
    loaded = image_files.load_image(ctx, image)
    if bool(loaded.mask.values.any()):
        return loaded
    return ImageAndMask(loaded.image, Mask(torch.zeros(1, NO_MASK, NO_MASK)))


@core("SaveImage", "image", "Save Image", effect=True)
def save_image(ctx: Context, images: Image, filename_prefix: Line = "ComfyUI") -> Saved:
    """Save pictures in the output folder, each with the workflow that made it."""
    return image_files.save_image(ctx, images, _prefix(filename_prefix, images))


@core("PreviewImage", "image", "Preview Image", effect=True)
def preview_image(ctx: Context, images: Image) -> Saved:
    """Show pictures without keeping them."""
    return image_files.preview_image(ctx, images)


@core("ImageInvert", "image", "Invert Image")
def image_invert(image: Image) -> Image:
    """Turn pictures into their negative."""
    return image_color.invert_image(image)


@core("ImageBatch", "image", "Batch Images")
def image_batch_node(image1: Image, image2: Image) -> Image:
    """Make one batch of pictures; the second are resized to the first."""
    height, width = image1.pixels.shape[1:3]
    second = image2.pixels
    if second.shape[1:3] != (height, width):
        second = scaled(second, width, height, "bilinear", crop="center")
    return Image(torch.cat([image1.pixels, second]))


@core("ImagePadForOutpaint", "image", "Pad Image for Outpainting")
def image_pad_for_outpaint(
    image: Image, left: Border = 0, top: Border = 0, right: Border = 0, bottom: Border = 0, feathering: Border = 40
) -> ImageAndMask:
    """Add grey room around pictures for a model to fill, with the mask of the new part.

    Args:
        feathering: Pixels over which the mask fades into the picture.
    """
    batch, height, width, _ = image.pixels.shape
    canvas = torch.full((batch, height + top + bottom, width + left + right, 3), 0.5)
    canvas[:, top : top + height, left : left + width] = image.pixels
    mask = torch.ones(1, *canvas.shape[1:3])
    mask[:, top : top + height, left : left + width] = _fade(height, width, (left, top, right, bottom), feathering)
    return ImageAndMask(Image(canvas), Mask(mask))


@core("EmptyImage", "image")
def empty_image(
    width: Side = 512, height: Side = 512, batch_size: Batch = 1, color: Annotated[int, Range(0, 0xFFFFFF)] = 0
) -> Image:
    """Make pictures of one colour.

    Args:
        color: Red, green and blue as one number, 0xRRGGBB.
    """
    return Image(filled(batch_size, height, width, f"#{color:06x}"))


@core("ImageCompositeMasked", "image")
def image_composite_masked(
    destination: Image, source: Image, x: Border = 0, y: Border = 0, resize_source: bool = False,
    mask: Mask | None = None,
) -> Image:  # fmt: skip
    """Put a picture onto another at a place, where its mask is 1."""
    values = None if mask is None else mask.values
    return Image(pasted(destination.pixels, source.pixels, x, y, mask=values, resize=resize_source))


@core("GetImageSize", "image")
def get_image_size(image: Image) -> Sizes:
    """Tell width, height and number of pictures."""
    return Sizes(*image_size.image_size(image))


@core("ImageScale", "image/upscaling", "Upscale Image")
def image_scale(
    image: Image, upscale_method: Scaling = "nearest-exact", width: Border = 512, height: Border = 512,
    crop: Crop = "disabled",
) -> Image:  # fmt: skip
    """Resize pictures; a side of 0 follows the other one."""
    h, w = image.pixels.shape[1:3]
    if not width and not height:
        return image
    width, height = width or max(1, round(w * height / h)), height or max(1, round(h * width / w))
    return Image(scaled(image.pixels, width, height, upscale_method, crop=crop))


@core("ImageScaleBy", "image/upscaling", "Upscale Image By")
def image_scale_by(
    image: Image, upscale_method: Scaling = "nearest-exact", scale_by: Annotated[float, Range(0.01, 8)] = 1.0
) -> Image:
    """Make pictures larger or smaller by a factor.

    Args:
        scale_by: The factor.
    """
    height, width = (max(1, round(side * scale_by)) for side in image.pixels.shape[1:3])
    return Image(scaled(image.pixels, width, height, upscale_method))


@core("ImageScaleToTotalPixels", "image/upscaling", "Scale Image to Total Pixels")
def image_scale_to_total_pixels(
    image: Image, upscale_method: Scaling = "nearest-exact", megapixels: Annotated[float, Range(0.01, 16)] = 1.0
) -> Image:
    """Resize pictures to an area, keeping their shape.

    Args:
        megapixels: The area in units of 1024 x 1024 pixels.
    """
    h, w = image.pixels.shape[1:3]
    factor = math.sqrt(megapixels * 1024 * 1024 / (w * h))
    return Image(scaled(image.pixels, round(w * factor), round(h * factor), upscale_method))


@core("ImageScaleToMaxDimension", "image/upscaling")
def image_scale_to_max_dimension(
    image: Image, upscale_method: Literal["area", "lanczos", "bilinear", "nearest-exact", "bicubic"] = "area",
    largest_size: Side = 512,
) -> Image:  # fmt: skip
    """Resize pictures so that their longer side has a length.

    Args:
        largest_size: That length in pixels.
    """
    h, w = image.pixels.shape[1:3]
    factor = largest_size / max(h, w)
    return Image(scaled(image.pixels, max(1, round(w * factor)), max(1, round(h * factor)), upscale_method))


@core("FluxKontextImageScale", "advanced/conditioning/flux")
def flux_kontext_image_scale(image: Image) -> Image:
    """Resize and crop pictures to the size nearest in shape of those that Flux Kontext was taught on."""
    h, w = image.pixels.shape[1:3]
    width, height = min(KONTEXT, key=lambda size: abs(size[0] / size[1] - w / h))
    return Image(scaled(image.pixels, width, height, "lanczos", crop="center"))


@core("ImageCrop", "image/transform", "Image Crop")
def image_crop(image: Image, width: Side = 512, height: Side = 512, x: Border = 0, y: Border = 0) -> Image:
    """Cut a rectangle out of pictures."""
    h, w = image.pixels.shape[1:3]
    return image_size.crop_image(image, min(x, w - 1), min(y, h - 1), width, height)


@core("ImageRotate", "image/transform")
def image_rotate(image: Image, rotation: Turn = "none") -> Image:
    """Turn pictures clockwise.

    Args:
        rotation: By how much.
    """
    turns = ("none", "90 degrees", "180 degrees", "270 degrees").index(rotation)
    return Image(torch.rot90(image.pixels, k=turns, dims=(2, 1)).contiguous())


@core("ImageFlip", "image/transform")
def image_flip(image: Image, flip_method: Mirror = "x-axis: vertically") -> Image:
    """Mirror pictures.

    Args:
        flip_method: In which direction.
    """
    return image_size.flip_image(image, "vertical" if flip_method.startswith("x") else "horizontal")


@core("ImageStitch", "image/transform")
def image_stitch(
    image1: Image, direction: Literal["right", "down", "left", "up"] = "right", match_image_size: bool = True,
    spacing_width: Annotated[int, Range(0, 1024)] = 0,
    spacing_color: Literal["white", "black", "red", "green", "blue"] = "white", image2: Image | None = None,
) -> Image:  # fmt: skip
    """Put two pictures next to each other.

    Args:
        direction: Where the second goes.
        match_image_size: Whether the second is resized to the edge where they meet; else it is padded with black.
        spacing_width: Pixels between them.
        spacing_color: Colour between them.
    """
    if image2 is None:
        return image1
    first, second = image1.pixels, image2.pixels
    along, across = (2, 1) if direction in ("right", "left") else (1, 2)
    if match_image_size:
        factor = first.shape[across] / second.shape[across]
        sides = {across: first.shape[across], along: max(1, round(second.shape[along] * factor))}
        second = scaled(second, sides[2], sides[1], "lanczos")
    common, count = max(first.shape[across], second.shape[across]), max(len(first), len(second))
    parts = [_centred(_times(p, count), across, common) for p in (first, second)]
    if spacing_width:
        shape = {0: count, across: common, along: spacing_width}
        parts.insert(1, filled(shape[0], shape[1], shape[2], COLORS[spacing_color]))
    return Image(torch.cat(parts if direction in ("right", "down") else parts[::-1], along))


@core("ResizeAndPadImage", "image/transform")
def resize_and_pad_image(
    image: Image, target_width: Side = 512, target_height: Side = 512,
    padding_color: Literal["white", "black"] = "white",
    interpolation: Literal["area", "bicubic", "nearest-exact", "bilinear", "lanczos"] = "area",
) -> Image:  # fmt: skip
    """Resize pictures into a frame, the rest of it filled with a colour.

    Args:
        target_width: Width of the frame.
        target_height: Height of the frame.
        padding_color: Colour of the rest.
        interpolation: How pixels between are found.
    """
    batch, h, w, _ = image.pixels.shape
    factor = min(target_width / w, target_height / h)
    width, height = max(1, int(w * factor)), max(1, int(h * factor))
    canvas = filled(batch, target_height, target_width, COLORS[padding_color])
    into, _ = place(canvas, image.pixels.new_zeros(batch, height, width, 3), (target_width - width) // 2,
                    (target_height - height) // 2)  # fmt: skip
    into.copy_(scaled(image.pixels, width, height, interpolation))
    return Image(canvas)


@core("RepeatImageBatch", "image/batch")
def repeat_image_batch(image: Image, amount: Batch = 1) -> Image:
    """Repeat pictures."""
    return image_batch.repeat_image(image, amount)


@core("ImageFromBatch", "image/batch")
def image_from_batch(image: Image, batch_index: Annotated[int, Range(0, 4095)] = 0, length: Batch = 1) -> Image:
    """Take some pictures out of a batch."""
    start = min(batch_index, len(image.pixels) - 1)
    return image_batch.select_images(image, start, min(length, len(image.pixels) - start))


@core("RebatchImages", "image/batch")
def rebatch_images(images: list[Image], batch_size: Batch = 1) -> list[Image]:
    """Cut pictures into batches of one size."""
    whole = image_batch.batch_images(images).pixels
    return [Image(whole[i : i + batch_size].clone()) for i in range(0, len(whole), batch_size)]


SIDES = ((672, 1568), (688, 1504), (720, 1456), (752, 1392), (800, 1328), (832, 1248), (880, 1184), (944, 1104),
         (1024, 1024))  # fmt: skip
KONTEXT = (*SIDES, *((height, width) for width, height in SIDES[:-1]))  # Black Forest Labs 2025
COLORS = {"white": "#ffffff", "black": "#000000", "red": "#ff0000", "green": "#00ff00", "blue": "#0000ff"}


def _prefix(text: str, images: Image) -> str:
    """Fill in what ComfyUI's server knows: the sizes. Dates are filled in by its browser when a job is sent."""
    height, width = images.pixels.shape[1:3]
    return text.replace("%width%", str(width)).replace("%height%", str(height)) or "ComfyUI"


def _fade(height: int, width: int, sides: tuple[int, int, int, int], feathering: int) -> torch.Tensor:
    """Return (height, width): 1 at the edges that were extended, falling as a square over `feathering` pixels."""
    if not feathering or 2 * feathering >= min(height, width):
        return torch.zeros(height, width)
    left, top, right, bottom = sides
    far = torch.tensor(float(height + width))
    rows, columns = torch.arange(height, dtype=torch.float32), torch.arange(width, dtype=torch.float32)
    down = torch.minimum(rows if top else far.expand(height), height - rows if bottom else far.expand(height))
    across = torch.minimum(columns if left else far.expand(width), width - columns if right else far.expand(width))
    distance = torch.minimum(down[:, None], across[None])
    return ((feathering - distance) / feathering).clamp(min=0) ** 2


def _times(pixels: torch.Tensor, count: int) -> torch.Tensor:
    if len(pixels) not in (1, count):
        raise BadInput(f"The batches hold different numbers of pictures: {len(pixels)} and {count}.", field="image2")
    return pixels.expand(count, *pixels.shape[1:])


def _centred(pixels: torch.Tensor, axis: int, length: int) -> torch.Tensor:
    """Pad (B, H, W, 3) with black to a length along an axis, the picture in the middle."""
    shape = list(pixels.shape)
    shape[axis] = length
    canvas = pixels.new_zeros(shape)
    start = (length - pixels.shape[axis]) // 2
    canvas.narrow(axis, start, pixels.shape[axis]).copy_(pixels)
    return canvas
