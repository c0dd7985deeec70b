"""Prompt-to-Prompt: edit a picture by editing its prompt (Hertz et al. 2022, arXiv 2208.01626)."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal, NamedTuple

import torch

from engine.context import Context
from engine.diffusion import text as prompts
from engine.diffusion.alignment import positions_of, token_map
from engine.diffusion.control import Controller
from engine.diffusion.denoiser import expand
from engine.diffusion.sample import working_bytes
from engine.errors import BadInput
from engine.node import Range, Text, Widget, node
from engine.types import (
    AttentionControl,
    AttentionPart,
    AttentionStore,
    Blend,
    Clip,
    Cond,
    Conditioning,
    Guider,
    Latent,
    Noise,
    Sampler,
    Sigmas,
    TokenMap,
    Trajectory,
)
from nodes.basics._pixels import Fraction
from nodes.basics._sampling import run

Cells = Annotated[int, Range(1, 4096)]
Windows = Annotated[dict[str, Any] | None, Widget("word_windows", {"prompt": "tokens.target", "end": "cross"})]
WEIGHT_MAX = 20.0


class Aligned(NamedTuple):
    """How one prompt's tokens follow from another's, that as a table to read, and both prompts, to be sampled."""

    tokens: TokenMap
    table: str
    source: str
    target: str


class Pair(NamedTuple):
    """The picture of the source prompt, that of the edited one, and where their words looked."""

    source: Latent
    edited: Latent
    attention: AttentionStore


@node(category="editing/prompt")
def align_prompts(
    ctx: Context,
    clip: Clip,
    source: Annotated[str, Text()] = "",
    target: Annotated[str, Text()] = "",
    mode: Literal["replace", "refine", "auto"] = "replace",
) -> Aligned:
    """Say which words of an edited prompt stand for which of the original.

    Args:
        clip: The text encoder of the model.
        source: The prompt as it was.
        target: The prompt as it becomes.
        mode: replace swaps words and needs equally many; refine adds or takes out words; auto replaces if it can.
    """
    with ctx.models.use(clip) as network:
        tokens = token_map(prompts.tokenise(network, source), prompts.tokenise(network, target), mode)
    return Aligned(tokens, _table(tokens), source, target)


def _table(tokens: TokenMap) -> str:
    """Return a line per target word: where its attention comes from."""
    lines = []
    for word, positions in tokens.target:
        from_words = [w for w, places in tokens.source if bool(tokens.mapping[list(places)][:, list(positions)].any())]
        lines.append(f"{word}: {' '.join(from_words) if from_words else 'its own'}")
    return "\n".join(lines)


@node(category="editing/prompt")
def inject_attention(
    tokens: TokenMap,
    cross: Fraction = 0.8,
    self_attention: Fraction = 0.4,
    words: Windows = None,
    self_cells: Cells = 256,
    *,
    changed: Fraction = 1.0,
    outline: Fraction = 1.0,
) -> AttentionControl:
    """Give the edited prompt the attention of the original: its layout stays.

    In a workflow file a window of `words` is a word with its end, 0.4, or with begin and end, [0.1, 0.4].

    Args:
        tokens: Which words stand for which.
        cross: Part of the steps, from the noisiest on, in which words look where the original's looked.
        self_attention: Part of the steps in which places look at each other as in the original.
        words: Single words of the edited prompt with a part of the steps of their own.
        self_cells: Largest grid, in cells, whose self-attention is taken over. On a grid as fine as the latent the old
            outline stays, unless `outline` frees it. 256 is the authors' for Stable Diffusion, and Bozzetto's latent.
        changed: For words that differ from the original's at most so much of the steps: smaller lets shapes change.
        outline: Places where words that differ look at over this part of their range keep their own self-attention, so
            that the new thing has its own outline before the old background; 1 takes over everywhere.
    """
    differing = _differing(tokens)
    windows = torch.tensor([0.0, cross]).repeat(len(tokens.own), 1).T.clone()  # (2, T)
    windows[1, list(differing["target"])] = min(cross, changed)
    for word, window in _named(words).items():
        start, end = window if isinstance(window, list | tuple) and len(window) == 2 else (0.0, window)
        if not all(type(v) in (int, float) and 0 <= v <= 1 for v in (start, end)):
            raise BadInput(f"The window of {word!r} is a number in 0..1 or a pair of them.", field="words")
        places = positions_of(tokens.target, word, field="words")
        windows[:, list(places)] = torch.tensor([[float(start)], [float(end)]])
    tensors = {"mapping": tokens.mapping, "own": tokens.own, "windows": windows}
    options: dict[str, Any] = {"self_end": float(self_attention), "self_cells": self_cells}
    if outline < 1:
        options |= {**differing, "threshold": float(outline)}
    return AttentionControl((AttentionPart("inject", options, tensors),))


@node(category="editing/prompt")
def reweight_words(
    ctx: Context,
    clip: Clip,
    text: Annotated[str, Text()],
    words: Annotated[dict[str, Any], Widget("word_weights")],
    pair: bool = True,
) -> AttentionControl:
    """Turn words up or down: their attention is multiplied, which is not the same as a weight in the prompt.

    Args:
        clip: The text encoder of the model.
        text: The prompt that the words are in; of a pair the edited one.
        words: How much each word or phrase counts: 2 is twice, 1 changes nothing, -1 drives it away.
        pair: Whether a pair of prompts is sampled; then only the edited one is changed.
    """
    with ctx.models.use(clip) as network:
        tokens = prompts.tokenise(network, text)
    weights = torch.ones(len(tokens.ids) * len(tokens.ids[0]))
    for word, weight in _named(words).items():
        if type(weight) not in (int, float) or not abs(weight) <= WEIGHT_MAX:
            raise BadInput(f"The factor of {word!r} is a number from -{WEIGHT_MAX:g} to {WEIGHT_MAX:g}.", field="words")
        weights[list(positions_of(tokens.words, word, field="words"))] = float(weight)
    return AttentionControl((AttentionPart("reweight", {"paired": pair}, {"weights": weights}),))


def _named(words: Any) -> dict[str, Any]:
    if words is not None and not isinstance(words, dict):
        raise BadInput('Name the words: {"word": value}.', field="words")
    return words or {}


@node(category="editing/attention")
def combine_attention(first: AttentionControl, second: AttentionControl) -> AttentionControl:
    """Make two changes of attention, one after the other.

    Args:
        first: What is done first, such as Inject attention.
        second: What is done with the result, such as Reweight words.
    """
    return AttentionControl(first.parts + second.parts)


@node(category="editing/prompt")
def local_blend(
    tokens: TokenMap,
    source_words: Annotated[str, Text(multiline=False)] = "",
    target_words: Annotated[str, Text(multiline=False)] = "",
    less: Annotated[str, Text(multiline=False)] = "",
    threshold: Annotated[float, Range(-1, 2, 0.05)] = 0.3,
    start: Fraction = 0.2,
    *,
    cells: Cells = 256,
) -> Blend:
    """Let a pair of pictures differ only where some words look; everything else stays the original's.

    Args:
        tokens: Which words stand for which.
        source_words: Words of the original prompt whose place may change, commas between them. Empty, as the next
            one, takes all words that differ between the prompts.
        target_words: Words of the edited prompt whose place may change.
        less: Words of the edited prompt whose place must stay.
        threshold: How strongly a place must be looked at, of the strongest; higher changes less.
        start: Part of the steps before which nothing is held.
        cells: The finest grid of attention that is used has at most so many cells.
    """
    places = {
        "source": positions_of(tokens.source, source_words, field="source_words"),
        "target": positions_of(tokens.target, target_words, field="target_words"),
        "less": positions_of(tokens.target, less, field="less"),
    }
    if not places["source"] and not places["target"]:
        places |= _differing(tokens)
    if not places["source"] and not places["target"]:
        raise BadInput("The prompts do not differ: name a word whose place may change.", field="target_words")
    return Blend("local", options={**places, "threshold": threshold, "start": start, "cells": cells})


def _differing(tokens: TokenMap) -> dict[str, tuple[int, ...]]:
    """Return the token positions of the words of each prompt that no equal word of the other one stands for."""
    same = [
        (a, b) for word, a in tokens.source for other, b in tokens.target
        if word.lower() == other.lower() and bool(tokens.mapping[list(a)][:, list(b)].any())
    ]  # fmt: skip
    return {
        side: tuple(p for _, positions in words if positions not in [pair[k] for pair in same] for p in positions)
        for k, (side, words) in enumerate((("source", tokens.source), ("target", tokens.target)))
    }


@node(category="editing/prompt")
def direct_inversion(trajectory: Trajectory) -> Blend:
    """Hold the original of a pair to its inversion at every step, at no cost, whatever the guidance.

    Args:
        trajectory: The inversion of the picture, over the sigmas of the pair.
    """
    return Blend("source", trajectory=trajectory)


@node(category="editing/prompt")
def sample_pair(
    ctx: Context,
    guider: Guider,
    source: Conditioning,
    sampler: Sampler,
    sigmas: Sigmas,
    latent: Latent,
    *,
    noise: Noise | None = None,
    control: AttentionControl | None = None,
    blend: Blend | None = None,
) -> Pair:
    """Make the picture of a prompt and that of its edit together, from the same noise.

    Args:
        guider: The model, with the edited prompt as positive.
        source: The prompt as it was.
        sampler: How steps are taken.
        sigmas: The noise levels.
        latent: Where to begin: empty latents, or the end of an inversion.
        noise: Noise to add at the first level; without it the latents are there already, as after an inversion.
        control: What the edit takes over from the original.
        blend: What is put back after each step.
    """
    n = len(latent.samples)
    seeds = tuple(range(n)) if latent.seeds is None else latent.seeds
    both = replace(
        latent, samples=torch.cat([latent.samples] * 2), seeds=seeds + seeds,
        mask=None if latent.mask is None else torch.cat([latent.mask.expand(n, -1, -1)] * 2),
    )  # fmt: skip
    joined = Conditioning((_both(_only(source, "source"), _only(guider.conds["positive"], "guider"), n),))
    paired = replace(guider, conds={**guider.conds, "positive": joined})
    with ctx.models.use(guider.model, working_bytes=working_bytes(both)) as network:
        watcher = Controller(control or AttentionControl(()), sigmas.values)
        ended = run(
            ctx, network, paired, sampler, sigmas=sigmas.values, latent=both, noise=noise, blend=blend, control=watcher
        ).latent
    first, second = (replace(latent, samples=part) for part in ended.samples.chunk(2))
    return Pair(first, second, watcher.store(latent.factor))


def _only(conditioning: Conditioning, field: str) -> Cond:
    if len(conditioning.conds) != 1:
        raise BadInput(f"A pair is made of one prompt each, got {len(conditioning.conds)}.", field=field)
    return conditioning.conds[0]


def _both(source: Cond, target: Cond, n: int) -> Cond:
    """Return a condition of 2 n rows, the source's first."""
    if source.tokens.shape[1:] != target.tokens.shape[1:]:
        raise BadInput(f"The prompts have {source.tokens.shape[1]} and {target.tokens.shape[1]} tokens; they must be "
                       "equally long in chunks.", field="source")  # fmt: skip
    rows = [expand(c, n) for c in (source, target)]
    pools = [c.pooled for c in rows if c.pooled is not None]
    pooled = torch.cat(pools) if len(pools) == 2 else None
    return replace(target, tokens=torch.cat([c.tokens for c in rows]), pooled=pooled)
