"""A decoder fitted to one edited picture, so that its background comes out exactly (arXiv 2206.02779, section 3.3)."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

import torch

from engine.context import Context
from engine.diffusion.fitting import refit_decoder
from engine.errors import BadInput
from engine.node import Range, node
from engine.types import Image, Latent, Mask, Plot, Vae
from nodes.basics._pixels import match


class Refitted(NamedTuple):
    """The picture by the fitted decoder, and how fitting went."""

    image: Image
    curve: Plot


@node(category="editing/blend", title="VAE decode, fitted")
def decode_refitted(
    ctx: Context,
    latent: Latent,
    vae: Vae,
    original: Image,
    mask: Mask,
    steps: Annotated[int, Range(0, 2000)] = 75,
    *,
    rate: Annotated[float, Range(0, 1)] = 1e-4,
    mode: Literal["weights", "latent"] = "weights",
) -> Refitted:
    """Decode an edit with its background as in the original, without the seam that pasting can leave.

    A copy of the decoder is fitted to this one picture; the autoencoder itself stays as it is.

    Args:
        latent: The edit.
        vae: The autoencoder.
        original: The picture as it was, in the size of the result.
        mask: 1 is where it was edited.
        steps: How long to fit.
        rate: How large each step is; about 0.1 for the latent.
        mode: weights fits the decoder, latent the latent.
    """
    if not len(latent.samples) == len(original.pixels) == len(mask.values) == 1:
        raise BadInput("A decoder is fitted to one picture with one mask at a time.", field="latent")
    samples = latent.samples.float()
    with ctx.models.use(vae) as network:
        with torch.no_grad():
            edited = network.decode(samples)
        pixels, values = match(original.pixels, mask.values, "Original and mask")
        if pixels.shape != edited.shape:
            sides = " x ".join(map(str, edited.shape[1:3]))
            raise BadInput(f"The original must be as large as the edit, {sides}; resize it.", field="original")
        image, learnt = refit_decoder(
            network, samples, edited, pixels, values, ctx, steps=steps, rate=rate, mode=mode
        )  # fmt: skip
    return Refitted(Image(image), learnt.plot)
