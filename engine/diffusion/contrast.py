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
    flat = heat.flatten(1).double()
    top, low = flat.quantile(CLAMP, dim=1, keepdim=True), flat.amin(1, keepdim=True)
    span = top - low
    stretched = torch.where(span > 1e-12, (flat - low) / span.clamp_min(1e-30), torch.zeros_like(flat))
    return stretched.clamp(0, 1).reshape(heat.shape).float()


def to_mask(heat: Tensor, method: Method, threshold: float, *, smooth: float = 0.0, grow: int = 0) -> Tensor:
    """Turn maps (B, h, w) into masks of 0 and 1.

    `paper`: over `threshold` of the stretched map; `mean ratio`: over 3 x threshold x the mean (diffusers: clamp at
    three times the mean, divide, cut at the threshold); `quantile`: the cells over that quantile; `otsu`: where two
    groups part best, whatever the threshold. `smooth`: Gaussian blur before, in cells; `grow`: dilation after.
    """
    heat = _blurred(heat, smooth) if smooth else heat
    spread = scaled(heat)
    if method == "mean ratio":
        cut = 3 * threshold * heat.double().mean((1, 2), keepdim=True)
        mask = (heat.double() > cut) & (cut > 0)
    elif method == "quantile":
        mask = heat > heat.flatten(1).quantile(threshold, dim=1)[:, None, None]
    elif method == "otsu":
        mask = torch.stack([one > _otsu(one) for one in spread])
    else:
        mask = spread > threshold
    return dilated(mask.float(), grow)


def _blurred(heat: Tensor, sigma: float) -> Tensor:
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
