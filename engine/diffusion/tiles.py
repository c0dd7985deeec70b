"""A function of pictures applied in overlapping tiles that fade into one another, to bound its memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

OnTile = Callable[[int, int], None]
"""(done, total): called after each tile; may raise to cancel."""


def silent(done: int, total: int) -> None:
    """Ignore progress."""


def tiled(
    function: Callable[[Tensor], Tensor],
    x: Tensor,
    side: int,
    *,
    scale: float,
    overlap: float,
    grid: int = 1,
    on_tile: OnTile = silent,
) -> Tensor:
    """Apply `function` to x (B, C, H, W) in tiles of `side`, blended with weights that rise linearly over the overlap.

    `scale` is an output side over an input side. Tiles begin at multiples of `grid`, which divides H, W and `side`.
    With `side` 0, or no smaller than x, `function` is called once.
    """
    height, width = x.shape[2:]
    if not side or side >= max(height, width):
        out = function(x)
        on_tile(1, 1)
        return out
    places = list(product(_starts(height, side, overlap, grid), _starts(width, side, overlap, grid)))
    total = weight = x.new_zeros(())
    for done, (top, left) in enumerate(places, 1):
        piece = function(x[:, :, top : top + side, left : left + side])
        if done == 1:
            size = (round(height * scale), round(width * scale))
            total, weight = piece.new_zeros(*piece.shape[:2], *size), piece.new_zeros(*size)
        h, w = piece.shape[2:]
        y, z = round(top * scale), round(left * scale)
        fade = _ramp(h, overlap)[:, None] * _ramp(w, overlap)[None, :]
        total[:, :, y : y + h, z : z + w] += piece * fade.to(piece)
        weight[y : y + h, z : z + w] += fade.to(piece)
        on_tile(done, len(places))
    return total / weight


def _starts(length: int, side: int, overlap: float, grid: int) -> list[int]:
    """Return evenly spread tile positions that cover `length` with at least the given overlap."""
    if side >= length:
        return [0]
    step = max(1, int(side * (1 - overlap)))
    count = math.ceil((length - side) / step) + 1
    return [round(i * (length - side) / (count - 1) / grid) * grid for i in range(count)]


def _ramp(length: int, overlap: float) -> Tensor:
    """Return weights (length,) that rise from the edges over the overlap and are 1 in between."""
    distance = torch.arange(length, dtype=torch.float64) + 0.5
    edge = torch.minimum(distance, length - distance)
    return (edge / max(1.0, overlap * length)).clamp(max=1.0)


# Memory ---------------------------------------------------------------------------------------------------------------

COPIES = 5  # of the widest activations alive at once in a convolutional autoencoder
WHOLE_MAX = 2 << 30  # bytes up to which a picture is taken whole
TILE = 512


def working_bytes(batch: int, height: int, width: int, channels: int, tile: int = 0) -> int:
    """Estimate the bytes that an autoencoder needs with `channels` float32 channels at full resolution."""
    h, w = (min(side, tile) if tile else side for side in (height, width))
    return batch * h * w * channels * 4 * COPIES


def fitting(batch: int, height: int, width: int, channels: int) -> int:
    """Return the tile side to use: 0 (whole) where memory allows."""
    return 0 if working_bytes(batch, height, width, channels) <= WHOLE_MAX else TILE
