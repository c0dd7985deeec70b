"""The noise schedule as an object: all conversions between level, timestep, sigma, logSNR and percent.

A level k runs from 0 = clean to N = noisiest. In variance-exploding units x = x0 + sigma * eps, so for each
schedule alpha_bar = 1 / (1 + sigma^2), logSNR = -2 ln(sigma), and in flow time s = sigma / (1 + sigma).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from engine.errors import BadInput

Kind = Literal["vp", "flow", "edm"]

FLOW_MAX = 0.9999  # s = 1 is sigma = infinity; here the signal left is 1e-4
TERMINAL_ALPHA_BAR = 1e-7  # zero-terminal-SNR tables end in alpha-bar = 0, which is sigma = infinity as well


@dataclass(frozen=True, eq=False)
class Levels:
    """A noise schedule of N levels. `table`: (N + 1,) float64 sigmas, table[0] = 0, strictly increasing.

    `kind` says what the network is told: `vp` its table index, `flow` 1000 s, `edm` ln(sigma) / 4."""

    table: Tensor
    kind: Kind = "vp"

    def __post_init__(self) -> None:
        table = self.table
        if table.ndim != 1 or len(table) < 2 or table[0] != 0 or not bool((table.diff() > 0).all()):
            raise BadInput("A noise schedule must start at 0 and rise at every level.")

    @property
    def count(self) -> int:
        """N, the noisiest level."""
        return len(self.table) - 1

    @property
    def sigma_min(self) -> float:
        """Sigma of level 1."""
        return float(self.table[1])

    @property
    def sigma_max(self) -> float:
        """Sigma of level N."""
        return float(self.table[-1])

    def reaches(self, sigma: float) -> bool:
        """Say whether sigma is none above the noisiest level, rounding aside."""
        return sigma <= self.sigma_max * (1 + 1e-6)

    def sigma(self, k: float) -> float:
        """Return sigma of level k; between levels log(sigma) is linear, below level 1 sigma is."""
        if not 0 <= k <= self.count:
            raise BadInput(f"Level {k:g} is outside 0..{self.count}.")
        low = min(int(k), self.count - 1)
        a, b, w = float(self.table[low]), float(self.table[low + 1]), k - low
        return w * b if low == 0 else a ** (1 - w) * b**w

    def sigmas(self, ks: Iterable[float]) -> Tensor:
        """Return sigma of each level, float64."""
        return torch.tensor([self.sigma(k) for k in ks], dtype=torch.float64)

    def level(self, sigma: float) -> float:
        """Return the level of sigma, fractional; the inverse of `sigma`, clamped to 0..N."""
        high = int(torch.searchsorted(self.table, torch.tensor(sigma, dtype=torch.float64)))
        if high in (0, self.count + 1):
            return float(min(high, self.count))
        a, b = float(self.table[high - 1]), float(self.table[high])
        return sigma / b if high == 1 else high - 1 + math.log(sigma / a) / math.log(b / a)

    def nearest(self, sigma: float) -> int:
        """Return the level in 1..N whose log(sigma) is nearest."""
        return max(1, round(self.level(sigma)))

    def timestep(self, sigma: float, *, interpolate: bool = False) -> float:
        """Return what the network is told at sigma: of a table the nearest level - 1, or a fractional one."""
        if self.kind == "flow":
            return 1000 * sigma / (1 + sigma)
        if self.kind == "edm":
            return math.log(sigma) / 4
        return max(1.0, self.level(sigma)) - 1 if interpolate else self.nearest(sigma) - 1.0

    def native_scale(self, sigma: float) -> float:
        """Return the factor from x in variance-exploding units to x as the model family writes it."""
        return {"vp": 1 / math.sqrt(1 + sigma**2), "flow": 1 / (1 + sigma), "edm": 1.0}[self.kind]

    def alpha_bar(self, k: float) -> float:
        """Return the signal's share of variance at level k."""
        return 1 / (1 + self.sigma(k) ** 2)

    def logsnr(self, k: float) -> float:
        """Return ln(signal^2 / noise^2) at level k; infinite at level 0."""
        sigma = self.sigma(k)
        return -2 * math.log(sigma) if sigma else math.inf

    def sigma_at(self, percent: float) -> float:
        """Return sigma after `percent` in 0..1 of sampling; infinite at 0, so that nothing lies before it."""
        return math.inf if percent <= 0 else self.sigma((1 - min(percent, 1.0)) * self.count)

    def percent(self, sigma: float) -> float:
        """Return the part of sampling that lies before sigma, in 0..1."""
        return 1 - self.level(sigma) / self.count

    def shifted(self, factor: float) -> Levels:
        """Multiply every sigma: logSNR - 2 ln(factor).

        For flow models this is the resolution shift s -> f s / (1 + (f - 1) s) (Esser et al. 2024, arXiv
        2403.03206, eq. 23); for a table factor = image_d / noise_d (Hoogeboom et al. 2023, arXiv 2301.11093).
        """
        if factor <= 0:
            raise BadInput(f"The schedule shift must be positive, not {factor:g}.")
        if self.kind != "flow":
            return replace(self, table=self.table * factor)
        top = self.table[-1:]  # s = 1 is a fixed point of the shift
        below = self.table[:-1] * factor
        return replace(self, table=torch.cat([below[below < top], top]))

    def zero_terminal(self) -> Levels:
        """Rescale a table so that it ends in pure noise.

        Lin et al. 2023, arXiv 2305.08891, algorithm 1: sqrt(alpha_bar) shifted to 0 at the end and stretched back to
        its first value.
        """
        if self.kind != "vp":
            raise BadInput("Only the schedule of a table can be made to end in pure noise; this is another kind.")
        root = (1 + self.table[1:] ** 2).rsqrt()
        root = (root - root[-1]) * root[0] / (root[0] - root[-1])
        return from_alpha_bar(root**2)

    def until(self, sigma: float) -> Levels:
        """Cut the levels off at sigma, which becomes the noisiest one."""
        below = self.table[self.table < sigma]
        return replace(self, table=torch.cat([below, below.new_tensor([sigma])]))


def sigma_of_alpha_bar(alpha_bar: Tensor) -> Tensor:
    """Return sigma = sqrt((1 - alpha_bar) / alpha_bar), elementwise."""
    return ((1 - alpha_bar) / alpha_bar).sqrt()


def from_alpha_bar(alpha_bar: Tensor) -> Levels:
    """Make a table schedule from the alpha-bars (N,) of timesteps 0..N-1, which fall."""
    sigmas = sigma_of_alpha_bar(alpha_bar.double().clamp(min=TERMINAL_ALPHA_BAR))
    return Levels(torch.cat([sigmas.new_zeros(1), sigmas]))


def from_betas(betas: Tensor, *, zero_terminal: bool = False) -> Levels:
    """Make a table schedule from betas (N,); `zero_terminal` rescales it to end in pure noise."""
    found = from_alpha_bar(torch.cumprod(1 - betas.double(), 0))
    return found.zero_terminal() if zero_terminal else found


def scaled_linear(
    count: int = 1000, *, start: float = 0.00085, end: float = 0.012, zero_terminal: bool = False
) -> Levels:
    """Stable Diffusion's schedule: sqrt(beta) linear (Rombach et al. 2022, arXiv 2112.10752)."""
    betas = torch.linspace(start**0.5, end**0.5, count, dtype=torch.float64) ** 2
    return from_betas(betas, zero_terminal=zero_terminal)


def linear(count: int = 1000, *, start: float = 1e-4, end: float = 0.02, zero_terminal: bool = False) -> Levels:
    """DDPM's schedule: beta linear (Ho et al. 2020, arXiv 2006.11239, section 4)."""
    return from_betas(torch.linspace(start, end, count, dtype=torch.float64), zero_terminal=zero_terminal)


def cosine(count: int = 1000, *, offset: float = 0.008, beta_max: float = 0.999) -> Levels:
    """Return alpha_bar = cos^2 with betas capped (Nichol and Dhariwal 2021, arXiv 2102.09672, eq. 17)."""
    t = torch.linspace(0, 1, count + 1, dtype=torch.float64)
    alpha_bar = torch.cos((t + offset) / (1 + offset) * math.pi / 2) ** 2
    return from_betas((1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=beta_max))


def flow(count: int = 1000, *, shift: float = 1.0) -> Levels:
    """Rectified flow, x_s = (1 - s) x0 + s eps, with the timestep shift of SD3 and Flux (`shift` = exp(mu)).

    s = 1 would be sigma = infinity: the last level is clamped at s = 0.9999.
    """
    s = (torch.arange(count + 1, dtype=torch.float64) / count).clamp(max=FLOW_MAX)
    return Levels(s / (1 - s), "flow").shifted(shift)


def edm(count: int = 1000, *, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0) -> Levels:
    """EDM's range of sigmas, warped by rho (Karras et al. 2022, arXiv 2206.00364, eq. 5)."""
    ramp = torch.linspace(sigma_min ** (1 / rho), sigma_max ** (1 / rho), count, dtype=torch.float64)
    return Levels(torch.cat([ramp.new_zeros(1), ramp**rho]), "edm")


Schedule = Callable[[Levels, int], Tensor]
"""(levels, steps) -> sigmas (steps + 1,), falling, the last one 0."""


def by_strength(
    schedule: Schedule,
    levels: Levels,
    steps: int,
    strength: float,
    *,
    mode: Literal["steps", "level", "sigma"] = "steps",
    keep: Literal["total", "tail"] = "total",
) -> Tensor:
    """Return the sigmas of an edit that starts part of the way up: the only place that reads strength.

    `mode` says what strength is: `steps` a fraction of the schedule's steps, `level` a fraction of the noise
    levels (SDEdit's t0), `sigma` a noise level itself. `keep="total"` runs `steps` steps whatever the
    strength (a finer schedule); `keep="tail"` runs only those of the full schedule that lie below the start.
    Strength 0 gives one sigma, 0: no step, no noise. Strength 1 gives the whole schedule.
    """
    if steps < 1 or strength < 0 or (mode != "sigma" and strength > 1):
        raise BadInput(f"Need at least 1 step and a strength in 0..1, not {steps} steps at {strength:g}.")
    if mode == "steps":
        return _fraction_of_steps(schedule, levels, steps, strength, keep)
    start = strength if mode == "sigma" else levels.sigma(strength * levels.count)
    if start >= levels.sigma_max:
        return schedule(levels, steps)
    if start <= 0:
        return torch.zeros(1, dtype=torch.float64)
    if keep == "total":
        return schedule(levels.until(start), steps)
    sigmas = schedule(levels, steps)
    return torch.cat([sigmas.new_tensor([start]), sigmas[sigmas < start]])


def _fraction_of_steps(schedule: Schedule, levels: Levels, steps: int, strength: float, keep: str) -> Tensor:
    whole = 1e-6  # 50 * 0.58 is 28.999999999999996 and means 29
    run = steps if keep == "total" else int(steps * strength + whole)
    total = int(steps / strength + whole) if keep == "total" and strength else steps
    return schedule(levels, total)[-(run + 1) :] if strength else torch.zeros(1, dtype=torch.float64)


def flip(sigmas: Tensor) -> Tensor:
    """Return the sigmas upwards, for inversion: level 0 = clean first."""
    return sigmas.flip(0)
