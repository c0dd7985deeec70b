"""Sets of points in the plane, translated into each other by their closed-form scores: DDIB without any network.

Su et al. 2022, arXiv 2203.08382, section 4.1, whose models are trained; here a set's points are a mixture of Gaussians,
as a picture's colours are for `engine/diffusion/colours.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import permutations

import torch
from torch import Tensor

from engine.diffusion import samplers, schedules
from engine.diffusion.colours import LEVELS, Palette
from engine.diffusion.stepping import silent
from models.bozzetto.methods.figures import Figure, mean

COUNT = 1000  # points of a model, and as many that are translated
SMOOTH = 0.05  # deviation of each point's Gaussian; sets have a deviation of 1
STEPS = 100  # at 50 the farthest point comes back .13 off, at 100 a quarter of that
DRAWS = 4
DIRECTIONS = 64
SIGMAS = schedules.get("karras")(LEVELS, STEPS)


def sets(n: int, seed: int = 0) -> Mapping[str, Tensor]:
    """Return six sets (n, 2) of mean 0 and deviation 1, as many points in each of their parts."""
    random, each = torch.Generator().manual_seed(seed), torch.arange(n)

    def uniform() -> Tensor:
        return torch.rand(n, generator=random)

    def blurred(x: Tensor, by: float) -> Tensor:
        return x + by * torch.randn(x.shape, generator=random)

    def circle(angle: Tensor) -> Tensor:
        return torch.stack([angle.cos(), angle.sin()], 1)

    half, turn = circle(torch.pi * uniform()), 3 * torch.pi * uniform().sqrt()
    four, two, along = each % 4, each // 4 % 2, 2 * uniform() - 1
    edge = torch.stack([torch.where(four < 2, along, 2 * four - 5), torch.where(four < 2, 2 * four - 1, along)], 1)
    found = {
        "moons": blurred(torch.where(each[:, None] % 2 == 0, half, torch.tensor([1.0, 0.5]) - half), 0.05),
        "checkerboard": torch.stack([four + uniform(), 2 * two + four % 2 + uniform()], 1),
        "rings": blurred(circle(2 * torch.pi * uniform()) * (1 + each[:, None] % 3), 0.05),
        "spiral": blurred(circle(turn) * turn[:, None], 0.2),
        "squares": blurred(edge * (1 + two[:, None]), 0.03),
        "blobs": blurred(2 * circle(torch.pi / 4 * (each % 8)), 0.15),
    }
    return {name: (x - x.mean(0)) / (x - x.mean(0)).std() for name, x in found.items()}


def up(model: Palette, x: Tensor) -> Tensor:
    """Carry points (N, 2) to noise; the way begins at the lowest noise level."""
    return _walked(model, x, SIGMAS[:-1].flip(0))


def down(model: Palette, z: Tensor) -> Tensor:
    """Carry noise (N, 2) to points."""
    return _walked(model, z, SIGMAS)


def _walked(model: Palette, x: Tensor, sigmas: Tensor) -> Tensor:
    return samplers.get("heun").on(LEVELS)(model, x, sigmas, noise=lambda a, b: torch.zeros_like(x), on_step=silent)


def point_sets() -> Iterator[Figure]:
    """Translate each of six sets into each other one and back."""
    all_points = sets(2 * COUNT)
    own = torch.arange(COUNT)
    models = {k: Palette(x[:COUNT], torch.full((COUNT,), 1 / COUNT), SMOOTH, own) for k, x in all_points.items()}
    others = {k: x[COUNT:] for k, x in all_points.items()}
    random = torch.Generator().manual_seed(1)
    noises = [float(SIGMAS[0]) * torch.randn(COUNT, 2, generator=random) for _ in range(DRAWS)]
    drawn = {k: mean(sliced(down(model, z), others[k]) for z in noises) for k, model in models.items()}
    codes = {k: up(model, others[k]) for k, model in models.items()}
    missed, untouched, off = [], [], []
    pairs = list(permutations(models, 2))
    for a, b in pairs:
        there = down(models[b], codes[a])
        missed.append(sliced(there, others[b]) / drawn[b])
        untouched.append(sliced(others[a], others[b]) / drawn[b])
        off.append((down(models[a], up(models[b], there)) - others[a]).norm(dim=1))
    farthest = max(float(x.max()) for x in off)
    yield Figure("six sets of points, the worst pair: distance to the target, of that of drawn points (control: "
                 "untouched, mean)", max(missed), 1.5, mean(untouched), len(pairs), "points", most=True)  # fmt: skip
    yield Figure("sets of points: mean way off after there and back", mean(x.mean() for x in off), 0.02, None,
                 len(pairs), "points_back", most=True)  # fmt: skip
    yield Figure("sets of points: farthest way off after there and back", farthest, 0.1, None, len(pairs),
                 "points_farthest", most=True)  # fmt: skip


def sliced(a: Tensor, b: Tensor) -> float:
    """Return the mean Wasserstein-1 distance of points (N, 2) over directions."""
    ways = torch.randn(2, DIRECTIONS, generator=torch.Generator().manual_seed(0))
    x, y = ((points @ (ways / ways.norm(dim=0))).sort(0).values for points in (a, b))
    return float((x - y).abs().mean())
