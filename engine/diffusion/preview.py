"""Small pictures of a latent: a linear map from latent channels to colours, no decoder."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d


def fit(latents: Tensor, images: Tensor) -> Tensor:
    """Return the least-squares factors (C + 1, 3) of a linear map with offset (last row) to colours.

    `latents`: (B, C, h, w); `images`: (B, H, W, 3), averaged down to the latent grid.
    """
    h, w = latents.shape[-2:]
    small = adaptive_avg_pool2d(images.movedim(-1, 1).float(), (h, w))  # (B, 3, h, w)
    colours = small.movedim(1, -1).reshape(-1, 3)  # (B h w, 3)
    factors: Tensor = torch.linalg.lstsq(_with_offset(latents), colours).solution
    return factors


def to_rgb(latent: Tensor, factors: Tensor) -> npt.NDArray[np.uint8]:
    """Return the picture (h, w, 3) of one latent (C, h, w); factors (C + 1, 3) as `fit` makes them."""
    h, w = latent.shape[-2:]
    rgb = _with_offset(latent.detach()[None].cpu()) @ factors.float()
    pixels: npt.NDArray[np.uint8] = (rgb.clamp(0, 1) * 255).round().byte().reshape(h, w, 3).numpy()
    return pixels


def _with_offset(latents: Tensor) -> Tensor:
    rows = latents.float().movedim(1, -1).flatten(0, -2)  # (B, C, h, w) -> (B h w, C)
    return torch.cat([rows, rows.new_ones(len(rows), 1)], 1)
