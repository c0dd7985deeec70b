"""Prompt-to-Prompt on a tiny U-Net: what is injected is exactly that, in its window, and leaves no trace."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine.context import Context
from engine.diffusion import attention
from engine.diffusion.control import Controller
from engine.errors import BadInput
from engine.pictures import decode
from engine.types import AttentionControl, AttentionStore, Guider, Image, Latent, Noise, Sampler
from models.bozzetto.bed import SCALE
from models.bozzetto.methods.looks import THING
from models.bozzetto.methods.words import CROSS, ITSELF, OUTLINE, SWAPPED
from nodes.basics.sampling_custom import sample_custom
from nodes.basics.text import encode_text
from nodes.editing import prompt_to_prompt
from nodes.editing.attention_maps import attention_of_words, show_attention
from nodes.editing.plug_and_play import mutual_self_attention, plug_and_play
from nodes.editing.prompt_to_prompt import (
    align_prompts,
    combine_attention,
    inject_attention,
    local_blend,
    reweight_words,
    sample_pair,
)
from tests.editing.toys import MODEL, Models, spaced
from tests.editing.words import NETWORK
from tests.nodes.support import FolderFiles

A, B = "a cat on grass", "a butterfly on grass"
STEPS = 4
CLIP = replace(MODEL)


class Both(Models):
    """Gives the tokenizer to whoever asks for CLIP."""

    def use(self, described, *, working_bytes=0):
        return Models(NETWORK if described is CLIP else self.network).use(described)


@pytest.fixture
def ctx(network):
    return Context(node="n", models=Both(network))


LATENT = Latent(torch.zeros(1, 4, 8, 8), 2)


def run(ctx, control=None, blend=None, *, source=A, target=B, noise=5, latent=LATENT, scale=3.0, negative=None):
    conds = {"positive": encode_text(ctx, CLIP, target), "negative": negative or encode_text(ctx, CLIP, "")}
    guider = Guider("cfg", MODEL, conds, {"scale": scale})
    return sample_pair(
        ctx, guider, encode_text(ctx, CLIP, source), Sampler("ddim"), spaced(STEPS), latent,
        noise=None if noise is None else Noise(noise), control=control, blend=blend,
    )  # fmt: skip


def alone(ctx, prompt, *, scale=3.0):
    conds = {"positive": encode_text(ctx, CLIP, prompt), "negative": encode_text(ctx, CLIP, "")}
    guider = Guider("cfg", MODEL, conds, {"scale": scale})
    return sample_custom(ctx, guider, Sampler("ddim"), spaced(STEPS), LATENT, Noise(5)).latent.samples


def injection(ctx, cross=0.8, itself=0.4, *, target=B, mode="replace", **more):
    return inject_attention(align_prompts(ctx, CLIP, A, target, mode).tokens, cross, itself, **more)


def near(a, b, within=2e-4):
    return bool((a - b).abs().max() < within)


def test_without_control_the_pair_is_two_plain_pictures(ctx):
    out = run(ctx)
    assert near(out.source.samples, alone(ctx, A))
    assert near(out.edited.samples, alone(ctx, B))
    assert not near(out.source.samples, out.edited.samples, 1e-2)


def test_no_window_is_no_injection_to_the_bit(ctx):
    plain, none = run(ctx), run(ctx, injection(ctx, 0.0, 0.0))
    assert torch.equal(plain.edited.samples, none.edited.samples)


@pytest.mark.parametrize("cross", [0.3, 1.0])
def test_the_same_prompt_twice_gives_the_same_picture(ctx, cross):
    out = run(ctx, injection(ctx, cross, cross, target=A), target=A)
    assert torch.equal(out.source.samples, out.edited.samples)


def test_no_control_ever_changes_the_original(ctx):
    """To the bit where attention is computed alike: with self-attention written out it differs by rounding."""
    plain = run(ctx)
    alike = run(ctx, injection(ctx, 0.0, target=A), target=A).source.samples
    assert near(alike, plain.source.samples, 1e-3)
    aligned = align_prompts(ctx, CLIP, A, B).tokens
    turned = reweight_words(ctx, CLIP, B, {"butterfly": 3.0})
    controls = [
        (injection(ctx), alike), (injection(ctx, 0.8, 0.0), plain.source.samples), (turned, plain.source.samples),
        (combine_attention(injection(ctx), turned), alike), (mutual_self_attention(0.0), plain.source.samples),
    ]  # fmt: skip
    for control, source in controls:
        out = run(ctx, control, local_blend(aligned, "cat", "butterfly", start=0.0))
        assert torch.equal(out.source.samples, source)
        assert not near(out.edited.samples, plain.edited.samples, 1e-5)


def recorded(ctx, network, control, *, keep=False):
    """Return probabilities per step and layer, before and after the control."""
    seen = []
    watcher = Controller(control, spaced(STEPS).values, keep=keep)
    edits = watcher.hooks
    before = attention.Hook("probs", lambda layer, p: (seen.append(("before", watcher.step, layer, p)), p)[1])
    after = attention.Hook("probs", lambda layer, p: (seen.append(("after", watcher.step, layer, p)), p)[1])
    watcher.hooks = (before, *edits, after)
    cond = encode_text(ctx, CLIP, A).conds[0], encode_text(ctx, CLIP, B).conds[0]
    tokens = torch.cat([c.tokens for c in cond])
    denoise = watcher.watching(lambda x, s: x)
    for sigma in spaced(STEPS).values[:-1].tolist():
        x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
        denoise(x, sigma)
        network(x, torch.tensor([500.0]), replace(cond[0], tokens=tokens, extra={"attention": watcher.hooks}))
    return seen


def test_a_swap_is_the_source_map_through_the_token_map(ctx, network):
    tokens = align_prompts(ctx, CLIP, A, B).tokens
    seen = [s for s in recorded(ctx, network, inject_attention(tokens, 1.0, 0.0)) if s[2].cross]
    for (_, _, _, before), (_, _, _, after) in zip(seen[::2], seen[1::2], strict=True):
        torch.testing.assert_close(after[1:], before[:1] @ tokens.mapping)
        assert torch.equal(after[:1], before[:1])


def test_full_self_injection_is_the_source_map_up_to_the_size_allowed(ctx, network):
    tokens = align_prompts(ctx, CLIP, A, B).tokens
    seen = [s for s in recorded(ctx, network, inject_attention(tokens, 0.0, 1.0, self_cells=16)) if not s[2].cross]
    sizes = set()
    for (_, _, layer, before), (_, _, _, after) in zip(seen[::2], seen[1::2], strict=True):
        small = layer.size[0] * layer.size[1] <= 16
        sizes.add(small)
        assert torch.equal(after[1:], before[:1] if small else before[1:])
    assert sizes == {True, False}


@pytest.mark.parametrize(("outline", "least", "most"), [(0.0, 64, 64), (0.5, 2, 62), (0.999, 1, 2)])
def test_places_that_the_swapped_words_look_at_keep_their_own_self_attention(ctx, network, outline, least, most):
    tokens = align_prompts(ctx, CLIP, A, B).tokens
    control = inject_attention(tokens, 0.0, 1.0, outline=outline)
    looked = False
    seen = recorded(ctx, network, control, keep=True)
    for (_, _, layer, before), (_, _, _, after) in zip(seen[::2], seen[1::2], strict=True):
        looked |= layer.cross
        if layer.cross:
            continue
        own, taken = ((after[1:] == half).all(-1) for half in (before[1:], before[:1]))  # (1, heads, L)
        assert bool((own | taken).all())
        assert torch.equal(own, own[:, :1].expand_as(own))
        if not looked:
            assert not bool(own.any())
        elif layer.size == (8, 8):
            assert least <= int(own[0, 0].sum()) <= most


def inputs(workflow, node):
    file = Path(prompt_to_prompt.__file__).parent / f"{workflow}.json"
    return json.loads(file.read_text("utf-8"))["nodes"][node]["inputs"]


def test_the_workflows_have_the_settings_that_are_measured():
    names = ("cross", "self_attention", "changed", "outline")
    for workflow in ("prompt_to_prompt", "null_text"):
        given = inputs(workflow, "inject")
        assert [given[name] for name in names] == [CROSS, ITSELF, SWAPPED, OUTLINE]
    asked, given = (inputs("plug_and_play", node) for node in ("align", "masa"))
    assert given["threshold"] == THING
    assert given["source_words"] in asked["source"].split()
    assert given["target_words"] in asked["target"].split()
    assert inputs("plug_and_play", "guider")["scale"] == SCALE


@pytest.mark.parametrize("steps", [20, 30, 50])
@pytest.mark.parametrize("part", [0.0, 0.2, 0.4, 0.8, 1.0])
def test_a_window_holds_for_its_part_of_the_steps(steps, part):
    sigmas = spaced(steps).values
    watcher = Controller(AttentionControl(()), sigmas)
    denoise, count = watcher.watching(lambda x, s: x), 0
    for i, sigma in enumerate(sigmas[:-1].tolist()):
        denoise(LATENT.samples, sigma)
        assert watcher.step == i
        count += watcher.within(0.0, part)
        denoise(LATENT.samples, (sigma * float(sigmas[i + 1])) ** 0.5 if sigmas[i + 1] > 0 else sigma / 2)
        assert watcher.step == i
    assert count == int(part * steps + 1e-6)


def test_words_have_windows_of_their_own(ctx, network):
    tokens = align_prompts(ctx, CLIP, A, B).tokens
    control = inject_attention(tokens, 1.0, 0.0, words={"butterfly": 0.5})
    (places,) = (p for w, p in tokens.target if w == "butterfly")
    for when, step, layer, probs in recorded(ctx, network, control):
        if when == "before" or not layer.cross:
            before = probs
            continue
        new = before[:1] @ tokens.mapping
        inside = list(places)
        expected = new[..., inside] if step < 2 else before[1:][..., inside]
        torch.testing.assert_close(probs[1:][..., inside], expected)
        outside = [k for k in range(12) if k not in inside]
        torch.testing.assert_close(probs[1:][..., outside], new[..., outside])
    with pytest.raises(BadInput, match="not in the prompt"):
        inject_attention(tokens, words={"cat": 0.5})
    with pytest.raises(BadInput, match=r"number in 0\.\.1"):
        inject_attention(tokens, words={"butterfly": 2})


def test_refining_keeps_new_words_their_own(ctx, network):
    tokens = align_prompts(ctx, CLIP, A, B, "refine").tokens
    (places,) = (p for w, p in tokens.target if w == "butterfly")
    seen = [s for s in recorded(ctx, network, inject_attention(tokens, 1.0, 0.0)) if s[2].cross]
    before, after = seen[0][3], seen[1][3]
    assert torch.equal(after[1:][..., list(places)], before[1:][..., list(places)])


def test_factors_scale_columns_and_leave_the_others(ctx, network):
    control = reweight_words(ctx, CLIP, B, {"grass": 0.0, "on": 2.0})
    weights = control.parts[0].tensors["weights"]
    seen = [s for s in recorded(ctx, network, control) if s[2].cross]
    before, after = seen[0][3], seen[1][3]
    assert torch.equal(after[1:], before[1:] * weights)
    assert torch.equal(after[:1], before[:1])
    assert sorted(set(weights.tolist())) == [0.0, 1.0, 2.0]
    plain = run(ctx).edited.samples
    assert torch.equal(run(ctx, reweight_words(ctx, CLIP, B, {"grass": 1.0})).edited.samples, plain)


def test_the_maps_kept_are_the_sources_own_and_the_edited_ones_after_the_edit(ctx):
    plain = run(ctx).attention.maps["8x8"]
    (places,) = (p for w, p in align_prompts(ctx, CLIP, A, B).tokens.target if w == "butterfly")
    silent = run(ctx, reweight_words(ctx, CLIP, B, {"butterfly": 0.0})).attention.maps["8x8"]
    assert torch.equal(silent[0], plain[0])
    assert not silent[1, list(places)].any()


def test_a_local_blend_above_the_maximum_keeps_all_and_below_zero_nothing(ctx):
    tokens = align_prompts(ctx, CLIP, A, B).tokens
    control = injection(ctx)
    free = run(ctx, control).edited.samples
    out = {t: run(ctx, control, local_blend(tokens, "cat", "butterfly", threshold=t, start=0.0))
           for t in (-0.5, 0.5, 0.9, 1.5)}  # fmt: skip
    assert torch.equal(out[1.5].edited.samples, out[1.5].source.samples)
    assert torch.equal(out[-0.5].edited.samples, free)
    away = [(out[t].edited.samples != out[t].source.samples).float().mean() for t in (-0.5, 0.5, 0.9, 1.5)]
    assert away == sorted(away, reverse=True)


@pytest.mark.parametrize(("target", "mode", "source_words", "target_words"), [
    (B, "replace", "cat", "butterfly"), ("a red cat on grass", "refine", "", "red"),
    ("a cat", "refine", "on, grass", ""), ("a Cat in grass", "replace", "on", "in"),
])  # fmt: skip
def test_words_that_differ_are_found(ctx, target, mode, source_words, target_words):
    tokens = align_prompts(ctx, CLIP, A, target, mode).tokens
    assert local_blend(tokens).options == local_blend(tokens, source_words, target_words).options
    named = {word.strip(): 0.25 for word in target_words.split(",") if word}
    by_name, by_change = (inject_attention(tokens, 0.8, **w).parts[0] for w in ({"words": named}, {"changed": 0.25}))
    assert torch.equal(by_name.tensors["windows"], by_change.tensors["windows"])
    assert inject_attention(tokens, 0.2, changed=0.25).parts[0].tensors["windows"].max() == pytest.approx(0.2)


def test_prompts_that_do_not_differ_have_no_place_to_change(ctx):
    with pytest.raises(BadInput, match="do not differ"):
        local_blend(align_prompts(ctx, CLIP, A, A).tokens)


@pytest.mark.parametrize(("target", "mode"), [(B, "replace"), ("a red cat on grass", "refine")])
def test_words_are_swapped_where_there_are_equally_many(ctx, target, mode):
    found, wanted = (align_prompts(ctx, CLIP, A, target, m).tokens for m in ("auto", mode))
    assert torch.equal(found.mapping, wanted.mapping)
    assert torch.equal(found.own, wanted.own)


def test_aligned_prompts_are_handed_on(ctx):
    assert align_prompts(ctx, CLIP, A, B)[2:] == (A, B)


def test_nothing_is_left_behind(ctx):
    before = alone(ctx, B)
    run(ctx, combine_attention(injection(ctx), combine_attention(mutual_self_attention(), plug_and_play())))
    assert torch.equal(alone(ctx, B), before)


def test_maps_of_words_are_kept_by_grid_and_shown(ctx):
    store = run(ctx, injection(ctx)).attention
    assert {k: tuple(v.shape) for k, v in store.maps.items()} == {"8x8": (2, 12, 8, 8), "4x4": (2, 12, 4, 4)}
    for maps in store.maps.values():
        torch.testing.assert_close(maps[0].sum(0), torch.ones(maps.shape[2:]), rtol=1e-4, atol=1e-4)
    shown = attention_of_words(ctx, store, CLIP, B, row=1)
    assert shown.heatmap.values.shape == (4, 8, 8)
    assert shown.heatmap.factor == 2
    assert shown.image.pixels.shape == (4, 16 + 12, 16, 3)
    coarse = attention_of_words(ctx, store, CLIP, B, "butterfly", row=1, cells=16)
    assert coarse.heatmap.factor == 4
    with pytest.raises(BadInput, match="row 2"):
        attention_of_words(ctx, store, CLIP, B, row=2)


def test_the_viewer_gets_a_strip_of_maps_for_each_grid_under_the_picture(ctx, tmp_path):
    ctx = replace(ctx, files=FolderFiles(tmp_path))
    store = run(ctx, injection(ctx)).attention
    saved = show_attention(ctx, store, CLIP, B, Image(torch.rand(1, 16, 16, 3)), row=1)
    said = json.loads(saved.text)
    assert (saved.ui, said["words"], said["picture"]) == ("attention", ["a", "butterfly", "on", "grass"], True)
    assert [grid["size"] for grid in said["grids"]] == ["4x4", "8x8"]
    under, coarse, fine = (decode(ctx.files.read(file)).rgb for file in saved.files)
    assert (under.shape, coarse.shape, fine.shape) == ((16, 16, 3), (4, 16, 3), (8, 32, 3))
    butterfly = fine[:, 8:16, 0] * said["grids"][1]["peaks"][1]
    maps = attention_of_words(ctx, store, CLIP, B, "butterfly", row=1).heatmap.values[0].numpy()
    assert abs(butterfly - maps).max() < said["grids"][1]["peaks"][1] / 255
    for wrong, match in (({"row": 2}, "row 2"), ({"text": " , "}, "no words")):
        with pytest.raises(BadInput, match=match):
            show_attention(ctx, store, CLIP, **{"text": B, **wrong})
    with pytest.raises(BadInput, match="No attention"):
        show_attention(ctx, AttentionStore({}), CLIP, B)


def test_pairs_need_prompts_of_one_length_and_an_even_batch(ctx):
    with pytest.raises(BadInput, match="equally long"):
        run(ctx, source="a BREAK b")
    guider = Guider("conditional", MODEL, {"positive": encode_text(ctx, CLIP, B)})
    from nodes.editing.blended import sample_edit

    with pytest.raises(BadInput, match="pair"):
        sample_edit(ctx, guider, Sampler("ddim"), spaced(2), LATENT, Noise(0), control=injection(ctx))
