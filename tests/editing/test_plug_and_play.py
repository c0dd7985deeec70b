"""Plug-and-Play and MasaCtrl on a tiny U-Net: what is handed over, where, and to whom."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from engine.context import Context
from engine.diffusion import attention
from engine.diffusion.control import Controller
from nodes.basics.text import encode_text
from nodes.editing.plug_and_play import mutual_self_attention, plug_and_play
from tests.editing.test_prompt_to_prompt import CLIP, STEPS, A, B, Both, near, run
from tests.editing.toys import spaced


@pytest.fixture
def ctx(network):
    return Context(node="n", models=Both(network))


MODES = {"masactrl": mutual_self_attention(0.0), "plug and play": plug_and_play(1.0, 1.0)}
modes = pytest.mark.parametrize("control", MODES.values(), ids=MODES)


@modes
def test_self_attention_taken_over_from_the_same_prompt_changes_nothing(ctx, control):
    out = run(ctx, control, target=A)
    assert torch.equal(out.edited.samples, out.source.samples)


@modes
def test_self_attention_taken_over_leaves_the_source_alone_and_changes_the_edit(ctx, control):
    plain, out = run(ctx), run(ctx, control)
    assert torch.equal(out.source.samples, plain.source.samples)
    assert not torch.equal(out.edited.samples, plain.edited.samples)


@pytest.mark.parametrize("control", [mutual_self_attention(1.0), plug_and_play(0.0, 0.0), mutual_self_attention(0, 9)])
def test_self_attention_in_no_step_or_layer_is_plain_sampling(ctx, control):
    assert near(run(ctx, control).edited.samples, run(ctx).edited.samples, 1e-6)


@pytest.mark.parametrize(
    ("features", "itself", "wanted"),
    [(1.0, 0.0, {("block", "up", 1, 0)}), (0.0, 1.0, {("qkv", "up", 1, 0), ("qkv", "up", 1, 1)})],
)
def test_plug_and_play_replaces_what_enters_one_layer_or_its_queries_and_keys(ctx, network, features, itself, wanted):
    seen = {}
    watcher = Controller(plug_and_play(features, itself, 1), spaced(STEPS).values, keep=False)

    def noted(point, when):
        def call(layer, *values):
            seen.setdefault((point, layer.name, layer.place, layer.index), {})[when] = values
            return values[0] if point == "block" else values

        return attention.Hook(point, call, lambda layer: not layer.cross)

    outer = [[noted(point, when) for point in ("block", "qkv")] for when in ("before", "after")]
    hooks = (*outer[0], *watcher.hooks, *outer[1])
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    tokens = torch.cat([encode_text(ctx, CLIP, prompt).conds[0].tokens for prompt in (A, B)])
    watcher.watching(lambda x, s: x)(x, float(spaced(STEPS).values[0]))
    cond = replace(encode_text(ctx, CLIP, A).conds[0], tokens=tokens, extra={"attention": hooks})
    network(x, torch.tensor([500.0]), cond)
    changed = set()
    for (point, _, place, index), values in seen.items():
        for i, (before, after) in enumerate(zip(values["before"], values["after"], strict=True)):
            assert torch.equal(after[:1], before[:1])
            if not torch.equal(after, before):
                assert torch.equal(after[1:], before[:1])
                changed.add((point, place, index, i))
    assert changed == wanted
    assert {key[2:] for key in seen if key[0] == "block"} == {("down", 0), ("mid", 0), ("up", 0), ("up", 1)}
