"""Imagic: change what a thing does in a real picture, by a sentence alone (Kawar et al. 2022, arXiv 2210.09276)."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from torch import Tensor

from engine.context import Context
from engine.diffusion.fitting import Lesson, fit_embedding, fit_weights, learning_bytes
from engine.diffusion.sample import working_bytes
from engine.errors import BadInput, OutOfMemory
from engine.node import Range, Seed, node
from engine.types import Cond, Conditioning, Latent, Model, Patch, Plot
from nodes.basics.conditioning import average_conditioning

LearningSteps = Annotated[int, Range(0, 20_000)]
Rate = Annotated[float, Range(0, 1)]
Batch = Annotated[int, Range(1, 64)]
GRADIENTS = 8  # times the memory of a call, since gradients keep all layers


class LearntPrompt(NamedTuple):
    """A prompt that the model makes the picture by, how learning went, and how far it has moved."""

    conditioning: Conditioning
    curve: Plot
    report: str


class LearntModel(NamedTuple):
    """The changed model, the change alone, and how learning went."""

    model: Model
    patch: Patch
    curve: Plot


@node(category="editing/imagic")
def optimise_embedding(
    ctx: Context,
    model: Model,
    latent: Latent,
    target: Conditioning,
    steps: LearningSteps = 100,
    rate: Rate = 0.01,
    *,
    batch: Batch = 4,
    keep_begin: bool = True,
    seed: Seed = 0,
) -> LearntPrompt:
    """Move a prompt so far that the model makes just this picture by it: Imagic's first stage.

    Few steps, so that it stays near the words and a way between both has sensible pictures on it. Stopped work goes on
    where it was.

    Args:
        model: The model.
        latent: The picture.
        target: The prompt of what the picture shall become.
        steps: How long to learn; 0 leaves the prompt as it is.
        rate: How large each step is; for Stable Diffusion 0.002.
        batch: At how many noise levels each step looks.
        keep_begin: Leave the first token alone, which stands for no word.
        seed: Number of the noise that is looked through.
    """
    x0, cond = _one(latent), _only(target, "target")
    with ctx.models.use(model, working_bytes=GRADIENTS * batch * working_bytes(latent)) as network:
        lesson = Lesson(steps, rate, batch, seed)
        found, learnt = fit_embedding(network.denoiser, x0, cond, ctx, lesson, keep_begin=keep_begin)
    moved = float((found.tokens - cond.tokens).norm() / cond.tokens.norm().clamp_min(1e-12))
    errors = f"The error went from {learnt.curve[0][1]:.4g} to {learnt.curve[-1][1]:.4g}"
    return LearntPrompt(Conditioning((found,)), learnt.plot, f"{errors}; the prompt has moved by {moved:.1%}.")


@node(category="editing/imagic")
def finetune_on_picture(
    ctx: Context,
    model: Model,
    latent: Latent,
    conditioning: Conditioning,
    steps: LearningSteps = 300,
    rate: Rate = 0.002,
    *,
    scope: Literal["lora", "attention", "full"] = "lora",
    rank: Annotated[int, Range(1, 128)] = 8,
    batch: Batch = 4,
    seed: Seed = 0,
) -> LearntModel:
    """Teach a model one picture under a learnt prompt: Imagic's second stage.

    The model itself is not touched: what is learnt is a patch, laid over it. Stopped work goes on where it was.

    Args:
        model: The model.
        latent: The picture.
        conditioning: The learnt prompt.
        steps: How long to learn; 0 leaves the model as it is.
        rate: How large each step is; for the scope full about a fifth of what suits lora.
        scope: lora learns a thin change of attention, attention all of its weights, full everything: that takes 32
            bytes a weight, 28 GB for Stable Diffusion.
        rank: How thick a lora is.
        batch: At how many noise levels each step looks.
        seed: Number of the noise that is looked through.
    """
    x0, cond = _one(latent), _only(conditioning, "conditioning")
    with ctx.models.use(model) as network:
        working = GRADIENTS * batch * working_bytes(latent) + learning_bytes(network, scope)
    try:
        with ctx.models.use(model, working_bytes=working) as network:
            lesson = Lesson(steps, rate, batch, seed)
            patch, learnt = fit_weights(network, x0, cond, ctx, lesson, scope=scope, rank=rank)
    except OutOfMemory as problem:
        if scope == "lora":
            raise
        raise OutOfMemory(f"{problem.message} The scope lora takes far less.", field="scope") from problem
    return LearntModel(model.patched(patch), patch, learnt.plot)


@node(category="editing/imagic")
def between_prompts(
    a: Conditioning, b: Conditioning, amount: Annotated[float, Range(-2, 3, 0.05)] = 0.7
) -> Conditioning:
    """Go from one prompt towards another, and beyond: Imagic's third stage.

    Args:
        a: Where 0 is, such as the learnt prompt: the picture as it is.
        b: Where 1 is, such as the target.
        amount: How far to go; Imagic's good range is 0.6 to 0.8, above 1 overdoes it.
    """
    lengths = [[c.tokens.shape[1] for c in each.conds] for each in (a, b)]
    if lengths[0] != lengths[1]:
        raise BadInput(f"There is no way between prompts of {lengths[0]} and of {lengths[1]} tokens.", field="b")
    if amount in (0, 1):
        return (a, b)[int(amount)]
    return average_conditioning(a, b, amount)


def _one(latent: Latent) -> Tensor:
    """Return the one picture (1, C, h, w) that is learnt."""
    if len(latent.samples) != 1:
        raise BadInput(f"One picture is learnt at a time, got {len(latent.samples)}.", field="latent")
    return latent.samples.float()


def _only(conditioning: Conditioning, field: str) -> Cond:
    if len(conditioning.conds) != 1 or len(conditioning.conds[0].tokens) != 1:
        raise BadInput("One prompt is learnt at a time.", field=field)
    return conditioning.conds[0]
