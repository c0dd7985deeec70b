"""From a guider's description to a latent: noise it, walk it down, keep the background, show it on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.diffusion import blend as blends
from engine.diffusion import guidance, preview, samplers
from engine.diffusion.blend import cells, mixed
from engine.diffusion.control import Controller
from engine.diffusion.denoiser import Denoiser
from engine.diffusion.levels import Levels
from engine.diffusion.marks import marked
from engine.diffusion.noise import IN_TURN, NoiseSource
from engine.diffusion.stepping import OnStep, StepInfo
from engine.diffusion.trajectory import check_origin
from engine.errors import BadInput
from engine.types import Blend, Conditioning, Guider, Latent, Model, Noise, Sampler

STEERING = {"controls", "grounding"}  # in `Cond.extra`: what needs networks beside a U-Net
BYTES_PER_CELL = 20_000  # of a latent, with guidance: about what a Stable Diffusion 1.x U-Net takes beside its weights


class DiffusionNetwork(Protocol):
    """A denoising network as sampling needs it; `families.unet.UNet` is one."""

    @property
    def channels(self) -> int:
        """Channels of the latent."""

    @property
    def denoiser(self) -> Denoiser:
        """The network as D(x, sigma, cond) -> x0."""

    @property
    def preview(self) -> Tensor | None:
        """Factors (C + 1, 3) from latent channels to colours, if known."""


class Sampled(NamedTuple):
    """Where sampling ended, and the clean picture that the network saw there."""

    latent: Latent
    denoised: Latent


@dataclass(frozen=True)
class Watch:
    """Who is told of a run: `progress(done, total)` may raise to cancel, `picture` takes previews (h, w, 3) uint8."""

    progress: Callable[[int, int], None] = lambda done, total: None
    wants_picture: Callable[[], bool] = lambda: False
    picture: Callable[[npt.NDArray[np.uint8]], None] = lambda pixels: None


def sample(
    network: DiffusionNetwork,
    guider: Guider,
    sampler: Sampler,
    sigmas: Tensor,
    latent: Latent,
    *,
    noise: Noise | None,
    watch: Watch = Watch(),  # frozen
    blend: Blend | None = None,
    control: Controller | None = None,
) -> Sampled:
    """Sample `latent` down `sigmas` (steps + 1,), after adding `noise` at sigmas[0]; None adds none.

    A latent that stopped at a noise level is in variance-exploding units (x0 + sigma eps), and goes on from there with
    `noise` None. With a mask, cells where it is 0 are put back after each step at the level the step ended at, with the
    same noise, so that the background is exact at the end and fits at every step. A `blend` acts after that. `control`
    edits and keeps attention.
    """
    clean = latent.samples.float()
    if clean.shape[1] != network.channels:
        raise BadInput(
            f"The latent has {clean.shape[1]} channels, the model works on {network.channels}: make it for this model.",
            field="latent",
        )
    start = float(sigmas[0]) if len(sigmas) else 0.0
    if noise is None and start > 0:
        _check_background(latent, blend)
    _check_trajectories(blend, guider.model)
    in_turn = noise is not None and noise.kind == IN_TURN
    source = NoiseSource.of(noise.seed if noise else 0, len(clean), indices=latent.seeds, in_turn=in_turn)
    drawn = torch.zeros_like(clean) if noise is None else source.initial(clean)
    eps = drawn if noise is None or in_turn else marked(noise, drawn)
    keep = None if latent.mask is None else _Background(clean, eps, cells(latent.mask, clean))
    _check_steering(network, guider.conds)
    conds = guider.conds if control is None else control.attached(guider.conds)
    denoise = guidance.build(guider.kind, network.denoiser, conds, **guider.options)
    denoise = denoise if control is None else control.watching(denoise)
    scene = blends.Run(clean, eps, source, network.denoiser.levels, control)
    kept = None if blend is None else blends.build(blend, scene)
    report = _Report(keep, watch, network.preview, clean, kept)
    algorithm = samplers.get(sampler.name).on(network.denoiser.levels)
    watch.progress(0, max(0, len(sigmas) - 1))
    step_noise = algorithm.noise(source, clean)
    x = algorithm(denoise, clean + start * eps, sigmas, noise=step_noise, on_step=report, **sampler.options)
    return Sampled(replace(latent, samples=x), replace(latent, samples=report.denoised))


def _check_background(latent: Latent, blend: Blend | None) -> None:
    """Refuse to keep a background under noise that is not known, since the latent is noisy already."""
    if latent.mask is not None:
        raise BadInput(
            "A masked latent that is noisy already hides its background: mask the latent that noise is added to, and "
            "take the mask off for what follows.", field="latent",
        )  # fmt: skip
    if blend is not None and blends.NOISED & {b.kind for b in (blend, *blend.then)}:
        raise BadInput(
            "This blend keeps a picture under the noise that sampling began with, and none is added: give the sampler "
            "noise, or after an inversion keep its trajectory.", field="noise",
        )  # fmt: skip


def _check_trajectories(blend: Blend | None, model: Model) -> None:
    """Refuse to put back what another model's inversion recorded."""
    for part in () if blend is None else (blend, *blend.then):
        if part.trajectory is not None:
            check_origin(part.trajectory, model, field="blend")


def _check_steering(network: DiffusionNetwork, conds: Mapping[str, Conditioning]) -> None:
    """Refuse ControlNets and boxes where a network would not see them."""
    steered = any(STEERING & c.extra.keys() for role in conds.values() for c in role.conds)
    if steered and not all(hasattr(each, "companions") for each in getattr(network, "networks", (network,))):
        raise BadInput(
            "The prompt carries a ControlNet, a T2I-Adapter or boxes, which this kind of model cannot take: leave "
            "them out, or use a Stable Diffusion 1.x, 2.x or XL model.", field="positive",
        )  # fmt: skip


@dataclass(frozen=True)
class _Background:
    """The part of a latent that is kept: `mask` (B or 1, 1, h, w), 1 = regenerate."""

    clean: Tensor
    eps: Tensor
    mask: Tensor

    def put_back(self, x: Tensor, sigma: float) -> Tensor:
        known = self.clean + sigma * self.eps
        return mixed(self.mask, x, known)


class _Report:
    """The `on_step` of a run: put the background back, report, show."""

    def __init__(
        self, keep: _Background | None, watch: Watch, factors: Tensor | None, clean: Tensor, blend: OnStep | None
    ) -> None:
        self.keep, self.watch, self.factors, self.denoised, self.blend = keep, watch, factors, clean, blend

    def __call__(self, info: StepInfo) -> Tensor | None:
        self.denoised = info.denoised if self.keep is None else self.keep.put_back(info.denoised, 0.0)
        if self.factors is not None and self.watch.wants_picture():
            self.watch.picture(preview.to_rgb(self.denoised[0], self.factors))
        self.watch.progress(info.i + 1, info.n)
        kept = None if self.keep is None else self.keep.put_back(info.x, info.sigma_next)
        if self.blend is None:
            return kept
        return self.blend(info if kept is None else replace(info, x=kept))


def levels_for(network: Any, latent: Latent) -> Levels:
    """Return a network's noise levels for latents of that size: of some flow models they follow it."""
    sized = getattr(network, "levels_for", None)
    levels: Levels = network.denoiser.levels if sized is None else sized(*latent.samples.shape[2:])
    return levels


def working_bytes(latent: Latent) -> int:
    """Estimate the memory that one guided network call needs beside the weights."""
    batch, _, h, w = latent.samples.shape
    return 2 * batch * h * w * BYTES_PER_CELL
