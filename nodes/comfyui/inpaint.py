"""Conditioning of models that look at a picture: inpainting and instructions."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from engine.context import Context
from engine.types import Conditioning, Image, Latent, Mask, Vae
from nodes.basics import vae as codes
from nodes.basics.latent import set_latent_mask
from nodes.basics.mask import resize_mask
from nodes.comfyui._core import core


class Prepared(NamedTuple):
    """Both prompts with the picture, and where to begin."""

    positive: Conditioning
    negative: Conditioning
    latent: Latent


@core("InpaintModelConditioning", "conditioning/inpaint")
def inpaint_model_conditioning(
    ctx: Context, positive: Conditioning, negative: Conditioning, vae: Vae, pixels: Image, mask: Mask,
    *, noise_mask: bool = True,
) -> Prepared:  # fmt: skip
    """Show an inpainting model its picture, grey under the mask.

    Args:
        noise_mask: Whether only the masked part is made anew.
    """
    height, width = pixels.pixels.shape[1:3]
    whole = resize_mask(mask, width, height).values.round()  # (B, H, W)
    grey = torch.where(whole[..., None] > 0, torch.full_like(pixels.pixels, 0.5), pixels.pixels)
    seen, latent = (codes.vae_encode(ctx, Image(p), vae) for p in (grey, pixels.pixels))
    masked = set_latent_mask(latent, Mask(whole))
    cells = (masked.mask if masked.mask is not None else seen.samples[:, 0]).round()[:, None]  # (B, 1, h, w)
    concat = torch.cat([cells, seen.samples], 1)
    return Prepared(_shown(positive, concat), _shown(negative, concat), masked if noise_mask else latent)


@core("InstructPixToPixConditioning", "conditioning/instructpix2pix")
def instruct_pix_to_pix_conditioning(
    ctx: Context, positive: Conditioning, negative: Conditioning, vae: Vae, pixels: Image
) -> Prepared:
    """Show a model of instructions the picture that it is to change; it reads latents as the autoencoder gives them."""
    latent = codes.vae_encode(ctx, pixels, vae)
    with ctx.models.use(vae) as network:
        raw = latent.samples / torch.as_tensor(network.latents.scale) + torch.as_tensor(network.latents.shift)
    return Prepared(
        _shown(positive, raw), _shown(negative, raw), replace(latent, samples=torch.zeros_like(latent.samples))
    )


def _shown(conditioning: Conditioning, concat: Tensor) -> Conditioning:
    conds = (replace(c, extra={**c.extra, "concat": concat}) for c in conditioning.conds)
    return Conditioning(tuple(conds))
