"""Colour: adjust, invert, take channels apart, measure."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from engine.node import Range, node
from engine.types import Image, Mask
from nodes.basics._pixels import Color, Count, Size, filled, gray_image, luma, match, per_picture

Factor = Annotated[float, Range(0, 4, 0.05)]


class Channels(NamedTuple):
    """The three channels of a picture."""

    red: Mask
    green: Mask
    blue: Mask


class Statistics(NamedTuple):
    """Numbers about pictures."""

    mean: float
    deviation: float
    lowest: float
    highest: float
    sharpness: float


@node(category="image")
def solid_color(color: Color = "#808080", width: Size = 512, height: Size = 512, count: Count = 1) -> Image:
    """Make pictures of one colour.

    Args:
        color: The colour.
        width: Width in pixels.
        height: Height in pixels.
        count: How many pictures.
    """
    return Image(filled(count, height, width, color))


@node(category="image/color")
def adjust_color(
    image: Image,
    brightness: Annotated[float, Range(-1, 1, 0.01)] = 0.0,
    contrast: Factor = 1.0,
    saturation: Factor = 1.0,
    hue: Annotated[float, Range(-180, 180, 1)] = 0.0,
    gamma: Annotated[float, Range(0.1, 10, 0.05)] = 1.0,
) -> Image:
    """Adjust brightness, contrast, saturation, hue and gamma, in this order.

    Args:
        image: The pictures.
        brightness: Added to every pixel.
        contrast: Distance from mid-grey; 1 changes nothing, 0 leaves grey.
        saturation: 1 changes nothing, 0 leaves grey tones.
        hue: Degrees around the colour circle.
        gamma: Above 1 lifts the dark tones.
    """
    pixels = ((image.pixels + brightness - 0.5) * contrast + 0.5).clamp(0, 1)
    grey = luma(pixels)[..., None]
    pixels = (grey + (pixels - grey) * saturation).clamp(0, 1)
    if hue:
        pixels = per_picture(pixels, lambda p: _turn_hue(p, hue))
    return Image(pixels.clamp(0, 1) ** (1 / gamma))


@node(category="image/color")
def invert_image(image: Image) -> Image:
    """Turn pictures into their negative.

    Args:
        image: The pictures.
    """
    return Image(1 - image.pixels)


@node(category="image/color")
def grayscale(image: Image) -> Image:
    """Take the colour out of pictures.

    Args:
        image: The pictures.
    """
    return gray_image(luma(image.pixels))


@node(category="image/color")
def split_channels(image: Image) -> Channels:
    """Take pictures apart into red, green and blue.

    Args:
        image: The pictures.
    """
    red, green, blue = image.pixels.unbind(-1)
    return Channels(Mask(red.clone()), Mask(green.clone()), Mask(blue.clone()))


@node(category="image/color")
def merge_channels(red: Mask, green: Mask, blue: Mask) -> Image:
    """Put red, green and blue together to pictures.

    Args:
        red: Red channel.
        green: Green channel, of the same size.
        blue: Blue channel, of the same size.
    """
    r, g = match(red.values, green.values, "Red and green")
    g, b = match(g, blue.values, "Green and blue")
    r, b = match(r, b, "Red and blue")
    return Image(torch.stack([r, g, b], -1))


@node(category="image/color")
def image_statistics(image: Image) -> Statistics:
    """Measure pictures: mean, deviation, extremes, and sharpness as the variance of the Laplacian of brightness.

    Args:
        image: The pictures, measured together.
    """
    p = image.pixels
    edges = per_picture(luma(p), lambda grey: cv2.Laplacian(grey, cv2.CV_32F))
    spread = edges.var(unbiased=False)
    return Statistics(float(p.mean()), float(p.std(unbiased=False)), float(p.min()), float(p.max()), float(spread))


def _turn_hue(picture: NDArray[Any], degrees: float) -> NDArray[Any]:
    hls = cv2.cvtColor(picture, cv2.COLOR_RGB2HLS)
    hls[..., 0] = np.mod(hls[..., 0] + degrees, 360)
    return cv2.cvtColor(hls, cv2.COLOR_HLS2RGB)
