"""Where sampling begins: empty latents, and pictures of a size that a model likes."""

from __future__ import annotations

import math
from typing import Annotated

import torch

from engine.node import Range, node
from engine.types import Image, Latent, Model
from nodes.basics._pixels import SIZE_MAX, Count
from nodes.basics.image_size import resize_image

Side = Annotated[int, Range(0, SIZE_MAX, 8)]


@node(category="latent")
def empty_latent(model: Model, width: Side = 0, height: Side = 0, batch: Count = 1) -> Latent:
    """Make empty latents that fit a model, to be filled by a sampler.

    Args:
        model: The model they are for; it knows its channels and its own size.
        width: Width of the picture in pixels; 0 takes the model's own size.
        height: Height of the picture in pixels; 0 takes the model's own size.
        batch: How many pictures are made at once, each with noise of its own.
    """
    channels, factor, own = (int(model.options[name]) for name in ("channels", "factor", "size"))
    h, w = (max(1, (side or own) // factor) for side in (height, width))
    return Latent(torch.zeros(batch, channels, h, w), factor)


@node(category="image/size")
def fit_to_model(image: Image, model: Model, scale: Annotated[float, Range(0.25, 8, 0.25)] = 1.0) -> Image:
    """Resize pictures to the size that a model works at best, keeping their shape.

    Args:
        image: The pictures.
        model: The model that will work on them.
        scale: 2 makes them twice as wide and high as the model's own size.
    """
    own, grid = float(model.options["size"]) * scale, 2 * int(model.options["factor"])
    height, width = image.pixels.shape[1:3]
    shrink = own / math.sqrt(height * width)
    w, h = (max(grid, round(side * shrink / grid) * grid) for side in (width, height))
    resized: Image = resize_image(image, w, h, mode="stretch")
    return resized
