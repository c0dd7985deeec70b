"""One contract over every prediction type: D(x, sigma) -> x0, x = x0 + sigma * eps.

D = c_skip x + c_out F(c_in x, c_noise) (Karras et al. 2022, arXiv 2206.00364, eq. 7). A network is a callable
F(x_in, c_noise, cond) -> prediction; samplers, guiders and inversion see only D.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from engine.diffusion.levels import Levels
from engine.errors import BadInput
from engine.types import Cond, Record

Prediction = Literal["eps", "v", "x0", "edm", "flow"]

Network = Callable[[Tensor, Tensor, Cond], Tensor]
"""F(x_in (B, C, h, w), c_noise (B,), cond with B rows) -> prediction (B, C, h, w) without extra channels."""


Combine = Callable[[Tensor, float, Tensor, Tensor, float], Tensor]
"""(x, sigma, c, u, scale) -> x0: how predictions with and without the prompt become one."""


@dataclass(frozen=True)
class Scaling:
    """The three factors of D = c_skip x + c_out F(c_in x) at some sigma, each shaped to multiply x."""

    c_skip: Tensor
    c_out: Tensor
    c_in: Tensor


def scaling(prediction: Prediction, sigma: float | Tensor, x: Tensor, *, sigma_data: float = 0.5) -> Scaling:
    """Return the factors for one sigma or one per sample (B,), computed in double precision, in x's dtype.

    eps, x0: DDPM's parametrisations; v: Salimans and Ho 2022, arXiv 2202.00512; edm: Karras et al. 2022,
    table 1; flow: F = eps - x0 at s = sigma / (1 + sigma), whose native input is (1 - s) x.
    """
    s = torch.as_tensor(sigma, dtype=torch.float64, device="cpu")  # not every device has doubles
    one, vp = torch.ones_like(s), (s**2 + 1).rsqrt()
    data = s**2 + sigma_data**2
    c_skip, c_out, c_in = {
        "eps": (one, -s, vp),
        "v": (vp**2, -s * vp, vp),
        "x0": (0 * s, one, vp),
        "edm": (sigma_data**2 / data, s * sigma_data * data.rsqrt(), data.rsqrt()),
        "flow": (1 / (1 + s), -s / (1 + s), 1 / (1 + s)),
    }[prediction]
    shape = (-1,) + (1,) * (x.ndim - 1)
    return Scaling(*(c.reshape(shape).to(x) for c in (c_skip, c_out, c_in)))


def from_x0(prediction: Prediction, x: Tensor, x0: Tensor, sigma: float | Tensor, *, sigma_data: float = 0.5) -> Tensor:
    """Return what a network of that type would have predicted to give x0 at x: (x0 - c_skip x) / c_out."""
    c = scaling(prediction, sigma, x, sigma_data=sigma_data)
    return (x0 - c.c_skip * x) / c.c_out


def to_x0(prediction: Prediction, x: Tensor, out: Tensor, sigma: float | Tensor, *, sigma_data: float = 0.5) -> Tensor:
    """Return the x0 that a network's output stands for: c_skip x + c_out F."""
    c = scaling(prediction, sigma, x, sigma_data=sigma_data)
    return c.c_skip * x + c.c_out * out.to(x.dtype)


@dataclass(frozen=True, eq=False)
class Denoiser:
    """A network as D(x, sigma, cond) -> x0. `sigma`: one number, or one per sample (B,).

    `interpolate` tells a table-trained network fractional timesteps instead of the nearest; `combine` replaces
    u + scale (c - u) in classifier-free guidance.
    """

    network: Network
    levels: Levels
    prediction: Prediction
    sigma_data: float = 0.5
    interpolate: bool = False
    combine: Combine | None = None

    def __call__(self, x: Tensor, sigma: float | Tensor, cond: Cond) -> Tensor:
        """Denoise x (B, C, h, w) under one condition, whose rows (1 or B) are spread over the batch."""
        each = sigma.tolist() if isinstance(sigma, Tensor) else [sigma]
        timesteps = [self.levels.timestep(s, interpolate=self.interpolate) for s in each]
        c_noise = torch.tensor(timesteps, dtype=torch.float32, device=x.device).expand(len(x))  # (B,)
        c = scaling(self.prediction, sigma, x, sigma_data=self.sigma_data)
        out = self.network(c.c_in * x, c_noise, expand(cond, len(x)))
        return c.c_skip * x + c.c_out * out.to(x.dtype)

    def each(self, x: Tensor, sigma: float, conds: Sequence[Cond]) -> list[Tensor]:
        """Denoise x under each of several conditions, in one network call where their shapes allow."""
        rows = [expand(cond, len(x)) for cond in conds]
        together = stack(rows) if len(rows) > 1 else None
        if together is None:
            return [self(x, sigma, cond) for cond in rows]
        return list(self(x.repeat(len(rows), *[1] * (x.ndim - 1)), sigma, together).chunk(len(rows)))


# Where, when and how strongly a condition holds is the guider's business.
_NETWORK_SEES = ("tokens", "pooled", "extra")


def expand(cond: Cond, batch: int) -> Cond:
    """Give a condition's tensors `batch` rows; a tensor with one row is repeated."""
    if len(cond.tokens) not in (1, batch):
        raise BadInput(f"A condition of {len(cond.tokens)} prompts cannot serve a batch of {batch}: use 1 or {batch}.")

    def rows(value: Any) -> Any:
        if isinstance(value, Tensor) and value.ndim and len(value) == 1:
            return value.expand(batch, *value.shape[1:])
        if isinstance(value, dict):
            return {k: rows(v) for k, v in value.items()}
        return type(value)(rows(v) for v in value) if isinstance(value, list | tuple) else value

    return replace(cond, **{name: rows(getattr(cond, name)) for name in _NETWORK_SEES})


def taken(cond: Cond, rows: slice) -> Cond:
    """Return the condition of some rows of a batch; its tensors have a row each, as `expand` leaves them."""

    def cut(value: Any) -> Any:
        if isinstance(value, Tensor) and value.ndim:
            return value[rows]
        if isinstance(value, dict):
            return {k: cut(v) for k, v in value.items()}
        return type(value)(cut(v) for v in value) if isinstance(value, list | tuple) else value

    return replace(cond, **{name: cut(getattr(cond, name)) for name in _NETWORK_SEES})


def in_halves(network: Network, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
    """Call a network on half a batch at a time, where memory is short; `cond` has a row for each sample."""
    middle = len(x) // 2
    halves = (slice(middle), slice(middle, None))
    return torch.cat([network(x[half], c_noise[half], taken(cond, half)) for half in halves])


def stack(conds: Sequence[Cond]) -> Cond | None:
    """Join conditions along the batch, or return None if their shapes or extras differ."""
    try:
        return Cond(**{name: _join([getattr(c, name) for c in conds]) for name in _NETWORK_SEES})
    except _Different:
        return None


class _Different(Exception):
    """Values that cannot be joined along the batch."""


def _join(values: list[Any]) -> Any:
    first = values[0]
    alike = all(type(v) is type(first) for v in values)
    if isinstance(first, Tensor) and first.ndim and alike and all(v.shape == first.shape for v in values):
        return torch.cat(values)
    if isinstance(first, dict) and alike and all(v.keys() == first.keys() for v in values):
        return {k: _join([v[k] for v in values]) for k in first}
    if isinstance(first, list | tuple) and alike and all(len(v) == len(first) for v in values):
        return type(first)(_join(list(parts)) for parts in zip(*values, strict=True))
    if all(v is first or (isinstance(v, str | int | float | Record) and v == first) for v in values):
        return first
    raise _Different
