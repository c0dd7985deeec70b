"""Pictures made larger by a network that was taught to."""

from __future__ import annotations

from typing import Annotated

from engine.context import Context
from engine.node import File, node
from engine.types import Image, Upscaler
from nodes.basics._pixels import check_room
from nodes.basics.load import part_of

BYTES_PER_PIXEL = 4_000  # of a tile, while it is made larger


@node(category="load")
def load_upscaler(ctx: Context, file: Annotated[str, File("upscale_models")]) -> Upscaler:
    """Load a network that makes pictures larger (ESRGAN, Real-ESRGAN).

    Args:
        file: A file in models/upscale_models.
    """
    upscaler: Upscaler = part_of(ctx, ctx.models.find("upscale_models", file), "upscaler")
    return upscaler


@node(category="image/size")
def upscale_image(ctx: Context, image: Image, upscaler: Upscaler) -> Image:
    """Make pictures larger with a network, by the factor that it was taught.

    Args:
        image: The pictures.
        upscaler: The network.
    """
    batch, height, width, _ = image.pixels.shape
    scale = int(upscaler.options["scale"])
    check_room(batch, height * scale, width * scale)
    with ctx.models.use(upscaler, working_bytes=BYTES_PER_PIXEL * min(height * width, 256 * 256)) as network:
        return Image(network(image.pixels, on_tile=ctx.progress))
