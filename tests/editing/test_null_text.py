"""Real pictures under guidance: what must be exact is, what is learnt is the best there is, and work is resumed."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import pytest
import torch

from engine import codec
from engine.codec import digest_of
from engine.context import Context
from engine.diffusion import inversion
from engine.diffusion.inversion import NullStep, null_text
from engine.diffusion.stepping import walk
from engine.errors import BadInput, Cancelled
from engine.types import Cond, Conditioning, Guider, Latent, Noise, Sampler
from nodes.basics.sampling_custom import sample_custom
from nodes.basics.text import encode_text
from nodes.editing.ddim_inversion import ddim_invert, replay
from nodes.editing.null_text import negative_prompt_inversion, null_text_inversion
from nodes.editing.prompt_to_prompt import direct_inversion
from tests.editing.test_prompt_to_prompt import CLIP, A, Both, injection, near, run
from tests.editing.toys import MODEL, Toy, context, guider, latent, prompt, spaced

STEPS, INNER = 3, 3


@pytest.fixture
def ctx(network):
    return Context(node="n", models=Both(network))


def learn(ctx, steps=STEPS):
    caption, empty = (encode_text(ctx, CLIP, text) for text in ("a cat on grass", ""))
    picture = Latent(torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(9)), 2)
    sigmas = spaced(steps) if steps else replace(spaced(1), values=torch.zeros(1))
    made = ddim_invert(replace(ctx, cancelled=lambda: False), MODEL, caption, picture, sigmas)
    return null_text_inversion(
        ctx, MODEL, made.trajectory, caption, empty, scale=7.5, inner=INNER, rate=0.05, tolerance=0.0
    )


@pytest.mark.parametrize(("after", "learnt"), [(2, 0), (7, 1), (12, 2)])
def test_broken_off_within_a_step_it_goes_on_with_that_step(ctx, monkeypatch, after, learnt):
    whole, kept, polls, descents = learn(ctx), [], count(), []
    with pytest.raises(Cancelled):
        learn(replace(ctx, cancelled=lambda: next(polls) >= after, checkpoint=kept.append))
    assert len(kept[-1]) == learnt
    stored = codec.settled(codec.encode(kept[-1]))
    descend = inversion._descend
    monkeypatch.setattr(inversion, "_descend", lambda *a, **k: descents.append(1) or descend(*a, **k))
    again = learn(replace(ctx, resume=lambda: stored))
    assert len(descents) == STEPS - learnt
    assert digest_of(again.negative) == digest_of(whole.negative)
    assert again.curves == whole.curves


def test_it_is_kept_from_time_to_time(ctx, monkeypatch):
    monkeypatch.setattr("engine.diffusion.optimise.CHECKPOINT_SECONDS", 0.0)
    kept = []
    learn(replace(ctx, checkpoint=kept.append))
    assert [len(each) for each in kept] == [1, 2, 3]


def test_an_inversion_without_steps_has_nothing_to_learn(ctx):
    with pytest.raises(BadInput, match="got 1 over 0"):
        learn(ctx, 0)


@pytest.fixture(scope="module")
def picture():
    return Latent(torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(9)), 2)


def inverted(ctx, picture):
    return ddim_invert(ctx, MODEL, encode_text(ctx, CLIP, A), picture, spaced(4), refine=2)


@pytest.mark.parametrize("scale", [1.0, 7.5])
def test_the_caption_as_negative_gives_the_original_of_a_pair_at_any_guidance(ctx, picture, scale):
    made = inverted(ctx, picture)
    negative = negative_prompt_inversion(encode_text(ctx, CLIP, A))
    plain = run(ctx, noise=None, latent=made.latent, scale=1.0).source.samples
    out = run(ctx, noise=None, latent=made.latent, scale=scale, negative=negative)
    assert near(out.source.samples, plain, 1e-3)


def test_the_same_prompt_twice_on_a_real_picture_gives_the_same_picture(ctx, picture):
    made, negative = inverted(ctx, picture), negative_prompt_inversion(encode_text(ctx, CLIP, A))
    out = run(ctx, injection(ctx, target=A), noise=None, latent=made.latent, scale=7.5, negative=negative, target=A)
    assert torch.equal(out.edited.samples, out.source.samples)


def test_direct_inversion_gives_the_original_to_the_bit_and_leaves_the_edit_to_guidance(ctx, picture):
    made = inverted(ctx, picture)
    held = {"noise": None, "latent": made.latent, "scale": 7.5, "blend": direct_inversion(made.trajectory)}
    edited, same = run(ctx, injection(ctx), **held), run(ctx, target=A, **held)
    for out in (edited, same):
        assert torch.equal(out.source.samples, picture.samples)
        assert not torch.equal(out.edited.samples, picture.samples)
    free = run(ctx, target=A, **{**held, "blend": None})
    assert torch.equal(same.edited.samples, free.edited.samples)  # what guidance makes of it, not the picture


def test_null_text_brings_guided_sampling_back_to_the_picture(ctx, picture):
    made = inverted(ctx, picture)
    a, empty = encode_text(ctx, CLIP, A), encode_text(ctx, CLIP, "")
    learnt = null_text_inversion(ctx, MODEL, made.trajectory, a, empty, scale=7.5, inner=20, rate=0.05, tolerance=0.0)
    before, after = (dict(learnt.curves.series[name]) for name in ("before", "after"))
    assert all(after[i] <= before[i] for i in before)

    def off(negative):
        out = run(ctx, noise=None, latent=made.latent, scale=7.5, negative=negative).source.samples
        return (out - picture.samples).square().mean().sqrt().item()

    assert off(learnt.negative) < 0.5 * off(empty)
    other = Guider("cfg", MODEL, {"positive": a, "negative": learnt.negative}, {"scale": 7.5})
    with pytest.raises(BadInput, match="no prompt"):  # it is of four other steps
        sample_custom(ctx, other, Sampler("ddim"), spaced(3), picture, Noise(0))
    with pytest.raises(BadInput, match="another prompt"):
        null_text_inversion(ctx, MODEL, made.trajectory, empty, empty)


def test_null_text_at_guidance_one_has_nothing_to_learn(ctx, picture):
    made = inverted(ctx, picture)
    a, empty = encode_text(ctx, CLIP, A), encode_text(ctx, CLIP, "")
    learnt = null_text_inversion(ctx, MODEL, made.trajectory, a, empty, scale=1.0, tolerance=0.0)
    assert learnt.curves.series["before"] == learnt.curves.series["after"]
    assert all(torch.equal(c.tokens, empty.conds[0].tokens) for c in learnt.negative.conds)
    plain = run(ctx, noise=None, latent=made.latent, scale=1.0).source.samples
    out = run(ctx, noise=None, latent=made.latent, scale=1.0, negative=learnt.negative).source.samples
    assert torch.equal(out, plain)
    with pytest.raises(BadInput, match="learnt for guidance 1, and 3 is asked"):
        run(ctx, noise=None, latent=made.latent, scale=3.0, negative=learnt.negative)


@pytest.mark.parametrize("scale", [1.0, 3.0, 7.5, 15.0])
def test_the_caption_as_negative_is_sampling_without_guidance(scale):
    ctx, caption = context(Toy()), prompt(0.3)
    made = ddim_invert(ctx, MODEL, caption, latent(), spaced(20)).trajectory
    conds = {"positive": caption, "negative": negative_prompt_inversion(caption)}
    plain = replay(ctx, made, guider(0.3)).samples
    assert torch.equal(replay(ctx, made, Guider("cfg", MODEL, conds, {"scale": scale})).samples, plain)


class Linear(Toy):
    """eps = A z + B e, z of 8 cells, e the prompt of `width` numbers."""

    def __init__(self, width):
        super().__init__()
        random = torch.Generator().manual_seed(1)
        self.a = torch.randn(8, 8, generator=random) / 8**0.5
        self.b = torch.linalg.qr(torch.randn(8, 8, generator=random)).Q[:, :width]
        self.width = width

    def prompt(self, seed):
        return Cond(torch.randn(1, self.width // 2, 2, generator=torch.Generator().manual_seed(seed)))

    def predict(self, x_in, c_noise, cond):
        return (0.5 * x_in.flatten(1) @ self.a.T + cond.tokens.flatten(1) @ self.b.T).reshape(x_in.shape)


@pytest.mark.parametrize("width", [8, 4])
def test_null_text_of_a_linear_model_is_the_best_of_each_step(width):
    """Each step goes 99 % of the way to least squares; with as many numbers as cells all end at the picture."""
    toy, scale = Linear(width), 3.0
    caption, null = toy.prompt(2), toy.prompt(3)
    picture = latent(4, side=2)
    made = ddim_invert(context(toy), MODEL, Conditioning((caption,)), picture, spaced(5)).trajectory
    options = {"scale": scale, "inner": 200, "rate": 0.1, "tolerance": 0.0}
    x = made.latents[-1]
    for step, found in zip(
        walk(made.sigmas.flip(0)), null_text(toy.denoiser, made, caption, null, **options), strict=True
    ):
        guided = inversion._GuidedStep(toy.denoiser, null, scale, step, x, toy.denoiser(x, step.sigma, caption))
        zero = guided(torch.zeros_like(null.tokens))
        pulls = torch.stack([guided(e.reshape(null.tokens.shape)) - zero for e in torch.eye(width)])  # (width, 1, ...)
        goal = made.latents[4 - step.i]
        best = torch.linalg.lstsq(pulls.flatten(1).T, (goal - zero).flatten()[:, None]).solution
        least = float(guided.loss(best.reshape(null.tokens.shape), goal))
        assert found.after - least <= 0.01 * (found.before - least) + 2e-5 * step.i
        x = guided(found.tokens)
    if width == 8:
        assert (x - picture.samples).square().mean().sqrt() < 0.01


def test_corrections_never_grow_however_many_steps(monkeypatch):
    rates = []
    monkeypatch.setattr(
        inversion, "_descend", lambda start, loss, *, rate, **_: rates.append(rate) or NullStep(start, 0, 0)
    )
    made = ddim_invert(context(Toy()), MODEL, prompt(0.3), latent(), spaced(120)).trajectory
    assert len(list(null_text(Toy().denoiser, made, prompt(0.3).conds[0], prompt(0.0).conds[0], scale=3.0))) == 120
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == 0.01
    assert rates[-1] > 0.005


def test_without_guidance_nothing_is_tried():
    toy = Toy()
    made = ddim_invert(context(toy), MODEL, prompt(0.3), latent(), spaced(5)).trajectory
    toy.calls.clear()
    found = list(null_text(toy.denoiser, made, prompt(0.3).conds[0], prompt(0.0).conds[0], scale=1.0, tolerance=0.0))
    assert len(toy.calls) == 3 * 5  # the caption, the loss, the step
    assert all(step.before == step.after for step in found)
