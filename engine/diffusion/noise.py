"""Noise from a seed, made on the CPU, so that a picture is the same on every device.

Each sample of a batch has a seed of its own: sample k alone equals sample k in a batch.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.diffusion.stepping import StepNoise

IN_TURN = "in_turn"  # the kind of Gaussian noise whose samples come from one generator, as in ComfyUI


@dataclass(frozen=True)
class NoiseSource:
    """Seeds, one per sample (B,). Sample k of a batch made from one seed has seed + k.

    With `draws` the start of sampling is drawn as ComfyUI does it: one after the other from one generator, of which
    sample k is the draw number draws[k], and a batch without gaps in one draw.
    """

    seeds: tuple[int, ...]
    draws: tuple[int, ...] | None = None

    @classmethod
    def of(
        cls, seed: int, batch: int = 1, *, indices: Sequence[int] | None = None, in_turn: bool = False
    ) -> NoiseSource:
        """Spread one seed over a batch; `indices` picks samples of a larger batch instead of 0..batch-1."""
        picked = tuple(range(batch) if indices is None else indices)
        return cls(tuple((seed + k) % 2**64 for k in picked), picked if in_turn else None)

    def initial(self, like: Tensor) -> Tensor:
        """Return unit Gaussian noise of the shape (B, ...) and device of `like`: the start of sampling."""
        return self._stack(like, lambda seed: seed) if self.draws is None else self._in_turn(like, self.draws)

    def _in_turn(self, like: Tensor, draws: tuple[int, ...]) -> Tensor:
        generator = torch.Generator().manual_seed((self.seeds[0] - draws[0]) % 2**64)
        if draws == tuple(range(len(like))):
            return torch.randn(like.shape, generator=generator).to(like.device)
        drawn = [torch.randn(1, *like.shape[1:], generator=generator) for _ in range(max(draws) + 1)]
        return torch.cat([drawn[k] for k in draws]).to(like.device)

    def steps(self, like: Tensor) -> StepNoise:
        """Return the noise that samplers add at their steps.

        It is keyed by the pair of sigmas, not drawn in turn: a step redone, skipped or taken by another
        branch gets the same noise as before.
        """
        return lambda sigma, sigma_next: self._stack(like, lambda seed: derived(seed, "step", sigma, sigma_next))

    def brownian(self, like: Tensor) -> StepNoise:
        """Return step noise cut from one Brownian path, so that nested and neighbouring steps agree.

        The solution of the reverse SDE divided by sigma^2 is driven by a Brownian motion whose time is tau =
        1 / sigma^2 (it is the stochastic localisation process y = tau x0 + W), so the unit noise of a step is
        (W(tau_next) - W(tau)) / sqrt(tau_next - tau). With it the picture barely depends on the number of
        steps.
        """
        path = BrownianPath(lambda *key: self._stack(like, lambda seed: derived(seed, "path", *key)))

        def unit(sigma: float, sigma_next: float) -> Tensor:
            tau, tau_next = sigma**-2, sigma_next**-2
            return (path(tau_next) - path(tau)) / math.sqrt(tau_next - tau)

        return unit

    def _stack(self, like: Tensor, key: Callable[[int], int]) -> Tensor:
        """Draw one sample per seed, each from its own generator."""
        if len(self.seeds) != len(like):
            raise ValueError(f"{len(self.seeds)} seeds for a batch of {len(like)}")
        drawn = [torch.randn(like.shape[1:], generator=torch.Generator().manual_seed(key(s))) for s in self.seeds]
        return torch.stack(drawn).to(like.device)


class BrownianPath:
    """A Brownian motion W(tau), tau > 0, W(0) = 0, the same at tau whatever was asked before.

    Virtual Brownian tree (Li et al. 2020, arXiv 2001.01328, section 4): the bridge is refined towards tau on
    a fixed dyadic grid of log2(tau), every grid point with its own seeded draw; between grid points W is
    interpolated with `draw` at tau itself. `draw(level, index)` gives unit noise.
    """

    SPAN = 64  # the grid covers tau from 2^-64 to 2^64
    DEPTH = 20  # finest spacing 2^-13 in log2(tau)

    def __init__(self, draw: Callable[[float, float], Tensor]) -> None:
        self._draw = draw
        self._recent: dict[float, Tensor] = {}

    def __call__(self, tau: float) -> Tensor:
        """Return W(tau)."""
        if tau not in self._recent:
            if len(self._recent) > 3:
                self._recent.pop(next(iter(self._recent)))
            self._recent[tau] = self._descend(tau)
        return self._recent[tau]

    def _descend(self, tau: float) -> Tensor:
        place = (math.log2(tau) + self.SPAN) / (2 * self.SPAN)  # in (0, 1)
        low, high = 0, 1  # of 2^depth grid cells
        a, b = self._tau(low, 0), self._tau(high, 0)
        w_a = math.sqrt(a) * self._draw(0, 0)
        w_b = w_a + math.sqrt(b - a) * self._draw(0, 1)
        for depth in range(1, self.DEPTH + 1):
            low, high = 2 * low, 2 * high
            middle = low + 1
            m = self._tau(middle, depth)
            w_m = _bridge(a, w_a, b, w_b, m, self._draw(depth, middle))
            if place < middle / 2**depth:
                high, b, w_b = middle, m, w_m
            else:
                low, a, w_a = middle, m, w_m
        return w_a if tau <= a else _bridge(a, w_a, b, w_b, tau, self._draw(-1, tau))

    def _tau(self, index: int, depth: int) -> float:
        return float(2.0 ** (2 * self.SPAN * index / 2**depth - self.SPAN))


def _bridge(a: float, w_a: Tensor, b: float, w_b: Tensor, t: float, draw: Tensor) -> Tensor:
    """Return W(t) given W(a) and W(b), a <= t <= b, with unit noise `draw`."""
    return w_a + (t - a) / (b - a) * (w_b - w_a) + math.sqrt((t - a) * (b - t) / (b - a)) * draw


def derived(seed: int, kind: str, *key: float) -> int:
    """Return a seed for one use of `seed`: the first 63 bits of a hash."""
    packed = kind.encode() + struct.pack(f"<q{len(key)}d", seed % 2**63, *key)
    return int.from_bytes(hashlib.blake2b(packed, digest_size=8).digest(), "little") >> 1
