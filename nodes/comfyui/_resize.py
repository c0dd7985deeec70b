"""Resizing and pasting as ComfyUI's classes do it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from nodes.basics._pixels import check_room, place, resample


def cut_to_shape(pixels: Tensor, width: int, height: int) -> Tensor:
    """Cut the middle of (B, H, W, C) that has the proportions of width x height."""
    h, w = pixels.shape[1:3]
    x = round((w - w * (width / height) / (w / h)) / 2) if w / h > width / height else 0
    y = round((h - h * (w / h) / (width / height)) / 2) if w / h < width / height else 0
    return pixels[:, y : h - y, x : w - x]


def scaled(pixels: Tensor, width: int, height: int, method: str, *, crop: str = "disabled") -> Tensor:
    """Resize (B, H, W, C) to (B, height, width, C): lanczos through Pillow, the others torch's, not anti-aliased."""
    check_room(len(pixels), height, width)
    cut = cut_to_shape(pixels, width, height) if crop == "center" else pixels
    if method == "lanczos":
        return resample(cut, width, height, "lanczos")
    planes = F.interpolate(cut.movedim(-1, 1), size=(height, width), mode=method)  # (B, H, W, C) -> (B, C, h, w)
    return planes.movedim(1, -1)


def pasted(base: Tensor, top: Tensor, x: int, y: int, *, mask: Tensor | None, resize: bool) -> Tensor:
    """Return `base` (B, H, W, C) with `top` laid on it at (x, y), where `mask` (B, h, w) is 1."""
    if resize:
        top = scaled(top, base.shape[2], base.shape[1], "bilinear")
    weight = top.new_ones(1, *top.shape[1:3]) if mask is None else mask
    weight = F.interpolate(weight[:, None], size=top.shape[1:3], mode="bilinear")[:, 0]  # to the size of `top`
    count = len(base)
    top, weight = (_repeated(t, count) for t in (top, weight[..., None]))
    out = base.clone()
    into, patch = place(out, top, x, y)
    _, share = place(out, weight, x, y)
    into.copy_(torch.lerp(into, patch, share))
    return out


def _repeated(batch: Tensor, count: int) -> Tensor:
    """Repeat or cut a batch to a length, as ComfyUI does."""
    return batch.repeat(-(-count // len(batch)), *[1] * (batch.ndim - 1))[:count]
