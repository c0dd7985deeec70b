"""Pictures: filters, blends, edges."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

import cv2
import numpy as np
import torch
from PIL import Image as Pil
from torch.nn import functional as F

from engine.node import Range
from engine.types import Image
from nodes.basics import image_filter as ours
from nodes.basics._pixels import gray_image, luma, match_batches, per_picture
from nodes.comfyui._core import Seed, core
from nodes.comfyui._resize import scaled

Radius = Annotated[int, Range(1, 31)]
Sigma = Annotated[float, Range(0.1, 10)]
YUV = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))  # JFIF, to Y, Cb, Cr


class Yuv(NamedTuple):
    """Brightness and the two differences of colour, as grey pictures."""

    Y: Image
    U: Image
    V: Image


@core("ImageBlend", "image/postprocessing")
def image_blend(
    image1: Image, image2: Image, blend_factor: Annotated[float, Range(0, 1)] = 0.5,
    blend_mode: Literal["normal", "multiply", "screen", "overlay", "soft_light", "difference"] = "normal",
) -> Image:  # fmt: skip
    """Lay one picture over another.

    Args:
        blend_factor: Share of the second.
        blend_mode: How they mix.
    """
    a, b = image1.pixels, image2.pixels
    if a.shape[1:3] != b.shape[1:3]:
        b = scaled(b, a.shape[2], a.shape[1], "bicubic", crop="center")
    a, b = match_batches(a, b)
    mixed = {
        "normal": lambda: b,
        "multiply": lambda: a * b,
        "screen": lambda: 1 - (1 - a) * (1 - b),
        "overlay": lambda: torch.where(a <= 0.5, 2 * a * b, 1 - 2 * (1 - a) * (1 - b)),
        "soft_light": lambda: torch.where(b <= 0.5, a - (1 - 2 * b) * a * (1 - a), a + (2 * b - 1) * (_curve(a) - a)),
        "difference": lambda: a - b,
    }[blend_mode]()
    return Image(torch.lerp(a, mixed, blend_factor).clamp(0, 1))


@core("ImageBlur", "image/postprocessing")
def image_blur(image: Image, blur_radius: Radius = 1, sigma: Sigma = 1.0) -> Image:
    """Blur pictures.

    Args:
        blur_radius: Pixels on each side that count.
        sigma: Width of the bell in pixels.
    """
    return Image(_blurred(image.pixels, blur_radius, sigma))


@core("ImageSharpen", "image/postprocessing")
def image_sharpen(
    image: Image, sharpen_radius: Radius = 1, sigma: Sigma = 1.0, alpha: Annotated[float, Range(0, 5)] = 1.0
) -> Image:
    """Sharpen pictures.

    Args:
        sharpen_radius: Pixels on each side that count.
        sigma: Width of the bell in pixels.
        alpha: How strongly.
    """
    soft = _blurred(image.pixels, sharpen_radius, sigma)
    return Image((image.pixels + 10 * alpha * (image.pixels - soft)).clamp(0, 1))


@core("ImageQuantize", "image/postprocessing")
def image_quantize(
    image: Image, colors: Annotated[int, Range(1, 256)] = 256,
    dither: Literal["none", "floyd-steinberg"] = "none",
) -> Image:  # fmt: skip
    """Reduce pictures to a few colours.

    Args:
        colors: How many.
        dither: Whether colours between are made of dots.
    """
    method = Pil.Dither.NONE if dither == "none" else Pil.Dither.FLOYDSTEINBERG

    def change(picture: np.ndarray) -> np.ndarray:
        whole = Pil.fromarray((picture * 255).round().astype(np.uint8))
        palette = whole.quantize(colors)
        return np.asarray(whole.quantize(colors, palette=palette, dither=method).convert("RGB"), np.float32) / 255

    return Image(per_picture(image.pixels, change))


@core("Morphology", "image/postprocessing")
def morphology(
    image: Image,
    operation: Literal["erode", "dilate", "open", "close", "gradient", "bottom_hat", "top_hat"] = "erode",
    kernel_size: Annotated[int, Range(3, 999)] = 3,
) -> Image:
    """Grow or shrink what is bright.

    Args:
        operation: What is done.
        kernel_size: Side of the square that is looked at.
    """
    kernel = np.ones((kernel_size, kernel_size), np.uint8)
    kinds = {"bottom_hat": "BLACKHAT", "top_hat": "TOPHAT"}
    kind = getattr(cv2, f"MORPH_{kinds.get(operation, operation.upper())}")
    return Image(per_picture(image.pixels, lambda p: cv2.morphologyEx(p, kind, kernel)))


@core("Canny", "image/preprocessors")
def canny(
    image: Image, low_threshold: Annotated[float, Range(0.01, 0.99)] = 0.4,
    high_threshold: Annotated[float, Range(0.01, 0.99)] = 0.8,
) -> Image:  # fmt: skip
    """Find edges: white lines on black.

    Args:
        low_threshold: Edges weaker than this are dropped.
        high_threshold: Edges stronger than this are kept; those between if they touch one.
    """
    return ours.canny(image, low_threshold, high_threshold, 1.0)


@core("ImageAddNoise", "image")
def image_add_noise(image: Image, seed: Seed = 0, strength: Annotated[float, Range(0, 1)] = 0.5) -> Image:
    """Add Gaussian noise to pictures."""
    drawn = torch.randn(image.pixels.shape, generator=torch.Generator().manual_seed(seed))
    return Image((image.pixels + strength * drawn).clamp(0, 1))


@core("ImageRGBToYUV", "image/batch")
def image_rgb_to_yuv(image: Image) -> Yuv:
    """Take pictures apart into brightness and two differences of colour."""
    planes = image.pixels @ torch.tensor(YUV).T + torch.tensor([0.0, 0.5, 0.5])
    return Yuv(*(gray_image(planes[..., i].clamp(0, 1)) for i in range(3)))


@core("ImageYUVToRGB", "image/batch")
def image_yuv_to_rgb(Y: Image, U: Image, V: Image) -> Image:
    """Put brightness and two differences of colour together.

    Args:
        Y: Brightness.
        U: Difference to blue.
        V: Difference to red.
    """
    planes = torch.stack([luma(p.pixels) for p in (Y, U, V)], -1) - torch.tensor([0.0, 0.5, 0.5])
    return Image((planes @ torch.linalg.inv(torch.tensor(YUV)).T).clamp(0, 1))


def _curve(a: torch.Tensor) -> torch.Tensor:
    """Return the curve of the W3C's soft light (Compositing and Blending, section 10.1.9)."""
    return torch.where(a <= 0.25, ((16 * a - 12) * a + 4) * a, a.sqrt())


def _blurred(pixels: torch.Tensor, radius: int, sigma: float) -> torch.Tensor:
    """Blur (B, H, W, 3) by a bell of 2 radius + 1 pixels a side; the edge is mirrored."""
    line = torch.exp(-(torch.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    kernel = line[:, None] * line[None] / line.sum() ** 2
    planes = pixels.movedim(-1, 1)  # (B, H, W, 3) -> (B, 3, H, W)
    mode = "reflect" if radius < min(planes.shape[2:]) else "replicate"
    planes = F.pad(planes, (radius,) * 4, mode=mode)
    return F.conv2d(planes, kernel.expand(3, 1, -1, -1), groups=3).movedim(1, -1)
