"""What the sampling classes share: names, noise, noise levels and guidance as ComfyUI means them."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, NamedTuple

import torch
from torch import Tensor

from engine.context import Context
from engine.diffusion import model_tweaks, samplers, schedules
from engine.diffusion.blend import cells
from engine.diffusion.levels import Levels
from engine.diffusion.noise import IN_TURN
from engine.diffusion.sample import DiffusionNetwork, Sampled, working_bytes
from engine.errors import BadInput
from engine.node import Choice
from engine.types import Blend, Conditioning, Guider, Latent, Model, Noise, Sampler
from nodes.basics import _sampling as ours
from nodes.comfyui import control

# Their samplers by ours: those of the same name, and these.
RENAMED: dict[str, tuple[str, dict[str, Any]]] = {
    "dpmpp_sde_gpu": ("dpmpp_sde", {}),
    "dpmpp_2m_sde_gpu": ("dpmpp_2m_sde", {}),
    "dpmpp_2m_sde_heun": ("dpmpp_2m_sde", {"solver": "heun"}),
    "dpmpp_2m_sde_heun_gpu": ("dpmpp_2m_sde", {"solver": "heun"}),
    "dpmpp_3m_sde_gpu": ("dpmpp_3m_sde", {}),
}
PENULTIMATE = ("dpm_2", "dpm_2_ancestral", "uni_pc", "uni_pc_bh2")  # these leave out the last level before clean
SCHEDULERS = ("simple", "sgm_uniform", "karras", "exponential", "ddim_uniform", "beta", "normal", "linear_quadratic",
              "kl_optimal")  # fmt: skip


def sampler_names() -> tuple[str, ...]:
    """Return the names of samplers as ComfyUI writes them, for those that there are."""
    return (*samplers.names(), *RENAMED)


SamplerName = Annotated[str, Choice(sampler_names)]
SchedulerName = Annotated[str, Choice(lambda: SCHEDULERS)]


class Ended(NamedTuple):
    """Latents where sampling ended, and the clean picture that the model saw there."""

    output: Latent
    denoised_output: Latent


def sampler_named(name: str, **options: Any) -> Sampler:
    """Return one of their samplers as ours."""
    known, own = RENAMED.get(name, (name, {}))
    return Sampler(known, {**own, **options})


def noise_of(seed: int) -> Noise:
    """Return the noise of a seed as ComfyUI draws it: of a batch one after the other from one CPU generator."""
    return Noise(seed, IN_TURN)


def sigmas_of(levels: Levels, scheduler: str, steps: int, denoise: float = 1.0, *, drop: bool = False) -> Tensor:
    """Return the sigmas: of a schedule of steps / denoise steps the last steps + 1; `drop` leaves out the penultimate.

    denoise 0 gives none at all: nothing is sampled.
    """
    if denoise <= 0:
        return torch.zeros(0, dtype=torch.float64)
    total = steps if denoise > 0.9999 else int(steps / denoise)
    if total > STEPS_MAX:
        raise BadInput(f"{steps} steps at denoise {denoise:g} need a schedule of {total} steps.", field="denoise")
    sigmas = schedules.get(scheduler)(levels, total + drop)
    sigmas = torch.cat([sigmas[:-2], sigmas[-1:]]) if drop else sigmas
    return sigmas[-(steps + 1) :]


STEPS_MAX = 20_000


def guider_of(model: Model, positive: Conditioning, negative: Conditioning | None, scale: float = 1.0) -> Guider:
    """Return classifier-free guidance with what patches of the model (RescaleCFG, PAG ...) make of it."""
    conds = {"positive": positive} if negative is None else {"positive": positive, "negative": negative}
    changes = [t for t in model_tweaks.of(model) if t["kind"] in model_tweaks.GUIDANCE]
    if changes:
        return Guider("adjusted", model, conds, {"scale": scale, "changes": changes})
    return Guider(
        "conditional" if negative is None else "cfg", model, conds, {} if negative is None else {"scale": scale}
    )


def run(ctx: Context, guider: Guider, sampler: Sampler, latent: Latent, noise: Noise | None, *, sigmas: Any) -> Sampled:
    """Sample; `sigmas` are given, or made from the model's levels by a function. Without a step nothing changes."""
    with ctx.models.use(guider.model, working_bytes=working_bytes(latent)) as network:
        values = sigmas(network.denoiser.levels) if callable(sigmas) else sigmas
        begin = fitting(latent, network, guider.model)
        if len(values) < 2:
            return Sampled(begin, begin)
        conds = control.shared(guider.conds)
        guider = replace(guider, conds={role: completed(c, network, begin) for role, c in conds.items()})
        begin, blend = _stepwise(begin, guider.model)
        return ours.run(ctx, network, guider, sampler, sigmas=values, latent=begin, noise=noise, blend=blend)


def fitting(latent: Latent, network: DiffusionNetwork, model: Model) -> Latent:
    """Give empty latents the channels and the grid of the model; ComfyUI's empty latents know no model."""
    batch, channels, h, w = latent.samples.shape
    factor = int(model.options.get("factor", latent.factor))
    if (channels == network.channels and factor == latent.factor) or bool(latent.samples.any()):
        return latent
    h, w = (max(1, side * latent.factor // factor) for side in (h, w))
    return replace(latent, samples=latent.samples.new_zeros(batch, network.channels, h, w), factor=factor)


def completed(conditioning: Conditioning, network: Any, latent: Latent) -> Conditioning:
    """Give an inpainting model its picture, if the conditioning does not: the latents, and where they are made anew.

    It reads mask (1 channel) and masked latents beside the noisy latents; everything is new without a mask.
    """
    config = getattr(getattr(network, "module", None), "config", None)
    if config is None or int(getattr(config, "in_channels", 0)) != 2 * network.channels + 1:
        return conditioning
    mask = torch.ones_like(latent.samples[:, :1]) if latent.mask is None else cells(latent.mask, latent.samples).round()
    concat = torch.cat([mask.expand(len(latent.samples), -1, -1, -1), latent.samples], 1)  # (B, 1 + C, h, w)
    conds = (c if "concat" in c.extra else replace(c, extra={**c.extra, "concat": concat}) for c in conditioning.conds)
    return Conditioning(tuple(conds))


def _stepwise(latent: Latent, model: Model) -> tuple[Latent, Blend | None]:
    """Let a mask mean a strength for each place, if the model was told so (DifferentialDiffusion)."""
    if latent.mask is None or not any(t["kind"] == model_tweaks.DIFFERENTIAL for t in model_tweaks.of(model)):
        return latent, None
    return replace(latent, mask=None), Blend("per_pixel", masks=latent.mask[None], latents=latent.samples)
