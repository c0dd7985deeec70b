"""The samplers in one node."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import torch
from torch import Tensor

from engine.context import Context
from engine.diffusion.levels import Levels
from engine.diffusion.marks import marked
from engine.diffusion.noise import IN_TURN, NoiseSource
from engine.node import Range
from engine.types import Conditioning, Guider, Latent, Model, Noise, Sampler, Sigmas
from nodes.comfyui._core import Cfg, Part, Seed, Steps, core
from nodes.comfyui._sampling import (
    PENULTIMATE,
    Ended,
    SamplerName,
    SchedulerName,
    guider_of,
    noise_of,
    run,
    sampler_named,
    sigmas_of,
)

StepNumber = Annotated[int, Range(0, 10_000)]


@core("KSampler", "sampling")
def ksampler(
    ctx: Context, model: Model, seed: Seed = 0, steps: Steps = 20, cfg: Cfg = 8.0, sampler_name: SamplerName = "euler",
    *, scheduler: SchedulerName = "simple", positive: Conditioning, negative: Conditioning, latent_image: Latent,
    denoise: Part = 1.0,
) -> Latent:  # fmt: skip
    """Make pictures, as latents, from noise or from other latents."""

    def sigmas(levels: Levels) -> Tensor:
        return sigmas_of(levels, scheduler, steps, denoise, drop=sampler_name in PENULTIMATE)

    guider = guider_of(model, positive, negative, cfg)
    return run(ctx, guider, sampler_named(sampler_name), latent_image, noise_of(seed), sigmas=sigmas).latent


@core("KSamplerAdvanced", "sampling", "KSampler (Advanced)")
def ksampler_advanced(
    ctx: Context, model: Model, add_noise: Literal["enable", "disable"] = "enable", noise_seed: Seed = 0,
    steps: Steps = 20, cfg: Cfg = 8.0, *, sampler_name: SamplerName = "euler", scheduler: SchedulerName = "simple",
    positive: Conditioning, negative: Conditioning, latent_image: Latent, start_at_step: StepNumber = 0,
    end_at_step: StepNumber = 10_000, return_with_leftover_noise: Literal["disable", "enable"] = "disable",
) -> Latent:  # fmt: skip
    """Take some of the steps of a schedule.

    Args:
        add_noise: Whether noise is added first; not when a first half has left some.
        start_at_step: The first step taken, counted from 0.
        end_at_step: The first step no longer taken.
        return_with_leftover_noise: Whether the noise of the steps not taken stays for another sampler to remove.
    """

    def sigmas(levels: Levels) -> Tensor:
        whole = sigmas_of(levels, scheduler, steps, drop=sampler_name in PENULTIMATE)
        part = whole[: end_at_step + 1].clone()
        if return_with_leftover_noise == "disable" and end_at_step < len(whole) - 1:
            part[-1] = 0
        return part[start_at_step:]

    noise = noise_of(noise_seed) if add_noise == "enable" else None
    guider = guider_of(model, positive, negative, cfg)
    return run(ctx, guider, sampler_named(sampler_name), latent_image, noise, sigmas=sigmas).latent


@core("SamplerCustom", "sampling/custom_sampling")
def sampler_custom(
    ctx: Context, model: Model, add_noise: bool = True, noise_seed: Seed = 0, cfg: Cfg = 8.0, *,
    positive: Conditioning, negative: Conditioning, sampler: Sampler, sigmas: Sigmas, latent_image: Latent,
) -> Ended:  # fmt: skip
    """Sample with a sampler and noise levels of your own.

    Args:
        add_noise: Whether noise is added at the first level.
    """
    noise = noise_of(noise_seed) if add_noise else None
    guider = guider_of(model, positive, negative, cfg)
    return Ended(*run(ctx, guider, sampler, latent_image, noise, sigmas=sigmas.values))


@core("SamplerCustomAdvanced", "sampling/custom_sampling")
def sampler_custom_advanced(
    ctx: Context, noise: Noise, guider: Guider, sampler: Sampler, sigmas: Sigmas, latent_image: Latent
) -> Ended:
    """Sample with every part of your own.

    Args:
        noise: Noise to add at the first level.
        guider: The model and how it is steered.
    """
    given = None if noise.kind == NO_NOISE else noise
    return Ended(*run(ctx, guider, sampler, latent_image, given, sigmas=sigmas.values))


@core("RandomNoise", "sampling/custom_sampling/noise")
def random_noise(noise_seed: Seed = 0) -> Noise:
    """Give noise by its number."""
    return noise_of(noise_seed)


@core("DisableNoise", "sampling/custom_sampling/noise")
def disable_noise() -> Noise:
    """Give no noise: the latents are taken to be at the first level already."""
    return Noise(0, NO_NOISE)


@core("AddNoise", "_for_testing/custom_sampling/noise")
def add_noise(ctx: Context, model: Model, noise: Noise, sigmas: Sigmas, latent_image: Latent) -> Latent:
    """Add the noise of the first level, less that of the last, to latents.

    Args:
        noise: The noise.
    """
    if len(sigmas.values) == 0 or noise.kind == NO_NOISE:
        return latent_image
    only = sigmas.values[:1]
    added = only - sigmas.values[-1:] if len(sigmas.values) > 1 else only
    return _noised(latent_image, noise, added)


NO_NOISE = "none"


def _noised(latent: Latent, noise: Noise, sigma: Tensor) -> Latent:
    source = NoiseSource.of(noise.seed, len(latent.samples), indices=latent.seeds, in_turn=noise.kind == IN_TURN)
    drawn = source.initial(latent.samples)
    eps = drawn if noise.kind == IN_TURN else marked(noise, drawn)
    return replace(latent, samples=torch.nan_to_num(latent.samples + float(sigma) * eps))
