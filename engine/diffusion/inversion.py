"""What an inversion is worth: provenance, what its noise looks like, and the null text that guidance needs.

`trajectory.py` walks up; this module says whether the walk can be trusted and used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from engine.codec import digest_of
from engine.diffusion.denoiser import Denoiser
from engine.diffusion.guidance import LEARNT_SCALE
from engine.diffusion.levels import Levels
from engine.diffusion.stepping import Step, walk
from engine.diffusion.trajectory import unit
from engine.errors import BadInput
from engine.types import Cond, Conditioning, Trajectory


def check_caption(trajectory: Trajectory, conditioning: Conditioning) -> None:
    """Refuse a prompt other than the one that the trajectory was inverted with."""
    if trajectory.conditioning is None or digest_of(trajectory.conditioning) != digest_of(conditioning):
        raise BadInput(
            "The trajectory was inverted with another prompt: give the caption that it was made with.", field="caption"
        )


@dataclass(frozen=True)
class Health:
    """How near the end of an inversion is to unit Gaussian noise: mean, std, and correlation of neighbours."""

    mean: float
    std: float
    neighbours: float

    @property
    def flags(self) -> tuple[str, ...]:
        """What is wrong with it, in words."""
        found = []
        if abs(self.mean) > 0.05:
            found.append(f"its mean is {self.mean:.3f}, noise has 0")
        if not 0.9 <= self.std <= 1.1:
            found.append(f"its deviation is {self.std:.3f}, noise has 1")
        if self.neighbours > 0.2:
            found.append(f"neighbours are correlated by {self.neighbours:.2f}, in noise by 0")
        return tuple(found)


def health(trajectory: Trajectory) -> Health:
    """Measure the noisiest latent in units of its own level."""
    z = unit(trajectory, -1).double()
    off = z - z.mean()
    right, down = (off[..., 1:] * off[..., :-1]).mean(), (off[..., 1:, :] * off[..., :-1, :]).mean()
    variance = off.square().mean().clamp_min(1e-12)
    return Health(float(z.mean()), float(z.std()), float((right + down) / 2 / variance))


def psnr(a: Tensor, b: Tensor) -> float:
    """Return decibels between two pictures in 0..1."""
    return float(-10 * torch.log10((a - b).double().square().mean().clamp_min(1e-12)))


def windows(sigmas: Tensor, levels: Levels) -> list[tuple[float, float]]:
    """Return for each step of `sigmas` (falling) a part of sampling (start, end) that holds its sigma and no other.

    A quarter of a level to either side: rounding cannot move a sigma out, and other steps than these find no window.
    """
    room = 0.25 / levels.count
    parts = [levels.percent(s) for s in sigmas.double().tolist()[:-1]]
    return [(max(0.0, p - room), min(1.0, p + room)) for p in parts]


def scheduled(tokens: list[Tensor], like: Cond, sigmas: Tensor, levels: Levels, scale: float) -> Conditioning:
    """Return one condition per step, each holding at its own step and under the guidance it was learnt for only."""
    spans, extra = windows(sigmas, levels), {**like.extra, LEARNT_SCALE: scale}
    return Conditioning(tuple(
        replace(like, tokens=t, start=a, end=b, extra=extra) for t, (a, b) in zip(tokens, spans, strict=True)
    ))  # fmt: skip


@dataclass(frozen=True)
class NullStep:
    """One step of null-text optimisation: the embedding found and the loss before and after."""

    tokens: Tensor
    before: float
    after: float


def null_text(
    denoiser: Denoiser,
    trajectory: Trajectory,
    caption: Cond,
    null: Cond,
    *,
    scale: float,
    inner: int = 10,
    rate: float = 0.01,
    tolerance: float = 1e-5,
    done: Sequence[NullStep] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[NullStep]:
    """Find for each step the empty-prompt embedding (1, T, D) with which guided sampling follows the trajectory.

    Mokady et al. 2022, arXiv 2211.09794, algorithm 1; Adam from the last step's embedding on, its rate falling by
    half over the run (the published 1 - i / 100 would be negative beyond 100 steps), until the loss, in the family's
    own scale, is below `tolerance` + 2e-5 i. At scale 1 the null text has no say, and is left alone. Steps `done`
    before are walked again, not learnt again and not given.
    """
    x, tokens = trajectory.latents[-1], null.tokens.clone()
    inner = 0 if scale == 1 else inner
    for step in walk(trajectory.sigmas.flip(0)):
        i, n = step.i, step.n
        progress(i, n)
        with torch.no_grad():
            guided = _GuidedStep(denoiser, null, scale, step, x, denoiser(x, step.sigma, caption))
        goal = trajectory.latents[n - i - 1]

        def loss_of(tokens: Tensor, guided: _GuidedStep = guided, goal: Tensor = goal) -> Tensor:
            progress(guided.step.i, guided.step.n)  # a step may take minutes: it can be cancelled within
            return guided.loss(tokens, goal)

        found = done[i] if i < len(done) else _descend(
            tokens, loss_of, inner=inner, rate=rate * (1 - i / (2 * n)), tolerance=tolerance + 2e-5 * i
        )  # fmt: skip
        tokens = found.tokens
        with torch.no_grad():
            x = guided(tokens)
        if i >= len(done):
            yield found
    steps = len(trajectory.sigmas) - 1
    progress(steps, steps)


@dataclass(frozen=True)
class _GuidedStep:
    """One guided DDIM step down from `x` as a function of the null text; `prompted`: D(x) of the caption."""

    denoiser: Denoiser
    null: Cond
    scale: float
    step: Step
    x: Tensor
    prompted: Tensor

    def __call__(self, tokens: Tensor) -> Tensor:
        plain = self.denoiser(self.x, self.step.sigma, replace(self.null, tokens=tokens))
        guided = plain + self.scale * (self.prompted - plain)
        return guided + self.step.sigma_next / self.step.sigma * (self.x - guided)

    def loss(self, tokens: Tensor, goal: Tensor) -> Tensor:
        """Return the mean squared distance from `goal`, in the family's own scale."""
        return (self(tokens) - goal).square().mean() / (1 + self.step.sigma_next**2)


def _descend(
    start: Tensor, loss_of: Callable[[Tensor], Tensor], *, inner: int, rate: float, tolerance: float
) -> NullStep:
    """Minimise by Adam and return the best embedding seen, so that the loss never ends above where it began."""
    with torch.enable_grad():
        tokens = start.clone().requires_grad_(True)
        optimiser = torch.optim.Adam([tokens], lr=rate)
        best, best_loss, before = start, math.inf, math.nan
        for i in range(inner + 1):
            loss = loss_of(tokens)
            value = float(loss.detach())
            before = value if i == 0 else before
            if value < best_loss:
                best, best_loss = tokens.detach().clone(), value
            if value < tolerance or i == inner or not loss.requires_grad:
                break
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return NullStep(best, before, best_loss)
