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
from engine.diffusion.levels import Levels
from engine.diffusion.stepping import walk
from engine.diffusion.trajectory import check_origin
from engine.errors import BadInput
from engine.types import Cond, Conditioning, Model, Trajectory


def origin_of(model: Model) -> str:
    """Return the digest that a trajectory carries of its model: weights, patches and options."""
    return digest_of(model)


def check_use(trajectory: Trajectory, model: Model, sigmas: Tensor) -> None:
    """Refuse a trajectory that was made by another model or on other noise levels than it is used with."""
    check_origin(trajectory, origin_of(model))
    if not torch.equal(trajectory.sigmas.flip(0).double(), sigmas.double()):
        raise BadInput(
            f"The trajectory was inverted over {len(trajectory.sigmas) - 1} other noise levels than the "
            f"{len(sigmas) - 1} it is used with: give both the same sigmas.", field="sigmas",
        )  # fmt: skip


def check_caption(trajectory: Trajectory, conditioning: Conditioning) -> None:
    """Refuse a prompt other than the one that the trajectory was inverted with."""
    if trajectory.conditioning is None or digest_of(trajectory.conditioning) != digest_of(conditioning):
        raise BadInput("The trajectory was inverted with another prompt: give the caption that it was made with.")


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
    """Measure the noisiest latent in units of its own level: x / sqrt(1 + sigma^2)."""
    z = (trajectory.latents[-1] / math.sqrt(1 + float(trajectory.sigmas[-1]) ** 2)).double()
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


def scheduled(tokens: list[Tensor], like: Cond, sigmas: Tensor, levels: Levels) -> Conditioning:
    """Return one condition per step, each holding at its own step only."""
    spans = windows(sigmas, levels)
    return Conditioning(tuple(replace(like, tokens=t, start=a, end=b) for t, (a, b) in zip(tokens, spans, strict=True)))


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
    own scale, is below `tolerance` + 2e-5 i. Steps `done` before are walked again, not learnt again and not given.
    """
    sigmas = trajectory.sigmas.flip(0)
    steps, n = list(walk(sigmas)), len(sigmas) - 1
    x, tokens = trajectory.latents[-1], null.tokens.clone()
    for step in steps:
        progress(step.i, n)
        goal = trajectory.latents[n - step.i - 1]
        with torch.no_grad():
            prompted = denoiser(x, step.sigma, caption)
        down, unit = step.sigma_next / step.sigma, 1 / (1 + step.sigma_next**2)

        def next_of(embedding: Tensor, x: Tensor = x, prompted: Tensor = prompted, sigma: float = step.sigma,
                    down: float = down) -> Tensor:  # fmt: skip
            plain = denoiser(x, sigma, replace(null, tokens=embedding))
            guided = plain + scale * (prompted - plain)
            return guided + down * (x - guided)

        def loss_of(embedding: Tensor, next_of: Callable[[Tensor], Tensor] = next_of, goal: Tensor = goal,
                    unit: float = unit, i: int = step.i) -> Tensor:  # fmt: skip
            progress(i, n)  # a step may take minutes: it can be cancelled within
            return unit * (next_of(embedding) - goal).square().mean()

        found = done[step.i] if step.i < len(done) else _descend(
            tokens, loss_of, inner=inner, rate=rate * (1 - step.i / (2 * n)), tolerance=tolerance + 2e-5 * step.i
        )  # fmt: skip
        tokens = found.tokens
        with torch.no_grad():
            x = next_of(tokens)
        if step.i >= len(done):
            yield found
    progress(n, n)


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
