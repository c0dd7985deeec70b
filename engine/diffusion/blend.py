"""Blends: what is put back into a latent after each step, at the level that the step ended at.

A blend is an `OnStep`: it is told x at `sigma_next` and returns x with its kept part replaced. Several published codes
keep a background one level too noisy; here the level is `sigma_next` for every kind, so the last step (sigma 0) leaves
the kept part exact. `KINDS` names the blends that a `Blend` value can ask for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.diffusion.alignment import check_positions
from engine.diffusion.levels import Levels
from engine.diffusion.noise import NoiseSource
from engine.diffusion.stepping import OnStep, StepInfo
from engine.diffusion.trajectory import at_sigma
from engine.errors import BadInput, NotFound
from engine.types import Blend, Trajectory


class Maps(Protocol):
    """Cross-attention maps of the run so far."""

    def average(self, cells: int) -> Tensor:
        """Return maps (B, T, h, w) of the finest grid of at most `cells` cells."""


@dataclass(frozen=True)
class Run:
    """What a blend may need of the run: where it began (`clean` + sigma `eps`), its noise, levels and attention."""

    clean: Tensor
    eps: Tensor
    source: NoiseSource
    levels: Levels
    attention: Maps | None = None


def build(blend: Blend, run: Run) -> OnStep:
    """Make the step hook of a blend and of those that follow it."""
    parts = [_one(b, run) for b in (blend, *blend.then)]

    def on_step(info: StepInfo) -> Tensor:
        x = info.x
        for part in parts:
            x = part(info, x)
        return x

    return on_step


Hook = Callable[[StepInfo, Tensor], Tensor]
"""(step, x at its sigma_next) -> x with the kept part put back."""


def _one(blend: Blend, run: Run) -> Hook:
    if blend.kind not in KINDS:
        raise NotFound(f"There is no blend {blend.kind!r}. Try {', '.join(KINDS)}.")
    if blend.kind in PAIRED and len(run.clean) % 2:
        raise BadInput("This blend is for a pair of prompts: sample it with the pair sampler.", field="blend")
    pictures = len(run.clean) // (2 if blend.kind in PAIRED else 1)
    for content in (blend.latents, None if blend.trajectory is None else blend.trajectory.latents[0]):
        if content is not None and content.shape[1:] != run.clean.shape[1:]:
            raise BadInput(
                f"The blend keeps latents of {_size(content)}, sampling runs on {_size(run.clean)}: make both alike.",
                field="blend",
            )
        _check_batch("latents", content, pictures)
    _check_batch("masks", None if blend.masks is None else blend.masks[0], pictures)
    return KINDS[blend.kind](blend, run)


def _check_batch(what: str, kept: Tensor | None, pictures: int) -> None:
    if kept is not None and len(kept) not in (1, pictures):
        raise BadInput(
            f"The blend has {len(kept)} {what} for {pictures} pictures; give one, or one each.", field="blend"
        )


def _size(x: Tensor) -> str:
    return " x ".join(map(str, x.shape[1:]))


def mixed(mask: Tensor, edited: Tensor, kept: Tensor) -> Tensor:
    """Return kept + mask (edited - kept), exact to the bit where the mask (B, 1, h, w) is 0 or 1."""
    return torch.where(mask == 0, kept, torch.where(mask == 1, edited, kept + mask * (edited - kept)))


def cells(mask: Tensor, like: Tensor) -> Tensor:
    """Return a mask (B, H, W) on the latent grid of `like`, (B, 1, h, w)."""
    spread = mask[:, None].to(like)
    if spread.shape[-2:] == like.shape[-2:]:
        return spread
    return F.interpolate(spread, size=like.shape[-2:], mode="bilinear", antialias=True)


def dilated(mask: Tensor, radius: int) -> Tensor:
    """Grow a mask (..., h, w) by a square of `radius` cells."""
    if not radius:
        return mask
    flat = mask.reshape(-1, 1, *mask.shape[-2:])
    return F.max_pool2d(flat, 2 * radius + 1, 1, radius).reshape(mask.shape)


def shrinking(mask: Tensor, dilations: int) -> Tensor:
    """Return stages (dilations + 1, B, h, w): the mask grown by `dilations`, ..., 1, 0 cells.

    Thin masks leave the model no room; it first works in a larger one (Avrahami et al. 2023, arXiv 2206.02779, 3.4).
    """
    return torch.stack([dilated(mask, r) for r in range(dilations, -1, -1)])


def stage(masks: Tensor, info: StepInfo, like: Tensor) -> Tensor:
    """Return the mask (B, 1, h, w) of this step: the stages (S, B, h, w) share the n steps evenly."""
    return cells(masks[len(masks) * info.i // info.n], like)


def _masks(blend: Blend) -> Tensor:
    if blend.masks is None:
        raise BadInput(f"The blend {blend.kind!r} needs a mask.", field="mask")
    return blend.masks


def _content(blend: Blend, run: Run) -> Tensor:
    """Return what is kept, clean (B, C, h, w): latents of the blend's own, or those that sampling began with."""
    return run.clean if blend.latents is None else blend.latents


def _trajectory(blend: Blend) -> Trajectory:
    if blend.trajectory is None:
        raise BadInput(f"The blend {blend.kind!r} needs a trajectory.", field="trajectory")
    return blend.trajectory


def fixed(blend: Blend, run: Run) -> Hook:
    """Keep the background noised with the noise that the run began with: the same at every step."""
    masks, clean = _masks(blend), _content(blend, run)

    def hook(info: StepInfo, x: Tensor) -> Tensor:
        return mixed(stage(masks, info, x), x, clean + info.sigma_next * run.eps)

    return hook


def fresh(blend: Blend, run: Run) -> Hook:
    """Keep the background with new noise at every step, as Blended Diffusion does; multistep samplers suffer."""
    masks, clean = _masks(blend), _content(blend, run)
    draw = run.source.steps(run.clean)

    def hook(info: StepInfo, x: Tensor) -> Tensor:
        kept = clean + info.sigma_next * draw(info.sigma, info.sigma_next) if info.sigma_next else clean
        return mixed(stage(masks, info, x), x, kept.expand_as(x))

    return hook


def recorded(blend: Blend, run: Run) -> Hook:
    """Keep what a trajectory recorded at the same level (Couairon et al. 2022, arXiv 2210.11427, step 3)."""
    trajectory, masks = _trajectory(blend), _masks(blend)

    def hook(info: StepInfo, x: Tensor) -> Tensor:
        return mixed(stage(masks, info, x), x, at_sigma(trajectory, info.sigma_next).to(x))

    return hook


def per_pixel(blend: Blend, run: Run) -> Hook:
    """Free each cell at a strength of its own: pinned to its noised content while the level is above it.

    `masks`: (1, B, h, w) strengths; a cell of strength s is free below level s N. The pinned part is grown by
    `dilate` cells times level / N (Sarukkai et al. 2023, arXiv 2303.00262).
    """
    strengths, clean = _masks(blend)[0], _content(blend, run)
    reach = float(blend.options.get("dilate", 0))

    def hook(info: StepInfo, x: Tensor) -> Tensor:
        level = run.levels.level(info.sigma_next) / run.levels.count
        pinned = dilated((cells(strengths, x) <= level + 1e-6).to(x), int(reach * level))
        return mixed(1 - pinned, x, clean + info.sigma_next * run.eps)

    return hook


def source_rows(blend: Blend, run: Run) -> Hook:
    """Put the source half of a pair back onto its trajectory (direct inversion: Ju et al. 2023, arXiv 2310.01506)."""
    trajectory = _trajectory(blend)

    def hook(info: StepInfo, x: Tensor) -> Tensor:
        half = len(x) // 2
        return torch.cat([at_sigma(trajectory, info.sigma_next).to(x).expand_as(x[:half]), x[half:]])

    return hook


def local(blend: Blend, run: Run) -> Hook:
    """Let a pair differ only where some words look (Hertz et al. 2022, arXiv 2208.01626, section 3.2, local editing).

    The average map so far of the words in each prompt is max-pooled, divided by its maximum and cut at `threshold`;
    the union of both is the mask. `less` words take their places out. Before `start` of the steps nothing is blended.
    """
    o = blend.options
    maps = run.attention
    if maps is None:
        raise BadInput(
            "A local blend needs an attention control beside it: it looks at the attention of words.", field="control"
        )

    def hook(info: StepInfo, x: Tensor) -> Tensor:
        if info.i + 1 <= o["start"] * info.n:
            return x
        stored, half = maps.average(o["cells"]), len(x) // 2
        found = [
            _hot(rows, positions, o["threshold"], x, pool=True)
            for rows, positions in ((stored[:half], o["source"]), (stored[half:], o["target"])) if positions
        ]  # fmt: skip
        mask = torch.stack(found).amax(0)
        if o.get("less"):
            mask = mask * (1 - _hot(stored[half:], o["less"], o["threshold"], x, pool=False))
        kept = x[:half]
        return torch.cat([kept, mixed(mask, x[half:], kept)])

    return hook


def _hot(maps: Tensor, positions: tuple[int, ...], threshold: float, like: Tensor, *, pool: bool) -> Tensor:
    """Return where the words at `positions` look most, (B, 1, h, w) of 0 and 1."""
    check_positions(positions, maps.shape[1])
    looked = maps[:, list(positions)].sum(1, keepdim=True)  # (B, T, h, w) -> (B, 1, h, w)
    looked = F.max_pool2d(looked, 3, 1, 1) if pool else looked
    looked = F.interpolate(looked, size=like.shape[-2:], mode="bilinear")
    return (looked / looked.amax((2, 3), keepdim=True).clamp_min(1e-12) > threshold).to(like)


PAIRED = {"source", "local"}  # kinds for a batch whose second half is edited
NOISED = {"fixed", "per_pixel"}  # kinds that keep a picture under the noise that the run began with
KINDS: Mapping[str, Callable[[Blend, Run], Hook]] = {
    "fixed": fixed, "fresh": fresh, "trajectory": recorded, "per_pixel": per_pixel, "source": source_rows,
    "local": local,
}  # fmt: skip
