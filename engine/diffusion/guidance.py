"""Guiders: how network calls combine into one prediction. A guider is a function (x, sigma) -> x0.

Guiders that are linear with weights summing to 1 give the same picture whether they act on eps, v, x0 or flow
predictions, so they are written on x0; one that uses norms says in which space it acts. `KINDS` names the
guiders that workflows can ask for; regions and windows can be any other function of that shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from engine.diffusion import discovery, guiders
from engine.diffusion.denoiser import Denoiser, from_x0, to_x0
from engine.diffusion.stepping import Denoise
from engine.errors import BadInput, NotFound
from engine.types import Cond, Conditioning

Conds = Mapping[str, Conditioning]
"""Conditioning by role: `positive`, `negative`, and what a guider adds."""

LEARNT_SCALE = "learnt_scale"  # in `Cond.extra`: the only guidance that a learnt negative prompt is good for
AREA_CELLS = "area_cells"  # in `Cond.extra`: an area in latent cells (x, y, width, height) instead of fractions


def build(kind: str, denoiser: Denoiser, conds: Conds, **options: Any) -> Denoise:
    """Make the guider called `kind`, one of this file or of the package `guiders`, from conditioning and options."""
    if kind in KINDS:
        return KINDS[kind](denoiser, conds, **options)
    if kind not in discovery.names(guiders):
        raise NotFound(f"There is no guider {kind!r}. Try {', '.join((*KINDS, *discovery.names(guiders)))}.")
    made: Denoise = discovery.load(guiders, kind, "guider").build(denoiser, conds, **options)
    return made


def conditional(denoiser: Denoiser, conds: Conds) -> Denoise:
    """Use the `positive` conditioning alone."""
    return lambda x, sigma: mix(denoiser, x, sigma, [(1.0, _role(conds, "positive"))])


def cfg(
    denoiser: Denoiser,
    conds: Conds,
    *,
    scale: float = 7.5,
    rescale: float = 0.0,
    start: float = 0.0,
    end: float = 1.0,
) -> Denoise:
    """Classifier-free guidance u + scale (c - u) of `positive` c over `negative` u.

    Ho and Salimans 2022, arXiv 2207.12598. It acts in the part start..end of sampling (an interval as in
    Kynkaanniemi et al. 2024, arXiv 2404.07724); outside, and at scale 1, the network is called for c alone.
    `rescale` pulls the deviation of the result towards c's.
    """
    positive, negative = _role(conds, "positive"), _role(conds, "negative")
    _check_learnt(negative, scale)

    def guide(x: Tensor, sigma: float) -> Tensor:
        if scale == 1 or not holds(denoiser, sigma, start, end):
            return mix(denoiser, x, sigma, [(1.0, positive)])
        c, u = predict(denoiser, x, sigma, [positive, negative])
        guided = u + scale * (c - u) if denoiser.combine is None else denoiser.combine(x, sigma, c, u, scale)
        return rescaled(denoiser, x, sigma, guided, c, rescale) if rescale else guided

    return guide


def _check_learnt(negative: Conditioning, scale: float) -> None:
    for learnt in (c.extra[LEARNT_SCALE] for c in negative.conds if LEARNT_SCALE in c.extra):
        if learnt != scale:
            raise BadInput(
                f"The negative prompt was learnt for guidance {learnt:g}, and {scale:g} is asked for, which loses the "
                "picture: set the same in both places.", field="scale",
            )  # fmt: skip


def dual_cfg(denoiser: Denoiser, conds: Conds, *, scale: float = 7.5, middle_scale: float = 1.5) -> Denoise:
    """Guide by two conditions: u + middle_scale (m - u) + scale (c - m).

    Brooks et al. 2023, arXiv 2211.09800, eq. 3: `positive` c has text and image, `middle` m the image alone,
    `negative` u neither."""
    positive, middle, negative = (_role(conds, role) for role in ("positive", "middle", "negative"))
    terms = [(scale, positive), (middle_scale - scale, middle), (1 - middle_scale, negative)]
    return lambda x, sigma: mix(denoiser, x, sigma, terms)


def composed(denoiser: Denoiser, conds: Conds, *, scale: float = 7.5) -> Denoise:
    """Join prompts: u + scale sum_j w_j (c_j - u) over the conditions c_j of `positive`, w_j their strengths.

    Liu et al. 2022, arXiv 2206.01714. A strength may be negative: the prompt is pushed away.
    """
    negative = _role(conds, "negative")

    def guide(x: Tensor, sigma: float) -> Tensor:
        parts = [c for c in _role(conds, "positive").conds if holds(denoiser, sigma, c.start, c.end)]
        terms = [(scale * c.strength, Conditioning((c,))) for c in parts]
        return mix(denoiser, x, sigma, [*terms, (1 - sum(w for w, _ in terms), negative)])

    return guide


KINDS: Mapping[str, Callable[..., Denoise]] = {
    "conditional": conditional,
    "cfg": cfg,
    "dual_cfg": dual_cfg,
    "composed": composed,
}


def mix(denoiser: Denoiser, x: Tensor, sigma: float, terms: Sequence[tuple[float, Conditioning]]) -> Tensor:
    """Return sum_j w_j D(x, sigma, c_j); terms of weight 0 cost no network call."""
    used = [(w, c) for w, c in terms if w]
    parts = predict(denoiser, x, sigma, [c for _, c in used])
    return torch.stack([w * part for (w, _), part in zip(used, parts, strict=True)]).sum(0)


def predict(denoiser: Denoiser, x: Tensor, sigma: float, groups: Sequence[Conditioning]) -> list[Tensor]:
    """Return x0 for each group of conditions, with all network calls joined where shapes allow.

    Within a group the predictions are averaged, weighted by strength, mask and area, over the conditions
    whose window holds at sigma.
    """
    active = [[c for c in g.conds if holds(denoiser, sigma, c.start, c.end)] for g in groups]
    outs = iter(denoiser.each(x, sigma, [c for conds in active for c in conds]))
    return [_average(x, conds, [next(outs) for _ in conds]) for conds in active]


def holds(denoiser: Denoiser, sigma: float, start: float, end: float) -> bool:
    """Say whether sigma lies in the part start..end of sampling; neighbouring windows share no sigma."""
    return denoiser.levels.sigma_at(end) < sigma <= denoiser.levels.sigma_at(start)


def rescaled(denoiser: Denoiser, x: Tensor, sigma: float, guided: Tensor, c: Tensor, phi: float) -> Tensor:
    """Pull the standard deviation of the guided prediction towards c's, by phi in 0..1.

    Lin et al. 2023, arXiv 2305.08891, section 3.4. Acts per sample on the network's own kind of prediction.
    """
    kind, data = denoiser.prediction, denoiser.sigma_data
    f_guided, f_c = (from_x0(kind, x, x0, sigma, sigma_data=data) for x0 in (guided, c))
    dims = tuple(range(1, x.ndim))
    ratio = f_c.std(dims, keepdim=True) / f_guided.std(dims, keepdim=True)
    return to_x0(kind, x, f_guided * (phi * ratio + 1 - phi), sigma, sigma_data=data)


def _average(x: Tensor, conds: Sequence[Cond], outs: Sequence[Tensor]) -> Tensor:
    if len(conds) == 1 and everywhere(conds[0]):
        return outs[0]
    weights = [c.strength * place(c, x) for c in conds]
    total = sum(weights, torch.zeros_like(x[:1, :1]))
    if not bool((total > 0).all()):
        raise BadInput(
            "Part of the picture has no prompt at part of the sampling. Add a prompt without mask, area or "
            "time range, or widen those there are."
        )
    return sum((w / total * out for w, out in zip(weights, outs, strict=True)), torch.zeros_like(x))


def everywhere(cond: Cond) -> bool:
    """Say whether a condition holds on the whole picture."""
    return cond.mask is None and cond.area is None and AREA_CELLS not in cond.extra


def place(cond: Cond, x: Tensor) -> Tensor:
    """Return the weight of a condition on the latent grid, (1 or B, 1, h, w)."""
    weight = torch.ones_like(x[:1, :1])
    if cond.mask is not None:
        mask = cond.mask[:, None].to(x)  # (1, H, W) -> (1, 1, H, W)
        weight = weight * interpolate(mask, size=x.shape[-2:], mode="bilinear", antialias=True)
    if cond.area is not None or AREA_CELLS in cond.extra:
        left, top, right, bottom = _edges(cond, x)
        inside = torch.zeros_like(weight)
        inside[..., top:bottom, left:right] = 1
        weight = weight * inside
    return weight


def _edges(cond: Cond, x: Tensor) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of a condition's area on the grid of x."""
    if cond.area is None:
        left, top, width, height = cond.extra[AREA_CELLS]
        return left, top, left + width, top + height
    h, w = x.shape[-2:]
    x0, y0, across, down = cond.area
    return round(x0 * w), round(y0 * h), round((x0 + across) * w), round((y0 + down) * h)


def _role(conds: Conds, role: str) -> Conditioning:
    if role not in conds or not conds[role].conds:
        raise BadInput(f"This guider needs {role} conditioning.", field=role)
    return conds[role]
