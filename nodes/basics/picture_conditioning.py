"""What models read beside words: sizes (SDXL), a picture to fill in (inpainting), a picture to edit (instructions)."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, NamedTuple

import torch
import torch.nn.functional as F

from engine.context import Context
from engine.errors import BadInput
from engine.node import Range, node
from engine.types import Cond, Conditioning, Image, Latent, Mask, Vae
from nodes.basics.vae import vae_encode, vae_encode_inpaint

Side = Annotated[int, Range(0, 16384, 8)]
CENTRE = 0.5  # of the values, where a picture is neither black nor white


class Inpainted(NamedTuple):
    """Prompts that carry the picture around the mask, and latents of which the masked part changes."""

    positive: Conditioning
    negative: Conditioning
    latent: Latent


class Instructed(NamedTuple):
    """Three conditions for a dual CFG guider, and latents to begin with."""

    positive: Conditioning
    middle: Conditioning
    negative: Conditioning
    latent: Latent


@node(category="conditioning")
def size_conditioning(
    conditioning: Conditioning,
    width: Side = 1024,
    height: Side = 1024,
    *,
    crop_x: Side = 0,
    crop_y: Side = 0,
    target_width: Side = 0,
    target_height: Side = 0,
    score: Annotated[float, Range(0, 10, 0.1)] = 6.0,
) -> Conditioning:
    """Tell SDXL what size a picture had before training scaled and cropped it; without it, the size that is made.

    Small sizes give soft pictures, crops cut off objects. SDXL's refiner reads the score in place of the target size.

    Args:
        conditioning: The prompt; give a negative prompt sizes of its own.
        width: Width that the picture is said to have had.
        height: Height that it is said to have had.
        crop_x: How much is said to be cut off at the left.
        crop_y: How much is said to be cut off at the top.
        target_width: Width that it is said to be made for; 0 takes the width.
        target_height: Height that it is said to be made for; 0 takes the height.
        score: How beautiful it is said to be; 6 for the prompt and 2.5 for the negative one are usual.
    """
    numbers = [height, width, crop_y, crop_x, target_height or height, target_width or width, score]
    return _carrying(conditioning, "sizes", torch.tensor([numbers], dtype=torch.float32))


@node(category="conditioning")
def inpaint_conditioning(
    ctx: Context, positive: Conditioning, negative: Conditioning, image: Image, mask: Mask, vae: Vae
) -> Inpainted:
    """Show an inpainting model (9 input channels) the picture around the mask.

    Args:
        positive: What the picture should show.
        negative: What it should not show.
        image: The picture.
        mask: Where to fill it in, 1 = fill; of the picture's size.
        vae: The autoencoder of the model.
    """
    latent = vae_encode_inpaint(ctx, image, mask, vae)
    hole = (mask.values >= CENTRE).float()[..., None]  # (B, H, W, 1)
    around = vae_encode(ctx, Image(image.pixels * (1 - hole) + CENTRE * hole), vae).samples
    h, w = around.shape[2:]
    height, width = h * latent.factor, w * latent.factor
    cells = F.interpolate(hole[:, :height, :width, 0][:, None], size=(h, w), mode="nearest")  # (B, 1, h, w)
    concat = torch.cat([cells.expand(len(around), 1, h, w), around], 1)
    whole = replace(latent, mask=None)
    return Inpainted(_carrying(positive, "concat", concat), _carrying(negative, "concat", concat), whole)


@node(category="conditioning")
def instruct_conditioning(
    ctx: Context, positive: Conditioning, negative: Conditioning, image: Image, vae: Vae
) -> Instructed:
    """Show an instruction model (8 input channels, InstructPix2Pix) the picture to edit.

    Brooks et al. 2023, arXiv 2211.09800: feed all three to a dual CFG guider. The picture's latent is not scaled.

    Args:
        positive: The instruction.
        negative: What it should not show; mostly empty.
        image: The picture.
        vae: The autoencoder of the model.
    """
    latent = vae_encode(ctx, image, vae)
    with ctx.models.use(vae) as network:
        raw = latent.samples / float(network.latents.scale)
    empty = replace(latent, samples=torch.zeros_like(latent.samples))
    with_picture = _carrying(negative, "concat", raw)
    nothing = _carrying(negative, "concat", torch.zeros_like(raw))
    return Instructed(_carrying(positive, "concat", raw), with_picture, nothing, empty)


def _carrying(conditioning: Conditioning, name: str, value: torch.Tensor) -> Conditioning:
    """Return the conditions with one more thing for the network to read."""
    return Conditioning(tuple(_with(cond, name, value) for cond in conditioning.conds))


def _with(cond: Cond, name: str, value: torch.Tensor) -> Cond:
    if cond.tokens.shape[0] not in (1, len(value)) and len(value) != 1:
        raise BadInput(
            f"There are {cond.tokens.shape[0]} prompts and {len(value)} pictures; give equally many, or one."
        )
    return replace(cond, extra={**cond.extra, name: value})
