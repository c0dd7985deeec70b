"""How well a prompt explains a picture: the model's own error in finding the noise that was added to it.

Li et al. 2023, arXiv 2303.16203 (Diffusion Classifier). Every prompt sees the same noise at the same levels, so that
only the difference counts; each level has a noise of its own, or errors would add up. Errors are those of eps, what-
ever the network predicts: eps - eps_hat = (x0_hat - x0) / sigma.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.diffusion.denoiser import Denoiser
from engine.diffusion.guidance import predict
from engine.diffusion.levels import Levels
from engine.diffusion.noise import NoiseSource
from engine.errors import BadInput
from engine.types import Conditioning

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Pair:
    """One look at a picture: a noise level and the seed of its noise."""

    sigma: float
    seed: int


def pairs_of(levels: Levels, count: int, seed: int, *, low: float = 0.0, high: float = 1.0) -> tuple[Pair, ...]:
    """Return `count` looks at the mid-points of equal parts of the levels between `low` and `high` (of N)."""
    ks = [(low + (high - low) * (k + 0.5) / count) * levels.count for k in range(count)]
    return tuple(Pair(levels.sigma(max(1.0, float(round(k)))), seed + i) for i, k in enumerate(ks))


def cell_errors(
    denoiser: Denoiser, x0: Tensor, prompts: Sequence[Conditioning], pair: Pair, *, norm: str = "l2"
) -> Tensor:
    """Return the error of eps in each cell (prompts, B, h, w) at one look, float64, the mean over channels.

    All pictures of a batch see the same noise. `norm`: l2 squared, l1 absolute.
    """
    eps = NoiseSource((pair.seed,)).initial(x0[:1]).expand_as(x0)
    outs = predict(denoiser, x0 + pair.sigma * eps, pair.sigma, prompts)
    off = torch.stack([(out - x0).double() / pair.sigma for out in outs])  # (P, B, C, h, w)
    return (off.abs() if norm == "l1" else off.square()).mean(2)


def errors(
    denoiser: Denoiser,
    x0: Tensor,
    prompts: Sequence[Conditioning],
    pair: Pair,
    *,
    where: Tensor | None = None,
    norm: str = "l2",
) -> Tensor:
    """Return the mean error of eps (prompts, B) at one look; `where` (B or 1, h, w) weighs cells."""
    cells = cell_errors(denoiser, x0, prompts, pair, norm=norm)
    if where is None:
        return cells.mean((2, 3))
    weight = where.to(cells).expand(cells.shape[1:])
    return (cells * weight).sum((2, 3)) / weight.sum((1, 2)).clamp_min(1e-12)


def gains(
    denoiser: Denoiser,
    x0: Tensor,
    prompts: Sequence[Conditioning],
    pairs: Sequence[Pair],
    *,
    where: Tensor | None = None,
    progress: Progress = lambda done, total: None,
) -> Tensor:
    """Return by how much the first prompt's error lies below the second's, (B,), averaged over the looks."""
    total = torch.zeros(len(x0), dtype=torch.float64)
    for i, pair in enumerate(pairs):
        progress(i, len(pairs))
        first, second = errors(denoiser, x0, prompts, pair, where=where)
        total += second - first
    progress(len(pairs), len(pairs))
    return total / len(pairs)


@dataclass(frozen=True)
class Stage:
    """Until `looks` noise levels have been seen by each remaining prompt; then `keep` prompts go on."""

    looks: int
    keep: int


@dataclass(frozen=True)
class Verdict:
    """Mean errors of all prompts (P,), as far as each was followed; `looks` of each; `order`, best first."""

    errors: Tensor
    looks: tuple[int, ...]
    order: tuple[int, ...]
    calls: int


def nested(count: int, stages: Sequence[Stage]) -> list[list[int]]:
    """Return the looks (indices into `count`) that each stage adds: evenly spread ones first, none of them twice."""
    if not stages or any(not 1 <= s.looks <= count or s.keep < 1 for s in stages):
        raise BadInput(f"Each stage needs 1 to {count} looks and keeps at least one prompt.")
    seen: list[int] = []
    added = []
    for s in stages:
        spread = [int((i + 0.5) * count / s.looks) for i in range(s.looks)]
        fresh = [i for i in spread if i not in seen]
        rest = [i for i in range(count) if i not in seen and i not in fresh]
        fresh = (fresh + rest)[: max(0, s.looks - len(seen))]
        seen += fresh
        added.append(fresh)
    return added


def classify(
    denoiser: Denoiser,
    x0: Tensor,
    prompts: Sequence[Conditioning],
    pairs: Sequence[Pair],
    stages: Sequence[Stage],
    *,
    norm: str = "l2",
    progress: Progress = lambda done, total: None,
) -> Verdict:
    """Find the prompt that explains one picture (1, C, h, w) best, dropping prompts that fall behind (section 3.2)."""
    plan = nested(len(pairs), stages)
    kept = [len(prompts), *(min(len(prompts), s.keep) for s in stages)]  # on entering each stage
    total = sum(len(added) * n for added, n in zip(plan, kept, strict=False))
    # Summed along looks, so that it does not matter when each was taken.
    table = torch.zeros(len(prompts), len(pairs), dtype=torch.float64)
    looks, calls = [0] * len(prompts), 0
    alive, dropped = list(range(len(prompts))), list[int]()
    for s, added in zip(stages, plan, strict=True):
        for i in added:
            progress(calls, total)
            table[alive, i] = errors(denoiser, x0, [prompts[k] for k in alive], pairs[i], norm=norm)[:, 0]
            calls += len(alive)
            for k in alive:
                looks[k] += 1
        means = table.sum(1) / torch.tensor(looks).clamp_min(1)
        alive.sort(key=lambda k: float(means[k]))
        dropped = alive[s.keep :] + dropped
        alive = alive[: s.keep]
    progress(total, total)
    return Verdict(means, tuple(looks), (*alive, *dropped), calls)
