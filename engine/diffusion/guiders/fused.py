"""MultiDiffusion: many windows and regions of one canvas, fused into one prediction at every call.

Bar-Tal et al. 2023, arXiv 2302.08113, eq. 5: the least-squares consensus of windows F_i with weights W_i is
sum F_i^-1(W_i D_i) / sum F_i^-1(W_i). Euler and DDIM steps are affine in the prediction, so averaging predictions and
stepping once is the same as averaging steps; fused here, in the guider, every sampler works, and keeps one history.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from engine.diffusion import guidance
from engine.diffusion.attention import Window
from engine.diffusion.blend import cells
from engine.diffusion.denoiser import Denoiser
from engine.diffusion.guidance import Conds
from engine.diffusion.noise import NoiseSource
from engine.diffusion.stepping import Denoise
from engine.errors import BadInput
from engine.types import Cond, Conditioning

SPREAD = {"controls", "grounding", "concat"}  # in `Cond.extra`: what lies over the whole canvas


@dataclass(frozen=True)
class View:
    """A window of the canvas, in latent cells. It may pass the right edge if the canvas wraps around."""

    top: int
    left: int
    height: int
    width: int

    def crop(self, x: Tensor) -> Tensor:
        """Return the window of x (..., h, w)."""
        rows = x[..., self.top : self.top + self.height, :]
        over = self.left + self.width - x.shape[-1]
        inside = rows[..., self.left : self.left + self.width]
        return torch.cat([inside, rows[..., :over]], -1) if over > 0 else inside

    def add(self, canvas: Tensor, part: Tensor) -> None:
        """Add a window's values to the canvas, in place."""
        columns = torch.arange(self.left, self.left + self.width, device=canvas.device) % canvas.shape[-1]
        canvas[..., self.top : self.top + self.height, :].index_add_(-1, columns, part)


def starts(length: int, window: int, stride: int, *, wrap: bool = False) -> list[int]:
    """Return where windows begin along an axis, so that every cell is covered: the last one is moved to the edge."""
    if wrap and length > window:
        return list(range(0, length, stride))
    if length <= window:
        return [0]
    found = list(range(0, length - window + 1, stride))
    return found if found[-1] == length - window else [*found, length - window]


def views(h: int, w: int, window: int, stride: int, *, wrap: bool = False) -> list[View]:
    """Return the windows of a canvas of h x w cells."""
    if not 1 <= stride <= window:
        raise BadInput(f"The stride is 1 to the window's {window} cells, got {stride}: else cells would be left out.")
    height, width = min(window, h), min(window, w)
    rows, columns = starts(h, height, stride), starts(w, width, stride, wrap=wrap)
    return [View(top, left, height, width) for top in rows for left in columns]


def window_weights(height: int, width: int, kind: str) -> Tensor:
    """Return how much each cell of a window counts (height, width): uniform, ramp to the edges, or gaussian."""

    def line(n: int) -> Tensor:
        place = (torch.arange(n) + 0.5) / n * 2 - 1  # -1..1
        return {"uniform": torch.ones(n), "ramp": 1 - place.abs() + 1 / n, "gaussian": torch.exp(-4 * place**2)}[kind]

    return line(height)[:, None] * line(width)[None]


def coverage(h: int, w: int, windows: list[View]) -> Tensor:
    """Return how many windows see each cell (h, w)."""
    count = torch.zeros(h, w)
    for view in windows:
        view.add(count, torch.ones(view.height, view.width))
    return count


def cropped(conditioning: Conditioning, view: View, h: int, w: int) -> Conditioning:
    """Return the conditions that hold in a window, with their masks, areas and attention control cut to it."""
    kept = []
    for cond in conditioning.conds:
        if SPREAD & cond.extra.keys():
            raise BadInput(
                "The prompt carries a ControlNet, a T2I-Adapter, boxes or a picture over the whole canvas, and windows "
                "see parts of it: leave that out, or sample without windows.", field="positive",
            )  # fmt: skip
        extra = {name: value for name, value in cond.extra.items() if name != guidance.AREA_CELLS}
        if "attention" in extra:
            window = Window((view.height, view.width), (h, w), view.crop, view.add)
            extra["attention"] = tuple(hook.inside(window) for hook in extra["attention"])
        if guidance.everywhere(cond):
            kept.append(replace(cond, extra=extra))
            continue
        where = view.crop(guidance.place(cond, torch.zeros(1, 1, h, w)))[:, 0]
        if bool((where > 0).any()):
            kept.append(replace(cond, mask=where, area=None, extra=extra))
    return Conditioning(tuple(kept))


def build(
    denoiser: Denoiser,
    conds: Conds,
    *,
    inner: str = "cfg",
    options: dict[str, Any],
    window: int = 0,
    stride: int = 0,
    wrap: bool = False,
    weight: str = "uniform",
    bootstrap: dict[str, Any] | None = None,
) -> Denoise:
    """Fuse the guider `inner` over windows of `window` cells (0 = one window), and over regions.

    A region is a condition of `positive` with a mask; those without make the background where no region is. Each region
    is a guider of its own. `bootstrap`: {"until": part of sampling, "colours": (K, C, 1, 1), "seed"}: until then a
    region sees a plain colour, noised, around itself, so that things grow inside their masks (section 4.2). With
    "centre" it is moved to the middle meanwhile, where models draw things (Lee et al. 2024, arXiv 2403.09055):
    "both" ways as published, or "across" alone, which leaves it as high above the ground as it is.
    """

    def fuse(x: Tensor, sigma: float) -> Tensor:
        h, w = x.shape[-2:]
        windows = views(h, w, window, stride, wrap=wrap) if window else [View(0, 0, h, w)]
        eps = x if bootstrap is None else NoiseSource.of(int(bootstrap["seed"]), len(x)).initial(x)
        if len(windows) == 1:
            return _regions(denoiser, conds, inner, options, bootstrap, eps)(x, sigma)
        total, count = torch.zeros_like(x), torch.zeros_like(x[:1, :1])
        share = window_weights(windows[0].height, windows[0].width, weight).to(x)
        for some in _together(windows, conds, x):
            local = {role: cropped(c, some[0], h, w) for role, c in conds.items()}
            guide = _regions(denoiser, local, inner, options, bootstrap, some[0].crop(eps))
            parts = guide(torch.cat([view.crop(x) for view in some]), sigma).chunk(len(some))
            for view, part in zip(some, parts, strict=True):
                view.add(total, share * part)
                view.add(count, share.expand_as(count[..., : view.height, : view.width]))
        return total / count

    return fuse


def _together(windows: list[View], conds: Conds, x: Tensor) -> list[list[View]]:
    """Return windows by the call that sees them: as many as fill the canvas, if the same conditions hold in all."""
    alike = len(x) == 1 and all(
        guidance.everywhere(c) and "attention" not in c.extra for given in conds.values() for c in given.conds
    )
    n = max(1, math.prod(x.shape[-2:]) // (windows[0].height * windows[0].width)) if alike else 1
    return [windows[i : i + n] for i in range(0, len(windows), n)]


def _regions(
    denoiser: Denoiser, conds: Conds, kind: str, options: dict[str, Any], bootstrap: dict[str, Any] | None, eps: Tensor
) -> Denoise:
    """Return the guider of one window: plain, or one for each region and for the background, averaged by masks.

    `eps` (B, C, h, w): the noise over the plain colours that bootstrapped regions see around them.
    """

    def build(given: Conds) -> Denoise:
        return guidance.build(kind, denoiser, given, **options)

    positive = conds["positive"].conds
    if bootstrap is None or all(c.mask is None for c in positive):
        return build(conds)

    def guide(x: Tensor, sigma: float) -> Tensor:
        masks = [None if c.mask is None else cells(c.mask, x) for c in positive]
        covered = torch.stack([m for m in masks if m is not None]).sum(0)
        total, count = torch.zeros_like(x), torch.zeros_like(covered)
        early = guidance.holds(denoiser, sigma, 0.0, float(bootstrap["until"]))
        for i, (cond, mask) in enumerate(zip(positive, masks, strict=True)):
            where = (1 - covered).clamp(min=0) if mask is None else mask * cond.strength
            alone = {**conds, "positive": Conditioning((replace(cond, mask=None),))}
            if mask is not None and early:
                seen = mask * x + (1 - mask) * _backdrop(eps, sigma, bootstrap, i)
                own = centred(build, alone, mask.expand(len(x), -1, -1, -1), str(bootstrap.get("centre", "none")))
            else:
                seen, own = x, build(alone)
            total = total + where * own(seen, sigma)
            count = count + where
        if not bool((count > 0).all()):
            raise BadInput("Part of the picture has no prompt: add a prompt without a mask as background.")
        return total / count

    return guide


def centred(build: Callable[[Conds], Denoise], conds: Conds, masks: Tensor, centre: str) -> Denoise:
    """Return a guider that sees each row of x moved so that what its mask (B, 1, h, w) covers lies in the middle.

    Such a view is one of the mappings F_i of eq. 5; the canvas is rolled, so nothing is lost at its edges. Masks and
    areas of the conditions move along.
    """
    if centre == "none":
        return build(conds)
    down = [_to_middle(m.amax((0, 2))) if centre == "both" else 0 for m in masks]
    right = [_to_middle(m.amax((0, 1))) for m in masks]
    guide = build({role: Conditioning(tuple(_moved(c, masks, down, right) for c in given.conds))
                   for role, given in conds.items()})  # fmt: skip
    return lambda x, sigma: _rolled(guide(_rolled(x, down, right), sigma), [-d for d in down], [-r for r in right])


def _moved(cond: Cond, like: Tensor, down: list[int], right: list[int]) -> Cond:
    if (SPREAD | {"attention"}) & cond.extra.keys():
        raise BadInput(
            "The prompt carries a ControlNet, a T2I-Adapter, boxes, a picture or attention control over the whole "
            "canvas, and bootstrapped regions see it moved: leave that out, or set center to none.", field="positive",
        )  # fmt: skip
    if guidance.everywhere(cond):
        return cond
    where = _rolled(guidance.place(cond, like).expand(like.shape), down, right)[:, 0]
    return replace(cond, mask=where, area=None, extra={k: v for k, v in cond.extra.items() if k != guidance.AREA_CELLS})


def _to_middle(covered: Tensor) -> int:
    """Return by how many cells the covered part of an axis (n,) is to be moved to lie in its middle."""
    cells_on = (covered >= 0.5).nonzero()
    return (len(covered) - 1 - int(cells_on.min()) - int(cells_on.max())) // 2 if len(cells_on) else 0


def _rolled(x: Tensor, down: list[int], right: list[int]) -> Tensor:
    return torch.stack([row.roll((d, r), (-2, -1)) for row, d, r in zip(x, down, right, strict=True)])


def _backdrop(eps: Tensor, sigma: float, bootstrap: dict[str, Any], region: int) -> Tensor:
    """Return a plain colour at noise level sigma, another one for each region and level, the same on every run."""
    colours: Tensor = bootstrap["colours"]
    seed = int(bootstrap["seed"]) * 1_000_003 + region * 9_973 + round(math.log(sigma) * 4096)
    draw = torch.Generator().manual_seed(seed % 2**62)
    return colours[int(torch.randint(len(colours), (), generator=draw))].to(eps) + sigma * eps
