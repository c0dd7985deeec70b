"""Inversion: the deterministic map from a clean latent to its noise, and the latents kept on the way."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from engine.codec import digest_of
from engine.diffusion.levels import Levels, flip
from engine.diffusion.stepping import Denoise, OnStep, silent, walk
from engine.errors import BadInput
from engine.types import Model, Trajectory


def invert(
    denoise: Denoise,
    x0: Tensor,
    sigmas: Tensor,
    levels: Levels,
    *,
    convention: Literal["matched", "current"] = "matched",
    refine: int = 0,
    on_step: OnStep = silent,
) -> Tensor:
    """Walk x0 up the (falling) sigmas and return the latents of all levels (N + 1, B, C, h, w), [0] = x0.

    One step is x_next = x + (sigma_next - sigma) e. `matched` takes e at the timestep that the sampler will
    use on the way down, e = eps(x, t_next), x in the family's own scale (Mokady et al. 2022, arXiv
    2211.09794; DDIMInverse of diffusers); `current` takes eps(x, t), from the second step on (Dhariwal and
    Nichol 2021, arXiv 2105.05233). `refine` repeats e = eps(x_next, t_next), the fixed point of which inverts
    the sampler's step exactly (Pan et al. 2023, arXiv 2309.04907), at as many more calls.
    """
    top = max(sigmas.tolist(), default=0.0)
    if not levels.reaches(top):
        raise BadInput(
            f"The noise levels go up to sigma {top:.4g}, this model knows {levels.sigma_max:.4g} at most: give the "
            "sigmas of the model that inverts.", field="sigmas",
        )  # fmt: skip
    x, kept = x0, [x0]
    for step in walk(flip(sigmas)):
        sigma, sigma_next = step.sigma, step.sigma_next
        if convention == "current" and sigma > 0:
            eps = (x - denoise(x, sigma)) / sigma
        else:
            eps = _eps(denoise, x * levels.native_scale(sigma) / levels.native_scale(sigma_next), sigma_next)
        upper = x + (sigma_next - sigma) * eps
        for _ in range(refine):
            eps = _eps(denoise, upper, sigma_next)
            upper = x + (sigma_next - sigma) * eps
        x = step.done(on_step, upper, upper - sigma_next * eps)
        kept.append(x)
    return torch.stack(kept)


def _eps(denoise: Denoise, x: Tensor, sigma: float) -> Tensor:
    return (x - denoise(x, sigma)) / sigma


def unit(trajectory: Trajectory, k: int) -> Tensor:
    """Return the latent (B, C, h, w) of level k in unit variance, x / sqrt(1 + sigma^2); -1 is the noise at its end."""
    return trajectory.latents[k] / math.sqrt(1 + float(trajectory.sigmas[k]) ** 2)


def at_sigma(trajectory: Trajectory, sigma: float) -> Tensor:
    """Return the latent (B, C, h, w) kept at exactly that noise level."""
    found = (trajectory.sigmas == sigma).nonzero()
    if not len(found):
        raise BadInput(
            f"The trajectory keeps no latent at sigma {sigma:.4g}: sample with the sigmas it was made on.",
            field="sigmas",
        )
    return trajectory.latents[int(found[0])]


def origin_of(model: Model) -> str:
    """Return the digest that a trajectory carries of its model: weights, patches and options."""
    return digest_of(model)


def check_origin(trajectory: Trajectory, model: Model, field: str = "trajectory") -> None:
    """Refuse a trajectory that was made by another model than it is used with."""
    if trajectory.origin != origin_of(model):
        raise BadInput(
            f"The trajectory was inverted with another model than {model.weights.name!r} as it is used here (its "
            "weights, patches or options differ): invert with the very model that samples.", field=field,
        )  # fmt: skip
