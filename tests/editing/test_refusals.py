"""What does not fit together is refused in a sentence that says what to do, never by a traceback or a wrong picture."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from engine.context import Context
from engine.errors import BadInput
from engine.types import (
    AttentionControl,
    Conditioning,
    Guider,
    Heatmap,
    Image,
    Latent,
    Mask,
    Model,
    Noise,
    Sampler,
    Sigmas,
)
from nodes.basics.text import encode_text
from nodes.editing.attention_maps import attention_of_words, show_attention
from nodes.editing.blended import combine_blends, keep_outside, per_pixel_strength, rank_latents, sample_edit
from nodes.editing.collage import layer_attention
from nodes.editing.ddim_inversion import ddim_invert, keep_trajectory, replay
from nodes.editing.diffedit import show_heatmap
from nodes.editing.diffusion_classifier import rank_captions
from nodes.editing.null_text import null_text_inversion
from nodes.editing.paint_words import paint_words
from nodes.editing.plug_and_play import mutual_self_attention
from nodes.editing.prompt_to_prompt import (
    align_prompts,
    direct_inversion,
    inject_attention,
    local_blend,
    reweight_words,
    sample_pair,
)
from tests.editing.test_prompt_to_prompt import CLIP, Both
from tests.editing.toys import MODEL, spaced

A, B = "a cat on grass", "a butterfly on grass"
LONG = "a cat on grass with a dog and a bird in a tree near a house"  # two chunks
HALF = torch.zeros(1, 16, 16)
HALF[..., 8:] = 1
STEPS = spaced(2)
OTHER = MODEL.with_options(zero_snr=True)


@pytest.fixture
def ctx(network):
    return Context(node="n", models=Both(network))


def latent(batch: int = 1) -> Latent:
    return Latent(torch.randn(batch, 4, 8, 8, generator=torch.Generator().manual_seed(1)), 2)


def guider(ctx: Context) -> Guider:
    conds = {"positive": encode_text(ctx, CLIP, B), "negative": encode_text(ctx, CLIP, "")}
    return Guider("cfg", MODEL, conds, {"scale": 3.0})


def single(ctx: Context, batch: int = 1, *, noise: bool = True, **more: Any) -> Any:
    added = Noise(0) if noise else None
    return sample_edit(ctx, guider(ctx), Sampler("ddim"), STEPS, latent(batch), added, **more)


def pair(ctx: Context, batch: int = 1, **more: Any) -> Any:
    source = encode_text(ctx, CLIP, A)
    return sample_pair(ctx, guider(ctx), source, Sampler("ddim"), STEPS, latent(batch), noise=Noise(0), **more)


def inverted(ctx: Context, batch: int = 1, prompt: str = A, model: Model = MODEL) -> Any:
    return ddim_invert(ctx, model, encode_text(ctx, CLIP, prompt), latent(batch), STEPS).trajectory


def tokens(ctx: Context, source: str = A, target: str = B) -> Any:
    return align_prompts(ctx, CLIP, source, target).tokens


def tripled(conditioning: Conditioning) -> Conditioning:
    return Conditioning(tuple(replace(c, tokens=c.tokens.repeat(3, 1, 1)) for c in conditioning.conds))


REFUSED: dict[str, tuple[Callable[[Context], Any], str]] = {
    "factors of a longer prompt": (
        lambda ctx: pair(ctx, control=reweight_words(ctx, CLIP, LONG, {"dog": 2})), "24 tokens, .* has 12"),
    "a token map of a longer prompt": (
        lambda ctx: pair(ctx, control=inject_attention(tokens(ctx, LONG, LONG))), "24 tokens"),
    "words painted in a longer prompt": (
        lambda ctx: single(ctx, control=paint_words(ctx, CLIP, LONG, "house", Mask(HALF))), "very prompt"),
    "a layer's words in a longer prompt": (
        lambda ctx: single(ctx, control=layer_attention(ctx, CLIP, LONG, "house", Mask(HALF))), "very prompt"),
    "a thing's words in a longer prompt": (
        lambda ctx: pair(ctx, control=mutual_self_attention(0.0, 0, tokens(ctx, LONG, LONG), "house", "house")),
        "very prompt"),
    "a local blend by a longer prompt": (
        lambda ctx: pair(ctx, blend=local_blend(tokens(ctx, LONG, LONG), "house", "house")), "very prompt"),
    "maps of a longer prompt": (
        lambda ctx: attention_of_words(ctx, pair(ctx).attention, CLIP, LONG), "very prompt"),
    "a viewer of a longer prompt": (
        lambda ctx: show_attention(ctx, pair(ctx).attention, CLIP, LONG), "very prompt"),
    "a local blend without a pair": (
        lambda ctx: single(ctx, control=AttentionControl(()), blend=local_blend(tokens(ctx), "cat")), "pair sampler"),
    "direct inversion without a pair": (
        lambda ctx: single(ctx, blend=direct_inversion(inverted(ctx))), "pair sampler"),
    "an inversion of other pictures than the pairs": (
        lambda ctx: pair(ctx, 3, blend=direct_inversion(inverted(ctx, 2))), "2 latents for 3 pictures"),
    "other pictures to keep than are sampled": (
        lambda ctx: single(ctx, 3, blend=keep_outside(latent(2), Mask(HALF))), "2 latents for 3 pictures"),
    "other masks than pictures": (
        lambda ctx: single(ctx, 3, blend=keep_outside(latent(3), Mask(HALF.repeat(2, 1, 1)))),
        "2 masks for 3 pictures"),
    "other masks than inverted pictures": (
        lambda ctx: replay(ctx, (t := inverted(ctx, 2)), guider(ctx), keep_trajectory(t, Mask(HALF.repeat(3, 1, 1)))),
        "3 masks for 2 pictures"),
    "a background from another model's inversion": (
        lambda ctx: single(ctx, noise=False, blend=keep_trajectory(inverted(ctx, model=OTHER), Mask(HALF))),
        "input blend: .* another model than 'toy'"),
    "a pair held to another model's inversion": (
        lambda ctx: pair(ctx, control=inject_attention(tokens(ctx)), blend=combine_blends(
            local_blend(tokens(ctx), "cat"), direct_inversion(inverted(ctx, model=OTHER)))),
        "input blend: .* another model than 'toy'"),
    "an inversion beyond the model's noise": (
        lambda ctx: ddim_invert(ctx, MODEL, encode_text(ctx, CLIP, A), latent(), Sigmas(2 * STEPS.values)),
        "input sigmas: .* up to sigma 29.23, this model knows 14.61"),
    "a background without its noise": (
        lambda ctx: single(ctx, noise=False, blend=keep_outside(latent(), Mask(HALF))), "keep its trajectory"),
    "strengths without noise": (
        lambda ctx: single(ctx, noise=False, blend=per_pixel_strength(latent(), Mask(HALF))), "keep its trajectory"),
    "as many prompts as there are no pictures": (
        lambda ctx: sample_pair(
            ctx, guider(ctx), tripled(encode_text(ctx, CLIP, A)), Sampler("ddim"), STEPS, latent(2)),
        "3 prompts cannot serve a batch of 2"),
    "a factor that is no number": (
        lambda ctx: reweight_words(ctx, CLIP, B, {"grass": math.nan}), "is a number from"),
    "null text of two pictures": (
        lambda ctx: null_text_inversion(
            ctx, MODEL, inverted(ctx, 2), encode_text(ctx, CLIP, A), encode_text(ctx, CLIP, "")),
        "one picture .* got 2"),
    "ranking inside an empty mask": (
        lambda ctx: rank_latents(ctx, MODEL, latent(2), *guider(ctx).conds.values(), Mask(HALF * 0)), "mask is empty"),
    "no captions": (lambda ctx: rank_captions(ctx, MODEL, CLIP, latent(), "\n "), "captions, one a line, got 0"),
    "a template without a place": (
        lambda ctx: rank_captions(ctx, MODEL, CLIP, latent(), "cat", "a picture"), "has no {}"),
    "no levels to look at": (
        lambda ctx: rank_captions(ctx, MODEL, CLIP, latent(), "cat", low=0.5, high=0.5), "low must be below high"),
    "maps of other pictures": (
        lambda ctx: show_heatmap(Heatmap(torch.rand(3, 8, 8), 2), Image(torch.rand(2, 16, 16, 3))), "2 and 3 pictures"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "said"), REFUSED.values(), ids=list(REFUSED))
def test_it_is_refused_in_a_sentence(call: Callable[[Context], Any], said: str, ctx: Context) -> None:
    with pytest.raises(BadInput) as refused:
        call(ctx)
    assert re.search(said, str(refused.value.problems[0]))


def test_one_map_lies_over_every_picture():
    heat = Heatmap(torch.rand(1, 8, 8), 2)
    assert show_heatmap(heat, Image(torch.rand(2, 16, 16, 3))).pixels.shape == (2, 16, 16, 3)


@pytest.mark.parametrize(("size", "sampler", "steps"), [
    ((12, 6), "ddim", 1), ((7, 13), "dpmpp_2m", 3), ((12, 6), "heun", 2), ((7, 13), "euler_ancestral", 3),
])  # fmt: skip
def test_a_pair_of_any_shape_sampler_and_length_keeps_its_source(ctx, size, sampler, steps):
    canvas = replace(latent(2), samples=torch.zeros(2, 4, *size))
    source = encode_text(ctx, CLIP, A)
    both = {"control": inject_attention(tokens(ctx)), "blend": local_blend(tokens(ctx), "cat", "butterfly", start=0.0)}

    def made(**more: Any) -> Any:
        return sample_pair(ctx, guider(ctx), source, Sampler(sampler), spaced(steps), canvas, noise=Noise(0), **more)

    out, free = made(**both), made()
    torch.testing.assert_close(out.source.samples, free.source.samples, rtol=1e-3, atol=1e-3)
    assert torch.isfinite(out.edited.samples).all()
