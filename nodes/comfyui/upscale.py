"""Networks that make pictures larger."""

from __future__ import annotations

from typing import Annotated

from engine.context import Context
from engine.node import File
from engine.types import Image, Upscaler
from nodes.basics import upscale as ours
from nodes.comfyui._core import core


@core("UpscaleModelLoader", "loaders", "Load Upscale Model")
def upscale_model_loader(ctx: Context, model_name: Annotated[str, File("upscale_models")]) -> Upscaler:
    """Load a network that makes pictures larger.

    Args:
        model_name: A file in models/upscale_models.
    """
    return ours.load_upscaler(ctx, model_name)


@core("ImageUpscaleWithModel", "image/upscaling", "Upscale Image (using Model)")
def image_upscale_with_model(ctx: Context, upscale_model: Upscaler, image: Image) -> Image:
    """Make pictures larger with a network.

    Args:
        upscale_model: The network.
    """
    return ours.upscale_image(ctx, image, upscale_model)
