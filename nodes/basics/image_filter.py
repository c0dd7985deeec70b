"""Filters over pictures: blur, sharpen, edges and drawings made from them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from engine.node import Range, Seed, node
from engine.pictures import to_uint8
from engine.types import Image
from nodes.basics._pixels import Fraction, gray_image, luma, per_picture

Radius = Annotated[float, Range(0, 256, 0.5)]


@node(category="image/filter")
def blur_image(image: Image, radius: Radius = 4.0, kind: Literal["gaussian", "box", "median"] = "gaussian") -> Image:
    """Blur pictures.

    Args:
        image: The pictures.
        radius: Reach of the blur in pixels; two standard deviations of the Gaussian.
        kind: Median keeps edges and removes specks.
    """
    side = 2 * round(radius) + 1
    if kind == "median":  # OpenCV's median of any size takes bytes only
        blurred = per_picture(image.pixels, lambda p: cv2.medianBlur(to_uint8(p), side).astype(np.float32) / 255)
    elif kind == "box":
        blurred = per_picture(image.pixels, lambda p: cv2.blur(p, (side, side), borderType=cv2.BORDER_REFLECT))
    else:
        blurred = per_picture(image.pixels, lambda p: _gaussian(p, radius / 2))
    return Image(blurred.clamp(0, 1))


@node(category="image/filter")
def sharpen_image(image: Image, radius: Radius = 2.0, amount: Annotated[float, Range(0, 5, 0.05)] = 0.5) -> Image:
    """Sharpen pictures by adding what a blur takes away (unsharp mask).

    Args:
        image: The pictures.
        radius: Size of the details to bring out, in pixels.
        amount: How much is added.
    """
    fine = per_picture(image.pixels, lambda p: p - _gaussian(p, radius / 2))
    return Image((image.pixels + amount * fine).clamp(0, 1))


@node(category="image/filter")
def add_noise(image: Image, amount: Fraction = 0.1, seed: Seed = 0) -> Image:
    """Add Gaussian noise to pictures, the same for the same seed on every machine.

    Args:
        image: The pictures.
        amount: Standard deviation of the noise.
        seed: Which noise.
    """
    noise = torch.randn(image.pixels.shape, generator=torch.Generator().manual_seed(seed))
    return Image((image.pixels + amount * noise).clamp(0, 1))


@node(category="image/preprocess")
def canny(image: Image, low: Fraction = 0.3, high: Fraction = 0.6, blur: Radius = 0.0) -> Image:
    """Find edges (Canny): white lines on black, as ControlNets for edges expect.

    Args:
        image: The pictures.
        low: Contrast at which an edge goes on.
        high: Contrast at which an edge begins.
        blur: Blur before, to leave out fine texture.
    """

    def edges(grey: NDArray[Any]) -> NDArray[Any]:
        smooth = to_uint8(_gaussian(grey, blur / 2))
        return cv2.Canny(smooth, 255 * min(low, high), 255 * max(low, high)).astype(np.float32) / 255

    return gray_image(per_picture(luma(image.pixels), edges))


@node(category="image/preprocess")
def scribble(
    image: Image,
    width: Annotated[float, Range(0.5, 16, 0.1)] = 1.0,
    detail: Fraction = 0.5,
    paper: Literal["black", "white"] = "black",
) -> Image:
    """Draw the outlines of pictures with soft strokes, as if by hand.

    Difference of Gaussians with a soft threshold (Winnemöller, Olsen, Gooch 2006, equation 3): ink where a picture is
    darker than its surroundings.

    Args:
        image: The pictures.
        width: Width of the strokes in pixels.
        detail: 0 draws only the strongest outlines, 1 also faint texture.
        paper: White strokes on black are what ControlNets for scribbles expect.
    """
    tau, steepness = 0.96 + 0.04 * detail, 2.0  # the paper: tau 0.98, steepness 0.75 to 5, brightness 0 to 100

    def strokes(grey: NDArray[Any]) -> NDArray[Any]:
        lines = 100 * (_gaussian(grey, width) - tau * _gaussian(grey, 1.6**0.5 * width))
        return np.where(lines > 0, 0, -np.tanh(steepness * lines))

    drawn = per_picture(luma(image.pixels), strokes)
    return gray_image(drawn if paper == "black" else 1 - drawn)


def _gaussian(picture: NDArray[Any], sigma: float) -> NDArray[Any]:
    if not sigma:
        return picture
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma, borderType=cv2.BORDER_REFLECT))
