"""Push away from a negative prompt only where it does not share the positive one's direction."""

from __future__ import annotations

from torch import Tensor

from engine.diffusion.denoiser import Denoiser
from engine.diffusion.guidance import Conds, predict
from engine.diffusion.stepping import Denoise


def build(denoiser: Denoiser, conds: Conds, *, scale: float = 7.5, negative_scale: float = 1.0) -> Denoise:
    """Guide `positive` away from `negative`, across it, both less the `empty` prompt."""
    roles = [conds[role] for role in ("positive", "negative", "empty")]

    def guide(x: Tensor, sigma: float) -> Tensor:
        c, n, e = predict(denoiser, x, sigma, roles)
        return across(c, n, e, scale, negative_scale)

    return guide


def across(c: Tensor, n: Tensor, e: Tensor, scale: float, negative_scale: float) -> Tensor:
    """Return e + scale (p - w n'), p and n less e, n' the part of n across p, w `negative_scale`.

    Armandpour et al. 2023, arXiv 2304.04968, eq. 8.
    """
    main, away = c - e, n - e
    dims = tuple(range(1, c.ndim))
    shared = (away * main).sum(dims, keepdim=True) / main.square().sum(dims, keepdim=True).clamp(min=1e-12)
    return e + scale * (main - negative_scale * (away - shared * main))
