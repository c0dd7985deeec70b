"""Attention over fused windows: masks are cut to each window, and what words looked at lies on the whole canvas."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from engine.context import Context
from engine.diffusion import guidance
from engine.diffusion.attention import Hook, Layer, Window
from engine.diffusion.control import Controller
from engine.diffusion.guiders.fused import views
from engine.types import AttentionControl, AttentionPart, Cond, Conditioning, Guider, Latent, Mask, Noise, Sampler
from nodes.editing.blended import sample_edit
from nodes.editing.multidiffusion import fuse_windows
from nodes.editing.paint_words import paint_words
from tests.editing.toys import MODEL, Models, spaced
from tests.editing.words import NETWORK

HEADS, TOKENS, CANVAS, SIDE = 2, 12, (8, 24), 8
RANDOM = torch.Generator().manual_seed(0)
wrapped = pytest.mark.parametrize("wrap", [False, True])


def layers(side, wrap, stride=4):
    """Return cross-attention of `side` cells a side in each window of the canvas."""
    plain = Layer("up.0", "up", True, HEADS, (side, side))
    for view in views(*CANVAS, SIDE, stride, wrap=wrap):
        yield replace(plain, window=Window((SIDE, SIDE), CANVAS, view.crop, view.add)), view


@wrapped
@pytest.mark.parametrize("side", [8, 4])
@pytest.mark.parametrize("kind", ["paint", "collage"])
def test_a_window_sees_its_part_of_the_masks(kind, side, wrap):
    masks = torch.rand(2, *CANVAS, generator=RANDOM)
    values = torch.randn(1, HEADS, side * side, TOKENS, generator=RANDOM)
    options = {"tokens": ((2,), (5, 6)), "weight": 0.4, "stat": "std"}
    amounts = {"positive": torch.full((2,), 0.5), "negative": torch.full((2,), 0.25)}

    def biased(masks, layer):
        control = AttentionControl((AttentionPart(kind, options, {"masks": masks, **amounts}),))
        (hook,) = Controller(control, spaced(4).values, keep=False).hooks
        return hook.call(layer, values)

    for layer, view in layers(side, wrap):
        expected = biased(view.crop(masks), replace(layer, window=None))
        torch.testing.assert_close(biased(masks, layer), expected)
        assert not torch.allclose(biased(masks, replace(layer, window=None)), expected)  # the masks squeezed into it


@wrapped
@pytest.mark.parametrize("side", [8, 4])
def test_what_windows_looked_at_lies_on_the_canvas(side, wrap):
    grid = (side, 3 * side)
    maps = torch.rand(1, TOKENS, *grid, generator=RANDOM).softmax(1)
    run = Controller(AttentionControl(()), spaced(4).values)
    (looks,) = run.hooks
    for layer, view in layers(side, wrap):
        part = F.interpolate(view.crop(F.interpolate(maps, size=CANVAS)), size=(side, side))
        looks.call(layer, part.flatten(2).transpose(1, 2)[:, None].expand(-1, HEADS, -1, -1))
    torch.testing.assert_close(run.average(side * side), maps)
    assert {size: tuple(m.shape) for size, m in run.store(2).maps.items()} == {f"{side}x{3 * side}": maps.shape}


def test_hooks_are_told_the_window_of_each_call(network):
    told = []
    noted = Hook("probs", lambda layer, probs: (told.append(layer.window), probs)[1], lambda layer: layer.cross)
    prompts = torch.randn(2, 1, 5, 64, generator=RANDOM)
    positive, negative = (Conditioning((Cond(p),)) for p in prompts)
    conds = {"positive": positive.map(extra={"attention": (noted,)}), "negative": negative}
    with torch.no_grad():
        guidance.build("fused", network.denoiser, conds, options={"scale": 2.0}, window=8, stride=4)(
            torch.randn(1, 4, *CANVAS, generator=RANDOM), 3.0
        )
        positive = torch.arange(24.0).expand(CANVAS)
        assert sorted({int(w.crop(positive)[0, 0]) for w in told}) == [0, 4, 8, 12, 16]
        told.clear()
        guidance.build("cfg", network.denoiser, conds, scale=2.0)(torch.zeros(1, 4, 8, 8), 3.0)
    assert set(told) == {None}


def test_words_are_painted_on_a_canvas_of_windows(network):
    ctx, words = Context(node="n", models=Models(NETWORK)), "cat"
    right = torch.zeros(1, 16, 48)
    right[..., 32:] = 1
    control = paint_words(ctx, MODEL, "a cat and a dog", words, Mask(right), weight=3.0)
    texts = {
        role: Conditioning((NETWORK.condition(t),)) for role, t in (("positive", "a cat and a dog"), ("negative", ""))
    }
    fused = fuse_windows(Guider("cfg", MODEL, texts, {"scale": 2.0}), 16, 8)
    made = sample_edit(
        replace(ctx, models=Models(network)), fused, Sampler("ddim"), spaced(2), Latent(torch.zeros(1, 4, *CANVAS), 2),
        Noise(0), control=control,
    )  # fmt: skip
    cat = made.attention.maps["8x24"][0, 2]  # the token after the begin and "a"
    assert cat[:, 16:].mean() > 1.5 * cat[:, :8].mean()
