"""Collage layers: each word in its own layer, however small, whatever else the batch holds."""

from __future__ import annotations

import pytest
import torch

from engine.context import Context
from engine.diffusion.attention import Layer
from engine.diffusion.control import Controller
from engine.types import Mask
from nodes.editing.collage import layer_attention, layer_strengths
from tests.editing.toys import MODEL, Models, spaced
from tests.editing.words import NETWORK

CTX = Context(node="n", models=Models(NETWORK))
LEFT = torch.zeros(1, 8, 8)
LEFT[..., :4] = 1
LAYER = Layer("x", "down", True, 2, (8, 8))
LOGITS = torch.randn(2, 2, 64, 12, generator=torch.Generator().manual_seed(0))


def layered(text, phrases, masks, **pulls):
    return layer_attention(CTX, MODEL, text, phrases, Mask(masks), **pulls)


def biased(control, logits=LOGITS, layer=LAYER):
    run = Controller(control, spaced(4).values, keep=False)
    run.sigma = 5.0
    for hook in run.hooks:
        logits = hook.call(layer, logits)
    return logits


@pytest.mark.parametrize(
    ("text", "phrases", "tokens"),
    [
        ("a cat and a cat", "cat\ncat", ((2,), (5,))),
        ("a cat and a cat", "cat\na", ((2, 5), (1, 4))),  # one layer takes all of its words
        ("a cat and a dog", "cat\ncat", ((2,), (2,))),
        ("a butterfly and a butterfly", "butterfly\nbutterfly", ((2, 3, 4), (7, 8, 9))),
    ],
)
def test_layers_of_the_same_words_take_them_in_turn(text, phrases, tokens):
    assert layered(text, phrases, torch.cat([LEFT, 1 - LEFT])).parts[0].options["tokens"] == tokens


def test_a_layer_does_not_know_its_batch():
    control = layered("a cat and a dog", "cat\ndog", torch.cat([LEFT, 1 - LEFT]))
    torch.testing.assert_close(biased(control, LOGITS[:1]), biased(control)[:1])


def test_a_layer_of_one_pixel_is_pulled_in_on_every_grid():
    small = torch.zeros(1, 64, 64)
    small[0, 9, 9] = 1
    control = layered("a cat", "cat", small, outside=0.0)
    for side in (8, 4, 2):
        logits = LOGITS[:, :, : side * side]
        change = biased(control, logits, Layer("x", "down", True, 2, (side, side))) - logits
        cell = (9 * side // 64) * (side + 1)
        assert (change[:, :, cell, 2] > 0).all()
        assert change.count_nonzero() == change[:, :, cell, 2].numel()


def test_attention_follows_every_cell_of_its_mask():
    control = layered("a cat and a dog", "cat\n\n", torch.cat([LEFT, 1 - LEFT]))
    low, high = LOGITS.softmax(-1), biased(control).softmax(-1)
    inside = LEFT.flatten() > 0
    assert (high[..., inside, 2] >= low[..., inside, 2]).all()
    assert (high[..., ~inside, 2] <= low[..., ~inside, 2]).all()


def test_strengths_are_soft_at_borders_and_whole_within():
    masks = Mask(torch.zeros(1, 64, 64))
    masks.values[..., :32] = 1
    soft = layer_strengths(masks, [0.9], 0.1, 2.5).values[0, 32]
    assert soft[0] == pytest.approx(0.9, abs=1e-3)
    assert soft[-1] == pytest.approx(0.1, abs=1e-3)
    assert soft[31] + soft[32] == pytest.approx(1.0, abs=1e-3)
    assert (soft.diff() <= 1e-6).all()
