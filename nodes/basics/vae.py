"""Between pixels and latents."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d

from engine.context import Context
from engine.diffusion import tiles
from engine.errors import BadInput
from engine.node import Range, node
from engine.types import Image, Latent, Mask, Vae

Tile = Annotated[int, Range(0, 4096, 64)]


@node(category="latent", title="VAE decode")
def vae_decode(ctx: Context, latent: Latent, vae: Vae, tile: Tile = 0) -> Image:
    """Turn latents into pictures.

    Args:
        latent: The latents.
        vae: The autoencoder of the model that made them.
        tile: Side of the tiles it works in, in pixels: bounds memory. 0 decides by itself.
    """
    factor, width = (int(vae.options[name]) for name in ("factor", "width"))
    if latent.factor != factor:
        raise BadInput(
            f"A latent cell stands for {latent.factor} pixels, for this autoencoder {factor}: it is another model's.",
            field="vae",
        )
    batch, _, h, w = latent.samples.shape
    tile = tile or tiles.fitting(batch, h * factor, w * factor, width)
    working = tiles.working_bytes(batch, h * factor, w * factor, width, tile)
    with ctx.models.use(vae, working_bytes=working) as network:
        return Image(network.decode(latent.samples, tile=tile, on_tile=ctx.progress))


@node(category="latent", title="VAE encode")
def vae_encode(ctx: Context, image: Image, vae: Vae, tile: Tile = 0) -> Latent:
    """Turn pictures into latents. Sides that the autoencoder cannot divide are cut at the right and at the bottom.

    Args:
        image: The pictures.
        vae: The autoencoder of the model that will work on them.
        tile: Side of the tiles it works in, in pixels: bounds memory. 0 decides by itself.
    """
    factor, width = (int(vae.options[name]) for name in ("factor", "width"))
    pixels = _divisible(image.pixels, factor)
    batch, height, wide, _ = pixels.shape
    tile = tile or tiles.fitting(batch, height, wide, width)
    working = tiles.working_bytes(batch, height, wide, width, tile)
    with ctx.models.use(vae, working_bytes=working) as network:
        return Latent(network.encode(pixels, tile=tile, on_tile=ctx.progress), factor)


@node(category="latent", title="VAE encode for inpainting")
def vae_encode_inpaint(ctx: Context, image: Image, mask: Mask, vae: Vae, tile: Tile = 0) -> Latent:
    """Turn pictures into latents of which a sampler changes only the masked part.

    A latent cell is changed if the mask touches any of its pixels.

    Args:
        image: The pictures.
        mask: Where to change them, 1 = change; of the pictures' size.
        vae: The autoencoder of the model that will work on them.
        tile: Side of the tiles it works in, in pixels: bounds memory. 0 decides by itself.
    """
    if mask.values.shape[1:] != image.pixels.shape[1:3]:
        raise BadInput("The mask is not of the picture's size; put a resize node before it.", field="mask")
    latent = vae_encode(ctx, image, vae, tile)
    values = _divisible(mask.values, latent.factor)
    cells = adaptive_max_pool2d(values[:, None], latent.samples.shape[2:])[:, 0]  # (B, H, W) -> (B, h, w)
    return replace(latent, mask=cells)


def _divisible(pixels: Tensor, factor: int) -> Tensor:
    """Cut (B, H, W, ...) at the right and bottom to multiples of `factor`."""
    height, width = (side // factor * factor for side in pixels.shape[1:3])
    if not height or not width:
        raise BadInput(f"The picture is smaller than {factor} pixels; make it larger.", field="image")
    return pixels[:, :height, :width]
