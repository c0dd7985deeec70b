"""A model with closed-form answers that the editing nodes run on: every cell is Gaussian, its mean is the prompt."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from engine.context import Context
from engine.diffusion import levels, schedules
from engine.diffusion.denoiser import Denoiser
from engine.types import Cond, Conditioning, Guider, Latent, Model, Sigmas, Weights

SD = levels.scaled_linear()
STD = 0.5
MODEL = Model("toy", Weights("toys", "toy", "0"), options={"channels": 2, "factor": 2, "size": 16})


@dataclass
class Toy:
    """p(x0) = N(mean of the prompt's tokens, STD^2) in each cell. `calls` keeps (timestep, rows) of each call."""

    levels: levels.Levels = SD
    channels: int = 2
    preview: Tensor | None = None
    calls: list[tuple[float, int]] = field(default_factory=list)

    @property
    def denoiser(self) -> Denoiser:
        return Denoiser(self.predict, self.levels, "eps")

    def predict(self, x_in: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        self.calls.append((float(c_noise[0]), len(x_in)))
        sigma = self.levels.table[int(c_noise[0]) + 1].item()
        x = x_in * (1 + sigma**2) ** 0.5
        mean = cond.tokens.mean((1, 2)).to(x)[:, None, None, None]
        return (x - mean) * sigma / (STD**2 + sigma**2)


class Models:
    """Hands out one network, whatever is described."""

    def __init__(self, network: Any) -> None:
        self.network = network

    @contextmanager
    def use(self, described: Any, *, working_bytes: int = 0) -> Iterator[Any]:
        yield self.network


def context(network: Any) -> Context:
    return Context(node="n", models=Models(network))


def prompt(mean: float, length: int = 3) -> Conditioning:
    return Conditioning((Cond(torch.full((1, length, 2), mean)),))


def guider(mean: float = 0.3, *, scale: float = 1.0) -> Guider:
    return Guider("cfg", MODEL, {"positive": prompt(mean), "negative": prompt(0.0)}, {"scale": scale})


def spaced(steps: int, schedule: str = "simple") -> Sigmas:
    return Sigmas(schedules.get(schedule)(SD, steps))


def latent(seed: int = 0, batch: int = 1, side: int = 8) -> Latent:
    return Latent(torch.randn(batch, 2, side, side, generator=torch.Generator().manual_seed(seed)), 2)
