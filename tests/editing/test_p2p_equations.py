"""Prompt-to-Prompt against its equations, written out entry by entry, on random attention.

The equations are those of Hertz et al. 2022, arXiv 2208.01626, section 3.2, as google/prompt-to-prompt (at 9c472e4)
computes them. Three things differ there. Its windows are parts of one step more than there are; ours are of the steps.
Its factors hold inside the window of the swap alone; ours hold always, as in the paper. Its local blend resizes to the
nearest cell, ours in between, which is the same on a grid of the latent's own size.
"""

from __future__ import annotations

import pytest
import torch

from engine.diffusion.alignment import token_map
from engine.diffusion.attention import Layer
from engine.diffusion.blend import Run, build
from engine.diffusion.control import Controller
from engine.diffusion.noise import NoiseSource
from engine.diffusion.stepping import StepInfo
from engine.errors import BadInput
from engine.types import AttentionControl, AttentionPart
from nodes.editing.plug_and_play import mutual_self_attention
from nodes.editing.prompt_to_prompt import inject_attention, local_blend
from tests.editing.toys import SD, spaced
from tests.editing.words import tokens as told

STEPS, BATCH, HEADS, SIDE = 10, 2, 3, 4
SWAP = ("a cat on grass", "a butterfly on grass", "replace")  # one token in the place of three
REFINE = ("a cat on grass", "a fat butterfly on cold grass", "refine")
CROSS, ITSELF, WORD = 0.6, 0.4, (0.2, 0.5)


def mapped(source, target, mode):
    return token_map(told(source), told(target), mode)


def attention(tokens: int, seed: int) -> torch.Tensor:
    """Return maps (2 BATCH, HEADS, cells, tokens) whose rows sum to 1, sources first."""
    random = torch.Generator().manual_seed(seed)
    return torch.randn(2 * BATCH, HEADS, SIDE * SIDE, tokens, generator=random).mul(2).softmax(-1)


def edited(control: AttentionControl, maps: torch.Tensor, step: int, *, cross: bool = True) -> torch.Tensor:
    """Return the maps as the controller leaves them in one step."""
    sigmas = spaced(STEPS).values
    run = Controller(control, sigmas, keep=False)
    run.watching(lambda x, sigma: x)(maps, float(sigmas[step]))
    layer = Layer("up.0", "up", cross, HEADS, (SIDE, SIDE))
    for hook in run.hooks:
        maps = hook.call(layer, maps) if hook.wants(layer) else maps
    return maps


def published(tokens, source, target, step, factors):
    """Return the edited map of one picture and head (cells, tokens), token by token."""
    butterfly = next(places for word, places in tokens.target if word == "butterfly")
    out = target.clone()
    for j in range(target.shape[1]):
        start, end = WORD if j in butterfly else (0.0, CROSS)
        if int(start * STEPS) <= step < int(end * STEPS):
            aligned = [i for i in range(source.shape[1]) if tokens.mapping[i, j]]
            new = sum(float(tokens.mapping[i, j]) * source[:, i] for i in aligned)
            out[:, j] = target[:, j] if tokens.own[j] else new
        out[:, j] = factors[j] * out[:, j]
    return out


@pytest.mark.parametrize("prompts", [SWAP, REFINE], ids=["swap", "refine"])
def test_words_look_where_the_equations_say_in_every_step(prompts):
    tokens = mapped(*prompts)
    factors = torch.linspace(-2, 2, len(tokens.own))
    control = inject_attention(tokens, CROSS, ITSELF, words={"butterfly": list(WORD)})
    turned = AttentionPart("reweight", {"paired": True}, {"weights": factors})
    for step in range(STEPS):
        maps = attention(len(tokens.own), step)
        got = edited(AttentionControl((*control.parts, turned)), maps, step)
        source, target = maps.chunk(2)
        for b in range(BATCH):
            for h in range(HEADS):
                expected = published(tokens, source[b, h], target[b, h], step, factors)
                torch.testing.assert_close(got[BATCH + b, h], expected)
        assert torch.equal(got[:BATCH], source)


def test_places_look_at_places_as_in_the_source_for_their_part_of_the_steps():
    control = inject_attention(mapped(*SWAP), CROSS, ITSELF)
    for step in range(STEPS):
        maps = attention(SIDE * SIDE, step)
        source, target = maps.chunk(2)
        got = edited(control, maps, step, cross=False)
        assert torch.equal(got, torch.cat([source, source if step < int(ITSELF * STEPS) else target]))


class Stored:
    """Attention that was kept: maps (2 BATCH, tokens, SIDE, SIDE)."""

    def __init__(self, maps: torch.Tensor) -> None:
        self.maps = maps

    def average(self, cells: int) -> torch.Tensor:
        return self.maps


def hottest(maps, words, cut):
    """Return where the words' map (SIDE, SIDE), each cell the largest of its neighbours, is over a part of its peak."""
    looked = maps[list(words)].sum(0)
    spread = torch.stack([
        torch.stack([looked[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].max() for x in range(SIDE)])
        for y in range(SIDE)
    ])  # fmt: skip
    return spread / spread.max() > cut


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.9])
def test_a_local_blend_keeps_the_source_outside_both_words(cut):
    tokens = mapped(*SWAP)
    random = torch.Generator().manual_seed(3)
    maps = torch.rand(2 * BATCH, len(tokens.own), SIDE, SIDE, generator=random) ** 4
    x = torch.randn(2 * BATCH, 4, SIDE, SIDE, generator=random)
    blend = local_blend(tokens, "cat", "butterfly", threshold=cut, start=0.0)
    run = Run(x, x, NoiseSource((0, 1)), SD, Stored(maps))
    got = build(blend, run)(StepInfo(STEPS - 1, STEPS, x, 1.0, 0.0, x))
    cat, butterfly = (next(p for w, p in side if w == word)
                      for side, word in ((tokens.source, "cat"), (tokens.target, "butterfly")))  # fmt: skip
    for b in range(BATCH):
        either = hottest(maps[b], cat, cut) | hottest(maps[BATCH + b], butterfly, cut)
        assert torch.equal(got[BATCH + b], torch.where(either, x[BATCH + b], x[b]))
        assert torch.equal(got[b], x[b])


@pytest.mark.parametrize("seen", [True, False], ids=["things seen", "no map yet"])
def test_guided_mutual_attention_is_that_of_thing_and_background_apart(seen):
    """MasaCtrl, section 3.3: Attention(Q, K_s, V_s; M_s) where the edit shows the thing, that of 1 - M_s elsewhere."""
    tokens = mapped(*SWAP)
    control = mutual_self_attention(0.0, 0, tokens, "cat", "butterfly", 0.4)
    run = Controller(control, spaced(STEPS).values)
    (looks,) = (h for h in run.hooks if h.point == "probs")
    qkv, logits = (next(h for h in run.hooks if h.point == p) for p in ("qkv", "logits"))
    random, layer = torch.Generator().manual_seed(4), Layer("up.0", "up", False, HEADS, (SIDE, SIDE))
    maps = attention(len(tokens.own), 6)
    if seen:
        looks.call(Layer("up.1", "up", True, HEADS, (SIDE, SIDE)), maps)
    q, k, v = (torch.randn(2 * BATCH, HEADS, SIDE * SIDE, 5, generator=random) for _ in range(3))
    q2, k2, v2 = qkv.call(layer, q, k, v)
    got = logits.call(layer, q2 @ k2.transpose(-1, -2)).softmax(-1) @ v2
    for b in range(BATCH):
        masks = []
        for row, word, side in ((b, "cat", tokens.source), (BATCH + b, "butterfly", tokens.target)):
            places = list(next(p for w, p in side if w == word))
            looked = maps[row].mean(0)[:, places].mean(1)  # (cells,)
            masks.append((looked - looked.min()) / (looked.max() - looked.min()) >= 0.4)
        source, target = masks
        for h in range(HEADS):
            weight = q[BATCH + b, h] @ k[b, h].T
            thing, rest = (weight.masked_fill(~m, -torch.inf).softmax(-1) @ v[b, h] for m in (source, ~source))
            apart = torch.where(target[:, None], thing, rest)
            torch.testing.assert_close(got[BATCH + b, h], apart if seen else weight.softmax(-1) @ v[b, h])
    torch.testing.assert_close(got[:BATCH], (q @ k.transpose(-1, -2))[:BATCH].softmax(-1) @ v[:BATCH])
    with pytest.raises(BadInput, match="both prompts"):
        mutual_self_attention(0.0, 0, tokens, "cat")


def test_where_the_source_shows_nothing_of_the_kind_the_edit_looks_everywhere():
    tokens = mapped(*SWAP)
    run = Controller(mutual_self_attention(0.0, 0, tokens, "cat", "butterfly"), spaced(STEPS).values)
    (looks,), (logits,) = ([h for h in run.hooks if h.point == p] for p in ("probs", "logits"))
    maps = attention(len(tokens.own), 7)
    maps[:BATCH] = 1 / len(tokens.own)  # the source's words look everywhere alike: the mask is empty
    looks.call(Layer("up.1", "up", True, HEADS, (SIDE, SIDE)), maps)
    values = torch.randn(2 * BATCH, HEADS, SIDE * SIDE, SIDE * SIDE, generator=torch.Generator().manual_seed(8))
    masked = logits.call(Layer("up.0", "up", False, HEADS, (SIDE, SIDE)), values)
    assert masked.softmax(-1).isfinite().all()
