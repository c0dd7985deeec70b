"""Real pictures and guidance: null-text and negative-prompt inversion (arXiv 2211.09794, 2305.16807)."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from engine.context import Context
from engine.diffusion.inversion import NullStep, check_caption, null_text, scheduled
from engine.diffusion.optimise import half_done
from engine.diffusion.sample import working_bytes
from engine.diffusion.trajectory import check_origin
from engine.errors import BadInput
from engine.node import Range, node
from engine.types import Conditioning, Latent, Model, Plot, Trajectory
from nodes.basics._sampling import Scale


class NullText(NamedTuple):
    """A negative prompt for each step, and the error of each step before and after."""

    negative: Conditioning
    curves: Plot


@node(category="editing/inversion")
def null_text_inversion(
    ctx: Context,
    model: Model,
    trajectory: Trajectory,
    caption: Conditioning,
    empty: Conditioning,
    *,
    scale: Scale = 5.0,
    inner: Annotated[int, Range(0, 200)] = 10,
    rate: Annotated[float, Range(0, 1, 0.001)] = 0.01,
    tolerance: Annotated[float, Range(0, 1)] = 1e-5,
) -> NullText:
    """Learn an empty prompt for each step, with which guided sampling gives a real picture back.

    Takes up to thirty times as long as the inversion; stopped work goes on where it was. Use its result as the negative
    prompt, with the same model, sigmas and guidance.

    Args:
        model: The model.
        trajectory: The inversion of the picture, without guidance.
        caption: The prompt that it was inverted with.
        empty: The empty prompt, where learning starts.
        scale: The guidance that will be sampled with; another one later loses the picture.
        inner: At most so many corrections per step.
        rate: How large they are.
        tolerance: Error below which a step is good enough.
    """
    check_origin(trajectory, model)
    check_caption(trajectory, caption)
    pictures, steps = trajectory.latents.shape[1], len(trajectory.sigmas) - 1
    if pictures != 1 or not steps:
        raise BadInput(f"Null text is learnt for one picture over one step or more, got {pictures} over {steps}.",
                       field="trajectory")  # fmt: skip
    if len(caption.conds) != 1 or len(empty.conds) != 1:
        raise BadInput("Null text is learnt for one caption and one empty prompt.", field="caption")
    working = 8 * working_bytes(Latent(trajectory.latents[0], trajectory.factor))  # gradients keep all layers
    with ctx.models.use(model, working_bytes=working) as network:
        found = [NullStep(*each) for each in ctx.resume() or ()]
        learning = null_text(
            network.denoiser, trajectory, caption.conds[0], empty.conds[0], scale=scale, inner=inner, rate=rate,
            tolerance=tolerance, done=tuple(found), progress=ctx.progress,
        )  # fmt: skip
        with half_done(ctx, lambda: tuple((s.tokens, s.before, s.after) for s in found)) as keep:
            for step in learning:
                found.append(step)
                keep()
        sigmas = trajectory.sigmas.flip(0)
        negative = scheduled([s.tokens for s in found], empty.conds[0], sigmas, network.levels, scale)
    series = {
        "before": tuple((float(i), s.before) for i, s in enumerate(found)),
        "after": tuple((float(i), s.after) for i, s in enumerate(found)),
    }
    return NullText(negative, Plot(series, "step", "squared error"))


@node(category="editing/inversion")
def negative_prompt_inversion(caption: Conditioning) -> Conditioning:
    """Take a picture's caption as its negative prompt: the original comes back whatever the guidance, at no cost.

    Args:
        caption: The prompt that the picture was inverted with.
    """
    return caption
