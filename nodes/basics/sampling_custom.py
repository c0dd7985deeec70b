"""The sampler taken apart: noise, noise levels, algorithm and guidance, each a node."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

from engine.context import Context
from engine.diffusion import samplers
from engine.diffusion.levels import flip
from engine.diffusion.sample import levels_for, working_bytes
from engine.errors import BadInput
from engine.node import Range, Seed, node
from engine.types import Conditioning, Guider, Latent, Model, Noise, Sampler, Sigmas
from nodes.basics._sampling import SamplerName, Scale, ScheduleName, Steps, Strength, run, sigmas_of

OPTION_MAX = 10
Part = Annotated[float, Range(0, 1, 0.01)]


class Halves(NamedTuple):
    """Noise levels cut in two; the level of the cut is in both."""

    high: Sigmas
    low: Sigmas


class Ended(NamedTuple):
    """Latents where sampling ended, and the clean picture that the model saw there."""

    latent: Latent
    denoised: Latent


@node(category="sampling/custom")
def noise(seed: Seed = 0) -> Noise:
    """Give noise by its number: the same seed gives the same noise on every machine.

    Args:
        seed: The number.
    """
    return Noise(seed)


@node(category="sampling/custom")
def sigmas(
    ctx: Context, model: Model, schedule: ScheduleName = "karras", steps: Steps = 20, strength: Strength = 1.0, *,
    latent: Latent | None = None,
) -> Sigmas:  # fmt: skip
    """Spread steps over a model's noise levels.

    Args:
        model: The model whose levels they are.
        schedule: How the steps are spread.
        steps: How many steps are taken.
        strength: Where they begin: 1 at pure noise, 0.5 half of the steps of a schedule twice as fine below it.
        latent: The latents to be sampled, for models whose levels follow their size (Flux, Qwen-Image); without them,
            levels for the model's own size.
    """
    with ctx.models.use(model) as network:
        levels = network.levels if latent is None else levels_for(network, latent)
        return Sigmas(sigmas_of(levels, schedule, steps, strength))


@node(category="sampling/custom")
def split_sigmas(sigmas: Sigmas, step: Annotated[int, Range(0, 1000)] = 10) -> Halves:
    """Cut noise levels in two, to sample the halves in different ways.

    Args:
        sigmas: The noise levels.
        step: How many steps belong to the first, noisy half.
    """
    if step >= len(sigmas.values):
        raise BadInput(f"There are {len(sigmas.values) - 1} steps; cut at one of them.", field="step")
    return Halves(Sigmas(sigmas.values[: step + 1]), Sigmas(sigmas.values[step:]))


@node(category="sampling/custom")
def split_sigmas_by_part(sigmas: Sigmas, part: Part = 0.4) -> Halves:
    """Cut noise levels in two at a part of their steps, whatever their number.

    Args:
        sigmas: The noise levels.
        part: Part of the steps that belongs to the first, noisy half.
    """
    return split_sigmas(sigmas, round(part * (len(sigmas.values) - 1)))


@node(category="sampling/custom")
def flip_sigmas(sigmas: Sigmas) -> Sigmas:
    """Turn noise levels upside down, from clean to noisy, for inversion.

    Args:
        sigmas: The noise levels.
    """
    return Sigmas(flip(sigmas.values))


@node(category="sampling/custom")
def sampler_choice(sampler: SamplerName = "dpmpp_2m", options: dict[str, Any] | None = None) -> Sampler:
    """Choose how steps are taken.

    Args:
        sampler: The algorithm.
        options: Its own settings by name, such as {"eta": 0.5}; without them its defaults hold.
    """
    known, given = samplers.get(sampler).options, options or {}
    wrong = [name for name in given if name not in known]
    if wrong:
        there = ", ".join(f"{name} = {value}" for name, value in known.items()) or "none"
        raise BadInput(f"{sampler} has no setting {', '.join(wrong)}; its settings are: {there}.", field="options")
    for name, value in given.items():
        _check_option(name, value, known[name])
    return Sampler(sampler, given)


def _check_option(name: str, value: Any, default: Any) -> None:
    """Raise BadInput for what is not of the default's type: a text, or a number from 0 to OPTION_MAX."""
    if isinstance(default, str):
        fits, wanted = isinstance(value, str), "a text"
    else:
        kinds, low = ((int,), 1) if type(default) is int else ((int, float), 0)
        fits = type(value) in kinds and low <= value <= OPTION_MAX
        wanted = f"a {'whole ' if low else ''}number from {low} to {OPTION_MAX}"
    if not fits:
        raise BadInput(f"{name} needs {wanted}, got {str(value)[:40]}.", field="options")


@node(category="sampling/custom", title="CFG guider")
def cfg_guider(
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    scale: Scale = 5.0,
    rescale: Part = 0.0,
    start: Part = 0.0,
    *,
    end: Part = 1.0,
) -> Guider:
    """Pull from a negative towards a positive prompt (classifier-free guidance).

    Args:
        model: The model.
        positive: What the picture should show.
        negative: What it should not show.
        scale: How strong the pull is; 1 is none.
        rescale: Takes back the contrast that strong pulls add.
        start: Part of the sampling after which it pulls; 0 is the noisiest.
        end: Part of the sampling until which it pulls.
    """
    options = {"scale": scale, "rescale": rescale, "start": start, "end": end}
    return Guider("cfg", model, {"positive": positive, "negative": negative}, options)


@node(category="sampling/custom")
def basic_guider(model: Model, positive: Conditioning) -> Guider:
    """Follow one prompt without a pull: one call of the model per step.

    Args:
        model: The model.
        positive: What the picture should show.
    """
    return Guider("conditional", model, {"positive": positive})


@node(category="sampling/custom", title="Dual CFG guider")
def dual_guider(
    model: Model,
    positive: Conditioning,
    middle: Conditioning,
    negative: Conditioning,
    scale: Scale = 5.0,
    middle_scale: Scale = 1.5,
) -> Guider:
    """Pull in two steps, from negative to middle and from middle to positive (as InstructPix2Pix does).

    Args:
        model: The model.
        positive: Both conditions, such as picture and instruction.
        middle: The first condition alone, such as the picture.
        negative: Neither.
        scale: How strong the pull from middle to positive is.
        middle_scale: How strong the pull from negative to middle is.
    """
    conds = {"positive": positive, "middle": middle, "negative": negative}
    return Guider("dual_cfg", model, conds, {"scale": scale, "middle_scale": middle_scale})


@node(category="sampling/custom")
def composed_guider(model: Model, positive: Conditioning, negative: Conditioning, scale: Scale = 5.0) -> Guider:
    """Show several prompts at once: each of the positive ones pulls on its own, by its strength.

    Args:
        model: The model.
        positive: Prompts joined by Combine conditioning; a negative strength pushes away.
        negative: What the picture should not show.
        scale: How strong the pull is altogether.
    """
    return Guider("composed", model, {"positive": positive, "negative": negative}, {"scale": scale})


@node(category="sampling/custom")
def sample_custom(
    ctx: Context, guider: Guider, sampler: Sampler, sigmas: Sigmas, latent: Latent, noise: Noise | None = None
) -> Ended:
    """Sample with every part of your own.

    Args:
        guider: The model and how it is steered.
        sampler: How steps are taken.
        sigmas: The noise levels to walk down.
        latent: Where to begin. With a mask only its part changes.
        noise: Noise to add at the first level; without it the latents are taken to be there already, as after the
            first half of split sigmas.
    """
    with ctx.models.use(guider.model, working_bytes=working_bytes(latent)) as network:
        ended = run(ctx, network, guider, sampler, sigmas=sigmas.values, latent=latent, noise=noise)
    return Ended(*ended)
