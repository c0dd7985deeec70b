"""Diffusion Classifier: which prompt explains a picture best (Li et al. 2023, arXiv 2303.16203)."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

import torch

from engine.context import Context
from engine.diffusion.sample import working_bytes
from engine.diffusion.score import Stage, cell_errors, classify, pairs_of
from engine.errors import BadInput
from engine.node import Range, Seed, Text, node
from engine.types import Clip, Conditioning, Heatmap, Latent, Model
from nodes.basics._pixels import Fraction
from nodes.basics.text import encode_text

Looks = Annotated[int, Range(1, 1000)]
PROMPTS_MAX = 1000


class Labels(NamedTuple):
    """The best prompt for each picture, and the board: all prompts, best first, with their errors."""

    best: list[str]
    board: str


@node(category="editing/classifier", title="Rank captions")
def rank_captions(
    ctx: Context,
    model: Model,
    clip: Clip,
    latent: Latent,
    captions: Annotated[str, Text()] = "",
    template: Annotated[str, Text(multiline=False, max_length=1000)] = "{}",
    *,
    looks: Looks = 8,
    keep: Annotated[int, Range(1, 1000)] = 3,
    last_looks: Looks = 24,
    norm: Literal["l2", "l1"] = "l2",
    low: Fraction = 0.0,
    high: Fraction = 1.0,
    seed: Seed = 0,
) -> Labels:
    """Label pictures with a model that makes pictures: the caption that finds their noise best wins.

    Noise is added, the same for all captions, and the error of the model's guess is compared. Captions that fall behind
    after the first looks are dropped.

    Args:
        model: The model; guidance plays no part.
        clip: Its text encoder.
        latent: The pictures.
        captions: One a line. "name = caption" shows the name; a name may have several captions, each on its own line.
        template: Written around each caption, such as "a picture of a {}".
        looks: At how many noise levels all captions are compared.
        keep: How many captions go on after that.
        last_looks: At how many levels those are compared.
        norm: l2 squares errors, l1 takes them as they are.
        low: Part of the noise levels where looks begin.
        high: Part of the noise levels where looks end.
        seed: Number of the noise.
    """
    lines = [line.strip() for line in captions.splitlines() if line.strip()]
    named = [[part.strip() for part in line.partition("=")[::2]] for line in lines]
    names = [name for name, _ in named]
    if not 1 <= len(names) <= PROMPTS_MAX:
        raise BadInput(f"Give 1 to {PROMPTS_MAX} captions, one a line, got {len(names)}.", field="captions")
    if "{}" not in template:
        raise BadInput("The template has no {} where the caption goes.", field="template")
    if low >= high:
        raise BadInput(f"low must be below high, got {low:g} and {high:g}.", field="low")
    prompts = [encode_text(ctx, clip, template.replace("{}", caption or name)) for name, caption in named]
    stages = [Stage(looks, keep), Stage(max(looks, last_looks), 1)]
    best, board = [], []
    with ctx.models.use(model, working_bytes=working_bytes(latent)) as network:
        pairs = pairs_of(network.levels, stages[-1].looks, seed, low=low, high=high)
        pictures = torch.chunk(latent.samples.float(), len(latent.samples))
        for i, picture in enumerate(pictures):

            def progress(done: int, total: int, i: int = i) -> None:
                ctx.progress(i * total + done, len(pictures) * total)

            found = classify(network.denoiser, picture, prompts, pairs, stages, norm=norm, progress=progress)
            best.append(names[found.order[0]])
            board.append(f"picture {i + 1}, {found.calls} looks:")
            board += [f"  {lines[k]}: {float(found.errors[k]):.5f} after {found.looks[k]}" for k in found.order]
    return Labels(best, "\n".join(board))


@node(category="editing/classifier")
def caption_matches(
    ctx: Context,
    model: Model,
    latent: Latent,
    first: Conditioning,
    second: Conditioning,
    *,
    looks: Looks = 16,
    seed: Seed = 0,
) -> Heatmap:
    """Show where the first prompt explains a picture better than the second.

    Args:
        model: The model.
        latent: The picture.
        first: One prompt.
        second: The prompt that it is compared with.
        looks: At how many noise levels to look.
        seed: Number of the noise.
    """
    clean = latent.samples.float()
    total = torch.zeros_like(clean[:, 0])
    with ctx.models.use(model, working_bytes=working_bytes(latent)) as network:
        for i, pair in enumerate(pairs_of(network.levels, looks, seed)):
            ctx.progress(i, looks)
            one, other = cell_errors(network.denoiser, clean, [first, second], pair)
            total += (other - one).float()
        ctx.progress(looks, looks)
    return Heatmap((total / looks).clamp_min(0), latent.factor)
