"""DiffEdit: the model finds the mask from two prompts, then edits inside it (Couairon et al. 2022, 2210.11427)."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from engine.context import Context
from engine.diffusion import contrast as contrasts
from engine.diffusion.contrast import Method
from engine.diffusion.sample import working_bytes
from engine.node import Range, Seed, node
from engine.types import Conditioning, Heatmap, Image, Latent, Mask, Model, Plot
from nodes.basics._pixels import Fraction, match_batches, resample

CONTRAST_LOW = 2.0  # max / mean below which the mask means little
BINS = 32


class Masked(NamedTuple):
    """A mask in pixels, the map as a picture with the mask's outline, what to think of it, and where it was cut."""

    mask: Mask
    image: Image
    report: str
    histogram: Plot


@node(category="editing/diffedit")
def noise_contrast(
    ctx: Context,
    model: Model,
    latent: Latent,
    query: Conditioning,
    reference: Conditioning,
    level: Annotated[float, Range(0.01, 1, 0.01)] = 0.5,
    *,
    count: Annotated[int, Range(1, 100)] = 10,
    seed: Seed = 0,
) -> Heatmap:
    """Find where two prompts disagree about a picture: there an edit from one to the other happens.

    Args:
        model: The model.
        latent: The picture.
        query: What it should become.
        reference: What it is; an empty prompt works too.
        level: Part of the noise levels at which to ask.
        count: Over how many noises to average.
        seed: Number of the first noise.
    """
    with ctx.models.use(model, working_bytes=working_bytes(latent)) as network:
        sigma = network.levels.sigma(max(1, round(level * network.levels.count)))
        stride = len(latent.samples)
        seeds = [seed + i * stride for i in range(count)]
        clean = latent.samples.float()
        prompts = (query, reference)
        values = contrasts.contrast(network.denoiser, clean, prompts, sigma, seeds, progress=ctx.progress)
    return Heatmap(values, latent.factor)


@node(category="editing/masks")
def heatmap_to_mask(
    heatmap: Heatmap,
    method: Method = "paper",
    threshold: Fraction = 0.5,
    smooth: Annotated[float, Range(0, 8, 0.25)] = 0.0,
    grow: Annotated[int, Range(0, 16)] = 1,
) -> Masked:
    """Cut a heat map into a mask, and show both; the histogram has the cut in it: a good one lies between two hills.

    Args:
        heatmap: Where something matters, and how much.
        method: paper cuts the map stretched to 0..1; mean ratio at three times the mean times the threshold; quantile
            takes the cells above that share; otsu finds the cut itself.
        threshold: Where to cut; higher masks are smaller.
        smooth: Blur before cutting, in latent cells.
        grow: Latent cells to add around, so that no rim of the old object is left.
    """
    heat = contrasts.blurred(heatmap.values, smooth)
    mask = contrasts.to_mask(heat, method, threshold, grow=grow)
    large = mask.repeat_interleave(heatmap.factor, 1).repeat_interleave(heatmap.factor, 2)  # (B, H, W)
    strength = float(contrasts.ratio(heatmap.values).min())
    report = f"The map's peak is {strength:.1f} times its mean; the mask covers {float(mask.mean()):.0%}."
    if not bool((heatmap.values.flatten(1).amax(1) > 0).all()):
        report = "The two prompts agree everywhere: the mask is empty."
    elif strength < CONTRAST_LOW:
        report += " Careful: the edit has no clear place, as for a change of style; paint a mask or edit everything."
    cuts = contrasts.cut(heat, method, threshold)
    return Masked(Mask(large), _picture(contrasts.scaled(heatmap.values), large), report, _histogram(heat, cuts))


def _histogram(heat: Tensor, cuts: Tensor) -> Plot:
    """Count the cells of all maps (B, h, w), each stretched to 0..1, with a line up and down at each map's cut (B,)."""
    counts, edges = np.histogram(contrasts.scaled(heat).numpy(), BINS, (0, 1))
    shares = counts / counts.sum()
    bars = tuple((float(x), float(y)) for k, y in enumerate(shares) for x in edges[k : k + 2])
    at = contrasts.stretched(heat, cuts[:, None, None]).flatten().tolist()
    lines = tuple((x, y) for x in at for y in (0.0, float(shares.max()), 0.0))
    return Plot({"cells": bars, "threshold": lines}, "difference, from least to most", "share of cells")


def _picture(scaled: Tensor, mask: Tensor) -> Image:
    """Return maps (B, h, w) of 0..1 in colours at the size of the masks (B, H, W), the masks outlined in white."""
    height, width = mask.shape[1:]
    fine = resample(scaled, width, height, "bicubic").numpy()
    pictures = []
    for heat, where in zip(fine, mask.numpy(), strict=True):
        colours = cv2.applyColorMap((heat * 255).round().astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1].copy()
        lines, _ = cv2.findContours(where.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        pictures.append(cv2.drawContours(colours, lines, -1, (255, 255, 255), 1))
    return Image(torch.from_numpy(np.stack(pictures)).float() / 255)


@node(category="editing/masks")
def show_heatmap(heatmap: Heatmap, image: Image | None = None, opacity: Fraction = 0.6) -> Image:
    """Look at a heat map, alone or over the picture that it is of.

    Args:
        heatmap: The map.
        image: The picture under it, of any size.
        opacity: How much of the map covers the picture.
    """
    height, width = (side * heatmap.factor for side in heatmap.values.shape[1:])
    shown = _picture(contrasts.scaled(heatmap.values), torch.zeros(len(heatmap.values), height, width)).pixels
    if image is None:
        return Image(shown)
    under, shown = match_batches(resample(image.pixels, width, height), shown, "Image and heat map")
    return Image(under.lerp(shown, opacity))
