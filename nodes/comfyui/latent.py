"""Latents: between pixels and latents, empty ones, sizes, batches."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import torch

from engine.context import Context
from engine.errors import BadInput
from engine.node import Range
from engine.types import Image, Latent, Mask, Vae
from nodes.basics import latent as ours
from nodes.basics import vae as codes
from nodes.basics.mask import grow_mask, resize_mask
from nodes.basics.vae import Tile
from nodes.comfyui._core import Batch, Border, Crop, LatentScaling, Side, core
from nodes.comfyui._resize import cut_to_shape, pasted

METHODS = {"nearest-exact": "nearest", "bislerp": "bicubic"}  # to ours


@core("VAEDecode", "latent", "VAE Decode")
def vae_decode(ctx: Context, samples: Latent, vae: Vae) -> Image:
    """Turn latents into pictures."""
    return codes.vae_decode(ctx, samples, vae)


@core("VAEEncode", "latent", "VAE Encode")
def vae_encode(ctx: Context, pixels: Image, vae: Vae) -> Latent:
    """Turn pictures into latents; their transparency is left aside."""
    return codes.vae_encode(ctx, Image(pixels.pixels[..., :3]), vae)


@core("VAEDecodeTiled", "_for_testing", "VAE Decode (Tiled)")
def vae_decode_tiled(
    ctx: Context, samples: Latent, vae: Vae, tile_size: Tile = 512, overlap: Border = 64,
    temporal_size: Border = 64, *, temporal_overlap: Border = 8,
) -> Image:  # fmt: skip
    """Turn latents into pictures, tile by tile.

    Args:
        tile_size: Side of a tile in pixels.
        overlap: Read and left aside: tiles overlap by what hides their edges.
        temporal_size: Of films; read and left aside.
        temporal_overlap: Of films; read and left aside.
    """
    return codes.vae_decode(ctx, samples, vae, tile_size)


@core("VAEEncodeTiled", "_for_testing", "VAE Encode (Tiled)")
def vae_encode_tiled(
    ctx: Context, pixels: Image, vae: Vae, tile_size: Tile = 512, overlap: Border = 64,
    temporal_size: Border = 64, *, temporal_overlap: Border = 8,
) -> Latent:  # fmt: skip
    """Turn pictures into latents, tile by tile.

    Args:
        tile_size: Side of a tile in pixels.
        overlap: Read and left aside: tiles overlap by what hides their edges.
        temporal_size: Of films; read and left aside.
        temporal_overlap: Of films; read and left aside.
    """
    return codes.vae_encode(ctx, pixels, vae, tile_size)


@core("VAEEncodeForInpaint", "latent/inpaint", "VAE Encode (for Inpainting)")
def vae_encode_for_inpaint(
    ctx: Context, pixels: Image, vae: Vae, mask: Mask, grow_mask_by: Annotated[int, Range(0, 64)] = 6
) -> Latent:
    """Turn pictures into latents of which only the masked part is made anew; what is under the mask becomes grey.

    Args:
        grow_mask_by: Pixels by which the mask is made larger.
    """
    height, width = pixels.pixels.shape[1:3]
    fitting = resize_mask(mask, width, height)
    grey = torch.where(fitting.values[..., None].round() > 0, torch.full_like(pixels.pixels, 0.5), pixels.pixels)
    grown = grow_mask(Mask(fitting.values.round()), grow_mask_by // 2, "square") if grow_mask_by > 1 else fitting
    return codes.vae_encode_inpaint(ctx, Image(grey), Mask(grown.values.round()), vae)


@core("EmptyLatentImage", "latent", "Empty Latent Image")
def empty_latent_image(width: Side = 512, height: Side = 512, batch_size: Batch = 1) -> Latent:
    """Make empty latents; samplers give them the channels of their model."""
    return Latent(torch.zeros(batch_size, 4, max(1, height // 8), max(1, width // 8)))


@core("EmptySD3LatentImage", "latent/sd3")
def empty_sd3_latent_image(width: Side = 1024, height: Side = 1024, batch_size: Batch = 1) -> Latent:
    """Make empty latents of sixteen channels."""
    return Latent(torch.zeros(batch_size, 16, max(1, height // 8), max(1, width // 8)))


@core("EmptyFlux2LatentImage", "latent")
def empty_flux2_latent_image(width: Side = 1024, height: Side = 1024, batch_size: Batch = 1) -> Latent:
    """Make empty latents of 128 channels, a cell for 16 pixels."""
    return Latent(torch.zeros(batch_size, 128, max(1, height // 16), max(1, width // 16)), 16)


@core("EmptyHunyuanImageLatent", "latent")
def empty_hunyuan_image_latent(width: Side = 2048, height: Side = 2048, batch_size: Batch = 1) -> Latent:
    """Make empty latents of 64 channels, a cell for 32 pixels."""
    return Latent(torch.zeros(batch_size, 64, max(1, height // 32), max(1, width // 32)), 32)


@core("EmptyChromaRadianceLatentImage", "latent/chroma_radiance")
def empty_chroma_radiance_latent_image(width: Side = 1024, height: Side = 1024, batch_size: Batch = 1) -> Latent:
    """Make empty latents for a model that paints pixels: three channels, a cell for each."""
    return Latent(torch.zeros(batch_size, 3, height, width), 1)


@core("LatentUpscale", "latent", "Upscale Latent")
def latent_upscale(
    samples: Latent, upscale_method: LatentScaling = "nearest-exact", width: Border = 512, height: Border = 512,
    crop: Crop = "disabled",
) -> Latent:  # fmt: skip
    """Resize latents to the size of a picture; a side of 0 follows the other one."""
    h, w = samples.samples.shape[2:]
    if not width and not height:
        return samples
    width = width or max(64, round(w * samples.factor * height / (h * samples.factor)))
    height = height or max(64, round(h * samples.factor * width / (w * samples.factor)))
    if crop == "center":
        samples = replace(samples, samples=cut_to_shape(samples.samples.movedim(1, -1), width, height).movedim(-1, 1))
    grid = samples.factor
    return ours.upscale_latent(samples, width // grid * grid, height // grid * grid, _method(upscale_method))


@core("LatentUpscaleBy", "latent", "Upscale Latent By")
def latent_upscale_by(
    samples: Latent, upscale_method: LatentScaling = "nearest-exact", scale_by: Annotated[float, Range(0.01, 8)] = 1.5
) -> Latent:
    """Make latents larger or smaller by a factor.

    Args:
        scale_by: The factor.
    """
    return ours.scale_latent(samples, scale_by, _method(upscale_method))


@core("LatentComposite", "latent")
def latent_composite(
    samples_to: Latent, samples_from: Latent, x: Border = 0, y: Border = 0, feather: Border = 0
) -> Latent:
    """Put latents onto others at a place.

    Args:
        samples_to: The latents below.
        samples_from: The latents on top.
        feather: Pixels over which the edges fade.
    """
    return ours.composite_latents(samples_to, samples_from, x, y, feather=feather)


@core("LatentCompositeMasked", "latent")
def latent_composite_masked(
    destination: Latent, source: Latent, x: Border = 0, y: Border = 0, resize_source: bool = False,
    mask: Mask | None = None,
) -> Latent:  # fmt: skip
    """Put latents onto others at a place, where a mask is 1."""
    base = destination.samples.movedim(1, -1)
    top = source.samples.movedim(1, -1)
    cells = pasted(
        base, top, x // destination.factor, y // destination.factor, mask=None if mask is None else mask.values,
        resize=resize_source,
    )  # fmt: skip
    return replace(destination, samples=cells.movedim(-1, 1))


@core("SetLatentNoiseMask", "latent/inpaint", "Set Latent Noise Mask")
def set_latent_noise_mask(samples: Latent, mask: Mask) -> Latent:
    """Say which part of latents is made anew."""
    return ours.set_latent_mask(samples, mask)


@core("LatentFromBatch", "latent/batch")
def latent_from_batch(samples: Latent, batch_index: Annotated[int, Range(0, 4095)] = 0, length: Batch = 1) -> Latent:
    """Take some latents out of a batch; each keeps its noise."""
    start = min(batch_index, len(samples.samples) - 1)
    return ours.select_latents(samples, start, min(length, len(samples.samples) - start))


@core("RepeatLatentBatch", "latent/batch", "Repeat Latent Batch")
def repeat_latent_batch(samples: Latent, amount: Batch = 1) -> Latent:
    """Repeat latents; each copy gets noise of its own."""
    return ours.repeat_latent(samples, amount)


@core("LatentBatch", "latent/batch")
def latent_batch(samples1: Latent, samples2: Latent) -> Latent:
    """Make one batch of latents."""
    return ours.batch_latents([samples1, samples2])


@core("RebatchLatents", "latent/batch")
def rebatch_latents(latents: list[Latent], batch_size: Batch = 1) -> list[Latent]:
    """Cut latents into batches of one size.

    Args:
        latents: The latents, one batch or many.
    """
    whole = ours.batch_latents(latents)
    count = len(whole.samples)
    return [ours.select_latents(whole, i, min(batch_size, count - i)) for i in range(0, count, batch_size)]


@core("LatentAdd", "latent/advanced")
def latent_add(samples1: Latent, samples2: Latent) -> Latent:
    """Add two latents."""
    return ours.add_latents(samples1, samples2)


@core("LatentSubtract", "latent/advanced")
def latent_subtract(samples1: Latent, samples2: Latent) -> Latent:
    """Subtract the second latents from the first."""
    return ours.add_latents(samples1, samples2, 1.0, -1.0)


@core("LatentMultiply", "latent/advanced")
def latent_multiply(samples: Latent, multiplier: Annotated[float, Range(-10, 10)] = 1.0) -> Latent:
    """Multiply latents by a number.

    Args:
        multiplier: The number.
    """
    return replace(samples, samples=samples.samples * multiplier)


@core("LatentInterpolate", "latent/advanced")
def latent_interpolate(samples1: Latent, samples2: Latent, ratio: Annotated[float, Range(0, 1)] = 1.0) -> Latent:
    """Mix two latents, direction and length apart.

    Args:
        ratio: Share of the first.
    """
    a, b = samples1.samples, samples2.samples
    if a.shape != b.shape:
        raise BadInput("The two latents differ in size; resize one of them.", field="samples2")
    lengths = [x.norm(dim=1, keepdim=True) for x in (a, b)]
    directions = [x / n.clamp(min=1e-12) for x, n in zip((a, b), lengths, strict=True)]
    mixed = directions[0] * ratio + directions[1] * (1 - ratio)
    mixed = mixed / mixed.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return replace(samples1, samples=mixed * (lengths[0] * ratio + lengths[1] * (1 - ratio)))


@core("LatentBlend", "_for_testing")
def latent_blend(samples1: Latent, samples2: Latent, blend_factor: Annotated[float, Range(0, 1)] = 0.5) -> Latent:
    """Mix two latents.

    Args:
        blend_factor: Share of the first.
    """
    return ours.blend_latents(samples2, samples1, blend_factor)


@core("LatentRotate", "latent/transform")
def latent_rotate(
    samples: Latent, rotation: Literal["none", "90 degrees", "180 degrees", "270 degrees"] = "none"
) -> Latent:
    """Turn latents clockwise.

    Args:
        rotation: By how much.
    """
    return ours.rotate_latent(samples, -(["none", "90 degrees", "180 degrees", "270 degrees"].index(rotation)))


@core("LatentFlip", "latent/transform")
def latent_flip(
    samples: Latent, flip_method: Literal["x-axis: vertically", "y-axis: horizontally"] = "x-axis: vertically"
) -> Latent:
    """Mirror latents.

    Args:
        flip_method: In which direction.
    """
    return ours.flip_latent(samples, "vertical" if flip_method.startswith("x") else "horizontal")


@core("LatentCrop", "latent/transform")
def latent_crop(samples: Latent, width: Side = 512, height: Side = 512, x: Border = 0, y: Border = 0) -> Latent:
    """Cut a rectangle out of latents."""
    return ours.crop_latent(samples, x, y, width, height)


@core("LatentBatchSeedBehavior", "latent/advanced")
def latent_batch_seed_behavior(samples: Latent, seed_behavior: Literal["random", "fixed"] = "fixed") -> Latent:
    """Give each of a batch noise of its own, or all of them the same.

    Args:
        seed_behavior: random: their own; fixed: that of the first.
    """
    first = samples.seeds[0] if samples.seeds else 0
    return replace(samples, seeds=None if seed_behavior == "random" else (first,) * len(samples.samples))


def _method(theirs: str) -> ours.Scaling:
    return METHODS.get(theirs, theirs)  # type: ignore[return-value]


@core("LatentConcat", "latent/advanced")
def latent_concat(samples1: Latent, samples2: Latent, dim: Literal["x", "-x", "y", "-y", "t", "-t"] = "x") -> Latent:
    """Put latents next to each other.

    Args:
        dim: Along which side; with a minus the second come first. t means batches here.
    """
    axis = {"x": -1, "y": -2, "t": 0}[dim[-1]]
    parts = [samples1.samples, samples2.samples]
    sides = [[n for i, n in enumerate(p.shape) if i != axis % 4] for p in parts]
    if sides[0] != sides[1]:
        raise BadInput("The two latents differ in their other sides; resize one of them.", field="samples2")
    return Latent(torch.cat(parts[::-1] if dim.startswith("-") else parts, axis), samples1.factor)


@core("LatentCut", "latent/advanced")
def latent_cut(
    samples: Latent, dim: Literal["x", "y", "t"] = "x", index: Annotated[int, Range(-16384, 16384)] = 0,
    amount: Annotated[int, Range(1, 16384)] = 1,
) -> Latent:  # fmt: skip
    """Take a strip out of latents, counted in cells.

    Args:
        dim: Along which side; t means batches here.
        index: Where it begins; negative counts from the end.
        amount: How wide it is.
    """
    axis = {"x": 3, "y": 2, "t": 0}[dim]
    length = samples.samples.shape[axis]
    start = min(index, length - 1) if index >= 0 else max(length + index, 0)
    cut = samples.samples.narrow(axis, start, min(amount, length - start)).clone()
    return Latent(cut, samples.factor)
