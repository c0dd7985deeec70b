"""MultiDiffusion: wide pictures and regions from a model of fixed size (Bar-Tal et al. 2023, arXiv 2302.08113)."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import torch

from engine.context import Context
from engine.diffusion.guiders.fused import coverage, views
from engine.errors import BadInput
from engine.node import Range, Seed, node
from engine.types import Guider, Heatmap, Image, Latent, Vae
from nodes.basics._pixels import SIZE_MAX, Fraction
from nodes.basics.vae import vae_decode

Pixels = Annotated[int, Range(0, SIZE_MAX, 8)]


@node(category="editing/multidiffusion")
def fuse_windows(
    guider: Guider,
    window: Pixels = 0,
    stride: Pixels = 0,
    wrap: bool = False,
    weight: Literal["uniform", "ramp", "gaussian"] = "uniform",
) -> Guider:
    """Let a model work on a canvas of any size, through overlapping windows that agree at every step.

    Any sampler works. The cost grows with the number of windows. Conditioning masks and areas are those of the whole
    canvas, so that prompts can move across a panorama.

    Args:
        guider: How each window is steered.
        window: Side of the windows in pixels; 0 takes the model's own size.
        stride: From window to window in pixels; smaller is smoother and slower. 0 takes a quarter of the window.
        wrap: Join the right edge to the left one, for views all around.
        weight: How a window counts towards its edges.
    """
    factor, own = int(guider.model.options["factor"]), int(guider.model.options["size"])
    side = max(1, (window or own) // factor)
    step = max(1, stride // factor if stride else side // 4)
    if step > side:
        raise BadInput("The stride is larger than the window: cells would be left out.", field="stride")
    return _fused(guider, window=side, stride=step, wrap=wrap, weight=weight)


@node(category="editing/multidiffusion")
def bootstrap_regions(
    ctx: Context,
    guider: Guider,
    vae: Vae,
    until: Fraction = 0.4,
    colors: Annotated[int, Range(1, 64)] = 20,
    seed: Seed = 0,
    *,
    center: Literal["none", "across", "both"] = "across",
) -> Guider:
    """Make things grow inside their masks: at first each masked prompt sees a plain colour around its region.

    Each prompt with a mask becomes a region of its own; one without is the background.

    Args:
        guider: How regions are steered; its positive prompts have masks.
        vae: The model's autoencoder.
        until: Part of the sampling in which it acts.
        colors: From how many random colours to draw.
        seed: Number of colours and noise; take that of the sampler.
        center: Move each region to the middle meanwhile, where models draw things, across alone or also up or down;
            without it, regions beside the middle often stay empty.
    """
    channels, factor = int(guider.model.options["channels"]), int(guider.model.options["factor"])
    shades = torch.rand(colors, 1, 1, 3, generator=torch.Generator().manual_seed(seed))
    with ctx.models.use(vae) as network:
        encoded = network.encode(shades.expand(-1, 8 * factor, 8 * factor, -1), tile=0, on_tile=ctx.progress)
    if encoded.shape[1] != channels:
        made = encoded.shape[1]
        raise BadInput(f"This autoencoder makes {made} channels, the model works on {channels}.", field="vae")
    plain = encoded.mean((2, 3), keepdim=True)  # (K, C, 1, 1)
    return _fused(guider, bootstrap={"until": until, "colours": plain, "seed": seed, "centre": center})


def _fused(guider: Guider, **options: object) -> Guider:
    """Return the guider inside a fused one; what it fuses already stays."""
    if guider.kind == "fused":
        return replace(guider, options={**guider.options, **options})
    return replace(guider, kind="fused", options={"inner": guider.kind, "options": guider.options, **options})


@node(category="editing/multidiffusion")
def window_coverage(guider: Guider, latent: Latent) -> Heatmap:
    """Show how many windows see each place of a canvas.

    Args:
        guider: A guider with fused windows.
        latent: The canvas.
    """
    h, w = latent.samples.shape[2:]
    side = int(guider.options.get("window", 0)) if guider.kind == "fused" else 0
    if not side:
        return Heatmap(torch.ones(1, h, w), latent.factor)
    windows = views(h, w, side, int(guider.options["stride"]), wrap=bool(guider.options["wrap"]))
    return Heatmap(coverage(h, w, windows)[None], latent.factor)


@node(category="editing/multidiffusion", title="VAE decode all around")
def vae_decode_wrapped(ctx: Context, latent: Latent, vae: Vae, margin: Annotated[int, Range(1, 64)] = 8) -> Image:
    """Turn a canvas that wraps around into a picture without a seam at its edges.

    Args:
        latent: The canvas.
        vae: The model's autoencoder.
        margin: So many cells are repeated at both edges and cut off again.
    """
    width = latent.samples.shape[-1]
    margin = min(margin, width)
    around = torch.cat([latent.samples[..., -margin:], latent.samples, latent.samples[..., :margin]], -1)
    image: Image = vae_decode(ctx, replace(latent, samples=around, mask=None), vae)
    cut = margin * latent.factor
    return Image(image.pixels[:, :, cut : cut + width * latent.factor].contiguous())
