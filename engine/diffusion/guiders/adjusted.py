"""Guidance with changes after it: perturbed or self-attention guidance, projected guidance, limits on its length.

A change is `{"kind": ..., options}`; they act in order. Every one is written on x0 predictions: `c` under the positive,
`u` under the negative conditioning, `guided` what came out so far.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.linalg import vector_norm
from torch.nn import functional as F

from engine.diffusion.attention import Hook, Layer, grid_of
from engine.diffusion.denoiser import Denoiser
from engine.diffusion.guidance import Conds, predict, rescaled
from engine.diffusion.guiders.perp_neg import across
from engine.diffusion.stepping import Denoise
from engine.types import Cond, Conditioning

BLUR_SIDE = 9  # pixels of the blur of self-attention guidance


@dataclass
class Moment:
    """One call of the guider: x at sigma, what was predicted there, and what a change keeps between calls."""

    denoiser: Denoiser
    x: Tensor
    sigma: float
    c: Tensor
    u: Tensor
    scale: float
    conds: Conds
    kept: dict[str, Any]
    attention: Tensor | None = None


def build(
    denoiser: Denoiser, conds: Conds, *, scale: float = 7.5, middle_scale: float | None = None,
    changes: Sequence[Mapping[str, Any]] = (),
) -> Denoise:  # fmt: skip
    """Guide `positive` over `negative` (without one, follow `positive`), then make the changes.

    `middle_scale` guides in two nested steps: u + scale (m + middle_scale (c - m) - u).
    """
    kept: dict[str, Any] = {}
    watches = any(change["kind"] == "sag" for change in changes)

    def guide(x: Tensor, sigma: float) -> Tensor:
        seen: list[Tensor] = []
        roles = [conds["positive"], conds.get("negative", conds["positive"]), *_middle(conds)]
        roles[1] = _hooked(roles[1], Hook("probs", _watch(seen), _middle_self)) if watches else roles[1]
        c, u, *m = predict(denoiser, x, sigma, roles)
        guided = u + scale * (c - u)
        if m and middle_scale is not None:
            guided = u + scale * (m[0] + middle_scale * (c - m[0]) - u)
        moment = Moment(denoiser, x, sigma, c, u, scale, conds, kept, seen[0][-len(x) :] if seen else None)
        for change in changes:
            options = {name: value for name, value in change.items() if name != "kind"}
            guided = CHANGES[change["kind"]](moment, guided, **options)
        return guided

    return guide


def _middle(conds: Conds) -> list[Conditioning]:
    return [conds["middle"]] if "middle" in conds else []


# Changes -------------------------------------------------------------------------------------------------------------


def rescale(moment: Moment, guided: Tensor, *, multiplier: float) -> Tensor:
    """Pull the deviation back to that of c (Lin et al. 2023, arXiv 2305.08891, section 3.4)."""
    return rescaled(moment.denoiser, moment.x, moment.sigma, guided, moment.c, multiplier)


def perturbed(moment: Moment, guided: Tensor, *, scale: float) -> Tensor:
    """Push away from what is said when each place sees only itself, midway (Ahn et al. 2024, arXiv 2403.17377)."""
    blind = Hook("probs", lambda layer, probs: torch.eye(probs.shape[-1]).to(probs).expand_as(probs), _middle_self)
    worse = predict(moment.denoiser, moment.x, moment.sigma, [_hooked(moment.conds["positive"], blind)])[0]
    return guided + scale * (moment.c - worse)


def self_attention(moment: Moment, guided: Tensor, *, scale: float, blur_sigma: float) -> Tensor:
    """Push away from a picture blurred where the model looks most (Hong et al. 2022, arXiv 2210.00939, eq. 16-18)."""
    if moment.attention is None:
        return guided
    h, w = moment.u.shape[2:]
    looked = moment.attention.mean(1).sum(1)  # (B, heads, L, L) -> (B, L), how much each place is looked at
    mask = (looked.reshape(-1, 1, *grid_of((h, w), looked.shape[1])) > 1).to(moment.u)
    mask = F.interpolate(mask, (h, w))
    degraded = moment.u * (1 - mask) + _blurred(moment.u, blur_sigma) * mask
    noisy = degraded + moment.x - moment.u
    role = moment.conds.get("negative", moment.conds["positive"])
    worse = predict(moment.denoiser, noisy, moment.sigma, [role])[0]
    return guided + scale * (degraded - worse)


def projected(moment: Moment, guided: Tensor, *, eta: float, norm_threshold: float, momentum: float) -> Tensor:
    """Bound the pull and keep the part across c whole (Sadat et al. 2024, arXiv 2410.02416, algorithm 1)."""
    difference = moment.c - moment.u
    if momentum:
        average = moment.kept.get("apg", torch.zeros_like(difference)) * momentum + difference
        moment.kept["apg"] = difference = average
    dims = (1, 2, 3)
    if norm_threshold > 0:
        length = vector_norm(difference, dim=dims, keepdim=True)
        difference = difference * (norm_threshold / length.clamp(min=1e-12)).clamp(max=1)
    unit = moment.c / vector_norm(moment.c, dim=dims, keepdim=True).clamp(min=1e-12)
    along = (difference * unit).sum(dims, keepdim=True) * unit
    result: Tensor = moment.c + (moment.scale - 1) * (difference - along + eta * along)
    return result


def zero_star(moment: Moment, guided: Tensor) -> Tensor:
    """Scale u to fit c best before guiding (Fan et al. 2025, arXiv 2503.18886, eq. 9), both as noise."""
    c, u = moment.x - moment.c, moment.x - moment.u
    dims = (1, 2, 3)
    fit = (c * u).sum(dims, keepdim=True) / u.square().sum(dims, keepdim=True).clamp(min=1e-12)
    return moment.x - (fit * u + moment.scale * (c - fit * u))


def bounded(moment: Moment, guided: Tensor, *, strength: float) -> Tensor:
    """Let the guided prediction be no longer than c at any place."""
    ratio = moment.c.norm(dim=1, keepdim=True) / guided.norm(dim=1, keepdim=True).clamp(min=1e-8)
    shorter: Tensor = guided * ratio.clamp(0, 1) * strength
    return shorter


def weaker_noise(moment: Moment, guided: Tensor, *, scaling_factor: float) -> Tensor:
    """Divide the predicted noise, against exposure bias (Ning et al. 2023, arXiv 2308.15321, eq. 12)."""
    return moment.x - (moment.x - guided) / scaling_factor


def tangential(moment: Moment, guided: Tensor) -> Tensor:
    """Keep of u only what lies along the main direction of c and u (Kwon et al. 2025, arXiv 2503.18137), as noise."""
    both = torch.stack([moment.x - moment.c, moment.x - moment.u], 1).flatten(2)  # (B, 2, C h w)
    main = torch.linalg.svd(both.double(), full_matrices=False).Vh[:, :1]  # (B, 1, C h w)
    along = (both[:, 1:].double() * main).sum(-1, keepdim=True) * main
    u: Tensor = moment.x - along.to(both).reshape(moment.u.shape)
    return u + moment.scale * (moment.c - u)


def frequencies(moment: Moment, guided: Tensor, *, scale_low: float, scale_high: float, freq_cutoff: int) -> Tensor:
    """Scale low and high frequencies of the pull c - u apart (Huang et al. 2025, arXiv 2504.02154)."""
    pull = torch.fft.fftshift(torch.fft.fft2((moment.c - moment.u).float()), dim=(-2, -1))
    h, w = pull.shape[-2:]
    scales = torch.full((h, w), float(scale_high))
    row, column = h // 2, w // 2
    scales[max(0, row - freq_cutoff) : row + freq_cutoff, max(0, column - freq_cutoff) : column + freq_cutoff] = (
        scale_low
    )
    scaled: Tensor = torch.fft.ifft2(torch.fft.ifftshift(pull * scales.to(pull.device), dim=(-2, -1))).real.to(moment.u)
    return moment.u + moment.scale * scaled


def perpendicular(moment: Moment, guided: Tensor, *, empty: Conditioning, neg_scale: float) -> Tensor:
    """Push away from u only across c, both less the prediction under an `empty` prompt (see `perp_neg`)."""
    e = predict(moment.denoiser, moment.x, moment.sigma, [empty])[0]
    return across(moment.c, moment.u, e, moment.scale, neg_scale)


CHANGES: Mapping[str, Callable[..., Tensor]] = {
    "rescale": rescale, "pag": perturbed, "sag": self_attention, "apg": projected, "cfg_zero_star": zero_star,
    "cfg_norm": bounded, "epsilon_scaling": weaker_noise, "tcfg": tangential, "fresca": frequencies,
    "perp_neg": perpendicular,
}  # fmt: skip


def _hooked(conditioning: Conditioning, hook: Hook) -> Conditioning:
    def hooked(cond: Cond) -> Cond:
        return replace(cond, extra={**cond.extra, "attention": (*cond.extra.get("attention", ()), hook)})

    return Conditioning(tuple(map(hooked, conditioning.conds)))


def _middle_self(layer: Layer) -> bool:
    return layer.place == "mid" and not layer.cross


def _watch(seen: list[Tensor]) -> Callable[[Layer, Tensor], Tensor]:
    def call(layer: Layer, probs: Tensor) -> Tensor:
        seen.append(probs)
        return probs

    return call


def _blurred(x: Tensor, sigma: float) -> Tensor:
    """Blur (B, C, h, w) by a bell of BLUR_SIDE cells a side; the edge is mirrored where it is wide enough."""
    half = BLUR_SIDE // 2
    line = torch.exp(-(torch.arange(-half, half + 1) ** 2) / (2 * max(sigma, 1e-3) ** 2))
    kernel = (line[:, None] * line[None] / line.sum() ** 2).to(x).expand(x.shape[1], 1, -1, -1)
    padded = F.pad(x, (half,) * 4, mode="reflect" if half < min(x.shape[2:]) else "replicate")
    return F.conv2d(padded, kernel, groups=x.shape[1])
