"""Where two prompts disagree about a picture, and how a map of that becomes a mask.

Couairon et al. 2022, arXiv 2210.11427 (DiffEdit), section 3.2, step 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from engine.diffusion.blend import dilated
from engine.diffusion.denoiser import Denoiser
from engine.diffusion.guidance import predict
from engine.diffusion.noise import NoiseSource
from engine.types import Conditioning

Method = Literal["paper", "mean ratio", "quantile", "otsu"]
Progress = Callable[[int, int], None]
CLAMP = 0.99  # quantile above which a map is cut before it is rescaled
FLAT = 1e-12  # a map that reaches no further is constant


def contrast(
    denoiser: Denoiser, x0: Tensor, prompts: tuple[Conditioning, Conditioning], sigma: float, seeds: list[int],
    *, progress: Progress = lambda done, total: None,
) -> Tensor:  # fmt: skip
    """Return mean |eps_query - eps_reference| over channels and noises, (B, h, w); each seed is a noise of its own.

    eps_q - eps_r = (x0_r - x0_q) / sigma whatever the network predicts. Guidance would only multiply the map, and the
    thresholds are relative, so none is used.
    """
    total = torch.zeros_like(x0[:, 0])
    for i, seed in enumerate(seeds):
        progress(i, len(seeds))
        x = x0 + sigma * NoiseSource.of(seed, len(x0)).initial(x0)
        query, reference = predict(denoiser, x, sigma, list(prompts))
        total += ((query - reference) / sigma).abs().mean(1)
    progress(len(seeds), len(seeds))
    return total / max(1, len(seeds))


def ratio(heat: Tensor) -> Tensor:
    """Return max / mean of each map (B,): below 2 the two prompts disagree everywhere alike; 0 if nowhere."""
    flat = heat.flatten(1).double()
    return flat.amax(1) / flat.mean(1).clamp_min(1e-30)


def scaled(heat: Tensor) -> Tensor:
    """Return maps cut at their 99th percentile and stretched to 0..1; a constant map is 0 everywhere."""
    return stretched(heat, heat)


def stretched(heat: Tensor, values: Tensor) -> Tensor:
    """Return where values (B, 1, 1) or (B, h, w) lie on the stretched maps, 0..1: a cut, or the cells themselves."""
    low, span = _reach(heat)
    at = (values.double() - low) / span.clamp_min(1e-30)
    return torch.where(span > FLAT, at, 0.0).clamp(0, 1).float()


def cut(heat: Tensor, method: Method, threshold: float) -> Tensor:
    """Return the value (B,) over which a cell of each map (B, h, w) is in its mask; infinite where none is.

    `paper`: at `threshold` of the stretched map; `mean ratio`: at 3 x threshold x the mean (diffusers: clamp at three
    times the mean, divide, cut at the threshold); `quantile`: at that quantile; `otsu`: where two groups part best,
    whatever the threshold.
    """
    if method == "mean ratio":
        return 3 * threshold * heat.double().mean((1, 2))
    if method == "quantile":
        return heat.double().flatten(1).quantile(threshold, dim=1)
    low, span = _reach(heat)
    shares = span.new_tensor([_otsu(one) if method == "otsu" else threshold for one in scaled(heat)])
    at = low + span * shares[:, None, None]
    return torch.where(span > FLAT, at, torch.inf)[:, 0, 0]


def to_mask(heat: Tensor, method: Method, threshold: float, *, grow: int = 0) -> Tensor:
    """Return masks of 0 and 1 of the cells of maps (B, h, w) over their cut, grown by `grow` cells."""
    return dilated((heat.double() > cut(heat, method, threshold)[:, None, None]).float(), grow)


def _reach(heat: Tensor) -> tuple[Tensor, Tensor]:
    """Return the least value of each map and how far its 99th percentile lies above, (B, 1, 1) each."""
    flat = heat.flatten(1).double()
    low = flat.amin(1)
    return low[:, None, None], (flat.quantile(CLAMP, dim=1) - low)[:, None, None]


def blurred(heat: Tensor, sigma: float) -> Tensor:
    """Return maps (B, h, w) under a Gaussian of `sigma` cells; 0 leaves them as they are."""
    if not sigma:
        return heat
    reach = min(int(3 * sigma + 0.5), min(heat.shape[-2:]) - 1)
    line = torch.exp(-(torch.arange(-reach, reach + 1).float() ** 2) / (2 * sigma**2))
    line = line / line.sum()
    padded = F.pad(heat[:, None], (reach,) * 4, mode="reflect")
    rows = F.conv2d(padded, line[None, None, None])
    return F.conv2d(rows, line[None, None, :, None])[:, 0]


def _otsu(values: Tensor) -> float:
    """Return the threshold that maximises the variance between the two sides, over 256 bins of 0..1."""
    counts, edges = np.histogram(values.numpy(), 256, (0, 1))
    weight = counts / counts.sum()
    below = weight.cumsum()
    centre = (edges[:-1] + edges[1:]) / 2
    mean = (weight * centre).cumsum()
    spread = (mean[-1] * below - mean) ** 2 / np.maximum(below * (1 - below), 1e-12)
    between = np.where((below > 0) & (below < 1), spread, 0)
    return float(edges[1:][between.argmax()])
