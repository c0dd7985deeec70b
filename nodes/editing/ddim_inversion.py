"""DDIM inversion: the noise from which a model makes just this picture, and all latents on the way to it.

Song et al. 2020, arXiv 2010.02502; fixed-point refinement: Pan et al. 2023, arXiv 2309.04907.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal, NamedTuple

import torch

from engine.context import Context
from engine.diffusion import guidance
from engine.diffusion import trajectory as walks
from engine.diffusion.inversion import health, psnr
from engine.diffusion.sample import working_bytes
from engine.diffusion.stepping import StepInfo
from engine.errors import BadInput
from engine.node import Range, node
from engine.types import (
    Blend,
    Conditioning,
    Guider,
    Image,
    Latent,
    Mask,
    Model,
    Plot,
    Sampler,
    Sigmas,
    Trajectory,
    Vae,
)
from nodes.basics._sampling import Scale, run
from nodes.basics.image_batch import contact_sheet
from nodes.basics.vae import vae_decode
from nodes.editing.blended import latent_mask


class Inverted(NamedTuple):
    """The noise of a picture, in the units in which sampling goes on, and the latents of all levels."""

    latent: Latent
    trajectory: Trajectory


class Report(NamedTuple):
    """What an inversion is worth, in words, as curves, and as pictures."""

    report: str
    curves: Plot
    image: Image


@node(category="editing/inversion", title="DDIM inversion")
def ddim_invert(
    ctx: Context,
    model: Model,
    conditioning: Conditioning,
    latent: Latent,
    sigmas: Sigmas,
    *,
    negative: Conditioning | None = None,
    guidance_scale: Scale = 1.0,
    convention: Literal["matched", "current"] = "matched",
    refine: Annotated[int, Range(0, 20)] = 0,
) -> Inverted:
    """Find the noise that a model would make this picture from.

    Sample the result without further noise, over the same sigmas with ddim or euler, and the picture comes back. Each
    refinement makes that more exact, at as many calls again: 3 of them cut the error some hundred times.

    Args:
        model: The model.
        conditioning: What the picture shows, in words; an empty prompt often gives back more, a caption can be edited.
        latent: The picture.
        sigmas: The noise levels, as for sampling; they are walked upwards. A strength below 1 stops half-way.
        negative: With guidance, what it pulls away from.
        guidance_scale: Leave it at 1: a pull while inverting makes noise that is none.
        convention: matched asks the model at the level that sampling will use; current at the level where it is.
        refine: How often each step is refined.
    """
    conds = pulled(conditioning, negative, guidance_scale)
    with ctx.models.use(model, working_bytes=working_bytes(latent)) as network:
        denoise = guidance.build("cfg", network.denoiser, conds, scale=guidance_scale)

        def on_step(info: StepInfo) -> None:
            ctx.progress(info.i + 1, info.n)

        kept = walks.invert(
            denoise, latent.samples.float(), sigmas.values, network.levels, convention=convention, refine=refine,
            on_step=on_step,
        )  # fmt: skip
    made = Trajectory(kept, sigmas.values.flip(0).clone(), latent.factor, walks.origin_of(model), conditioning)
    return Inverted(replace(latent, samples=kept[-1], mask=None), made)


def pulled(positive: Conditioning, negative: Conditioning | None, scale: float) -> dict[str, Conditioning]:
    """Return the conditioning of a guidance by `scale`, which at 1 needs no negative prompt."""
    if scale != 1 and negative is None:
        raise BadInput(
            f"Guidance of {scale:g} pulls away from a negative prompt: give one, or set it to 1.", field="negative"
        )
    return {"positive": positive, "negative": negative or positive}


@node(category="editing/inversion")
def trajectory_at(trajectory: Trajectory, level: Annotated[int, Range(0, 1000)] = 0) -> Latent:
    """Take one latent out of a trajectory.

    Args:
        trajectory: The latents of an inversion.
        level: 0 is the clean picture; counted in steps upwards.
    """
    if level >= len(trajectory.latents):
        raise BadInput(f"The trajectory has levels 0 to {len(trajectory.latents) - 1}, got {level}.", field="level")
    return Latent(trajectory.latents[level], trajectory.factor)


@node(category="editing/inversion")
def keep_trajectory(trajectory: Trajectory, mask: Mask) -> Blend:
    """Keep the recorded latents where a mask is 0, at each step those of the same level.

    Args:
        trajectory: The latents of an inversion over the same sigmas.
        mask: 1 is where to edit.
    """
    latent = Latent(trajectory.latents[0], trajectory.factor)
    return Blend("trajectory", latent_mask(mask, latent)[None], trajectory=trajectory)


@node(category="editing/inversion")
def replay(
    ctx: Context, trajectory: Trajectory, guider: Guider, blend: Blend | None = None, sampler: Sampler | None = None
) -> Latent:
    """Sample from the end of a trajectory, over its own noise levels.

    Args:
        trajectory: The latents of an inversion; it must have been made with the guider's model.
        guider: How to sample: the same prompt gives the picture back, another one edits it.
        blend: What is put back after each step.
        sampler: How steps are taken; without it ddim, which is what was inverted.
    """
    walks.check_origin(trajectory, guider.model)
    return down(ctx, trajectory, guider, blend, sampler)


def down(
    ctx: Context, trajectory: Trajectory, guider: Guider, blend: Blend | None = None, sampler: Sampler | None = None
) -> Latent:
    """Sample from a trajectory's end down its own noise levels, with ddim unless told otherwise."""
    start = Latent(trajectory.latents[-1], trajectory.factor)
    with ctx.models.use(guider.model, working_bytes=working_bytes(start)) as network:
        ended = run(
            ctx, network, guider, sampler or Sampler("ddim"), sigmas=trajectory.sigmas.flip(0), latent=start,
            noise=None, blend=blend,
        )  # fmt: skip
    return ended.latent


@node(category="editing/inversion")
def inversion_report(
    ctx: Context,
    trajectory: Trajectory,
    model: Model,
    vae: Vae,
    conditioning: Conditioning | None = None,
    frames: Annotated[int, Range(2, 16)] = 6,
) -> Report:
    """Say what an inversion is worth: how exactly the picture comes back, and whether its noise is noise.

    The strip shows the picture on its way to noise, each level in its own scale, and last what comes back.

    Args:
        trajectory: The latents of an inversion.
        model: The model that made it.
        vae: Its autoencoder; the picture is compared with what that makes of it.
        conditioning: The prompt to sample back with; without it the one it was inverted with.
        frames: How many pictures are in the strip.
    """
    prompt = conditioning or trajectory.conditioning
    if prompt is None:
        raise BadInput("The trajectory has no prompt: give the one it was inverted with.", field="conditioning")
    back = replay(ctx, trajectory, Guider("conditional", model, {"positive": prompt}))
    plain, returned = (vae_decode(ctx, latent, vae).pixels for latent in (trajectory_at(trajectory, 0), back))
    found = health(trajectory)
    exact, latent_error = psnr(plain, returned), (back.samples - trajectory.latents[0]).square().mean().sqrt()
    lines = [
        f"{exact:.1f} dB between the picture and what comes back, both through the autoencoder",
        f"{float(latent_error):.2g} is how far latents are off (root mean square)",
        f"the noise has mean {found.mean:.3f}, deviation {found.std:.3f}, correlation {found.neighbours:.3f}",
        *(f"Careful: {flag}." for flag in found.flags),
    ]
    return Report("\n".join(lines), _curves(trajectory), _strip(ctx, trajectory, vae, returned, frames))


def _curves(trajectory: Trajectory) -> Plot:
    """Return mean and deviation of each level's latent, in units of the level."""
    scaled = [walks.unit(trajectory, k).double() for k in range(len(trajectory.latents))]
    series = {
        name: tuple((float(k), float(measure(x))) for k, x in enumerate(scaled))
        for name, measure in (("mean", torch.mean), ("deviation", torch.std))
    }
    return Plot(series, "level", "in units of the level")


def _strip(ctx: Context, trajectory: Trajectory, vae: Vae, returned: torch.Tensor, frames: int) -> Image:
    """Return levels of the first picture in a row, as unit-variance latents decode, and last what comes back."""
    top = len(trajectory.latents) - 1
    picked = sorted({round(i * top / (frames - 1)) for i in range(frames)})
    shown = [vae_decode(ctx, Latent(walks.unit(trajectory, k)[:1], trajectory.factor), vae) for k in picked]
    labels = [*(f"level {k}" for k in picked), "comes back"]
    return contact_sheet([*shown, Image(returned[:1])], labels, len(labels), 2)
