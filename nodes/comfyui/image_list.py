"""Lists of pictures: sizes, colours, grids, duplicates; and pictures with transparency."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from engine.errors import BadInput
from engine.node import Range
from engine.types import Image, Mask
from nodes.basics._pixels import check_room, luma, place
from nodes.comfyui._core import Seed, Side, core
from nodes.comfyui._resize import scaled

Factor = Annotated[float, Range(0, 2, 0.01)]
HASH = 8  # side of the grey picture by which two are compared


@core("ResizeImagesByLongerEdge", "dataset/image")
def resize_images_by_longer_edge(images: Image, longer_edge: Annotated[int, Range(1, 8192)] = 1024) -> Image:
    """Resize pictures so that their longer side has a length.

    Args:
        longer_edge: That length in pixels.
    """
    return _by_edge(images, longer_edge / max(images.pixels.shape[1:3]))


@core("ResizeImagesByShorterEdge", "dataset/image")
def resize_images_by_shorter_edge(images: Image, shorter_edge: Annotated[int, Range(1, 8192)] = 512) -> Image:
    """Resize pictures so that their shorter side has a length.

    Args:
        shorter_edge: That length in pixels.
    """
    return _by_edge(images, shorter_edge / min(images.pixels.shape[1:3]))


@core("CenterCropImages", "dataset/image")
def center_crop_images(images: Image, width: Side = 512, height: Side = 512) -> Image:
    """Cut the middle out of pictures."""
    h, w = images.pixels.shape[1:3]
    return _cut(images, max(0, (w - width) // 2), max(0, (h - height) // 2), width, height)


@core("RandomCropImages", "dataset/image")
def random_crop_images(images: Image, width: Side = 512, height: Side = 512, seed: Seed = 0) -> Image:
    """Cut a rectangle out of pictures, where chance says."""
    generator = torch.Generator().manual_seed(seed)
    h, w = images.pixels.shape[1:3]
    x, y = (int(torch.randint(max(room, 0) + 1, (), generator=generator)) for room in (w - width, h - height))
    return _cut(images, x, y, width, height)


@core("NormalizeImages", "dataset/image")
def normalize_images(images: Image, mean: Annotated[float, Range(0, 1, 0.01)] = 0.5,
                     std: Annotated[float, Range(0.001, 1, 0.01)] = 0.5) -> Image:  # fmt: skip
    """Subtract a mean and divide by a deviation.

    Args:
        mean: What is subtracted.
        std: What is divided by.
    """
    return Image((images.pixels - mean) / std)


@core("AdjustBrightness", "dataset/image")
def adjust_brightness(images: Image, factor: Factor = 1.0) -> Image:
    """Multiply the brightness of pictures.

    Args:
        factor: The factor; 1 changes nothing.
    """
    return Image((images.pixels * factor).clamp(0, 1))


@core("AdjustContrast", "dataset/image")
def adjust_contrast(images: Image, factor: Factor = 1.0) -> Image:
    """Multiply the distance of pictures from middle grey.

    Args:
        factor: The factor; 1 changes nothing.
    """
    return Image(((images.pixels - 0.5) * factor + 0.5).clamp(0, 1))


@core("MergeImageLists", "dataset/image")
def merge_image_lists(images: list[Image]) -> list[Image]:
    """Give all pictures as one list."""
    return images


@core("ImageGrid", "dataset/image")
def image_grid(
    images: list[Image], columns: Annotated[int, Range(1, 20)] = 4, cell_width: Annotated[int, Range(32, 2048)] = 256,
    cell_height: Annotated[int, Range(32, 2048)] = 256, padding: Annotated[int, Range(0, 50)] = 4,
) -> Image:  # fmt: skip
    """Lay pictures out in a grid, each made to fit its cell.

    Args:
        columns: Cells in a row.
        cell_width: Width of a cell in pixels.
        cell_height: Height of a cell in pixels.
        padding: Pixels between cells.
    """
    each = [picture for batch in images for picture in batch.pixels[..., :3]]
    rows = -(-len(each) // columns)
    height, width = rows * (cell_height + padding) - padding, columns * (cell_width + padding) - padding
    check_room(1, height, width)
    canvas = torch.zeros(1, height, width, 3)
    for number, picture in enumerate(each):
        cell = scaled(picture[None], cell_width, cell_height, "lanczos")
        row, column = divmod(number, columns)
        into, patch = place(canvas, cell, column * (cell_width + padding), row * (cell_height + padding))
        into.copy_(patch)
    return Image(canvas)


@core("ImageDeduplication", "dataset/image")
def image_deduplication(
    images: list[Image], similarity_threshold: Annotated[float, Range(0, 1, 0.01)] = 0.95
) -> list[Image]:
    """Leave out pictures that are like an earlier one, by the brightness of 8 x 8 cells against its mean.

    Args:
        similarity_threshold: Share of equal cells from which on two count as one.
    """
    kept: list[tuple[Tensor, Image]] = []
    for image in images:
        bits = _bits(image.pixels)
        if all(float((bits == other).float().mean()) < similarity_threshold for other, _ in kept):
            kept.append((bits, image))
    return [image for _, image in kept]


@core("JoinImageWithAlpha", "mask/compositing")
def join_image_with_alpha(image: Image, alpha: Mask) -> Image:
    """Make pictures see-through where a mask is 1; they keep it when they are saved.

    Args:
        alpha: Where they are see-through.
    """
    return Image(torch.cat([image.pixels[..., :3], 1 - _fitted(alpha, image)[..., None]], -1))


def _by_edge(images: Image, factor: float) -> Image:
    height, width = (max(1, round(side * factor)) for side in images.pixels.shape[1:3])
    return Image(scaled(images.pixels, width, height, "lanczos"))


def _cut(images: Image, x: int, y: int, width: int, height: int) -> Image:
    return Image(images.pixels[:, y : y + height, x : x + width].clone())


def _bits(pixels: Tensor) -> Tensor:
    """Return which of 8 x 8 cells of the first picture of (B, H, W, C) are brighter than all on average, (8, 8)."""
    grey = interpolate(luma(pixels[:1, ..., :3])[:, None], size=(HASH, HASH), mode="area")[0, 0]
    return grey > grey.mean()


def _fitted(mask: Mask, image: Image) -> Tensor:
    """Return a mask at the size and number of pictures, (B, H, W)."""
    values = interpolate(mask.values[:, None], size=image.pixels.shape[1:3], mode="bilinear")[:, 0]
    if len(values) not in (1, len(image.pixels)):
        raise BadInput(f"{len(values)} masks do not fit {len(image.pixels)} pictures: use 1 or as many.", field="alpha")
    return values.expand(len(image.pixels), -1, -1)
