"""What is kept is kept at the level that the step reached, and exactly so at the end."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from engine.diffusion import blend as blends
from engine.diffusion.noise import NoiseSource
from engine.diffusion.sample import sample
from engine.diffusion.schedules import get
from engine.diffusion.stepping import StepInfo
from engine.errors import BadInput, NotFound
from engine.types import Blend, Mask, Noise, Sampler
from nodes.editing.blended import combine_blends, keep_outside, per_pixel_strength, sample_edit
from tests.editing.toys import SD, Toy, context, guider, latent, spaced

HALF = torch.zeros(1, 16, 16)
HALF[:, :, 8:] = 1


def edited(blend, *, sampler="euler", steps=8, seed=3, sigmas=None):
    values = spaced(steps) if sigmas is None else sigmas
    return sample_edit(
        context(Toy()), guider(0.9, scale=2.0), Sampler(sampler), values, latent(), Noise(seed), blend=blend
    ).latent.samples


@pytest.mark.parametrize("policy", ["fixed noise", "fresh noise"])
@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "euler_ancestral"])
def test_the_kept_half_comes_back_to_the_bit(policy, sampler):
    out = edited(keep_outside(latent(), Mask(HALF), policy), sampler=sampler)
    assert torch.equal(out[..., :4], latent().samples[..., :4])
    assert (out[..., 4:] - latent().samples[..., 4:]).abs().min() > 1e-3


def test_a_mask_of_ones_is_plain_sampling_to_the_bit():
    assert torch.equal(edited(keep_outside(latent(), Mask(torch.ones(1, 16, 16)))), edited(None))


def test_a_mask_of_nothing_gives_the_latent_back_to_the_bit():
    assert torch.equal(edited(keep_outside(latent(), Mask(torch.zeros(1, 16, 16)))), latent().samples)


def test_put_back_before_each_call_at_its_level_is_put_back_after_each_step_at_the_level_reached():
    sigmas, clean, start = spaced(8).values, latent().samples, guider(0.9).conds["positive"].conds[0]
    eps, denoiser = NoiseSource.of(3, 1).initial(clean), Toy().denoiser
    x = clean + float(sigmas[0]) * eps
    for sigma, sigma_next in pairwise(sigmas):
        x = torch.cat([(clean + float(sigma) * eps)[..., :4], x[..., 4:]], -1)  # before the call
        slope = (x - denoiser(x, sigma[None], start)) / float(sigma)
        x = x + float(sigma_next - sigma) * slope
    x = torch.cat([clean[..., :4], x[..., 4:]], -1)
    after = sample_edit(
        context(Toy()), guider(0.9), Sampler("euler"), spaced(8), latent(), Noise(3),
        blend=keep_outside(latent(), Mask(HALF)),
    ).latent.samples  # fmt: skip
    assert torch.allclose(x, after, atol=1e-5)


def test_the_background_is_at_the_level_that_the_step_reached():
    clean, seen = latent(), []
    eps = NoiseSource.of(3, 1).initial(clean.samples)
    source = NoiseSource.of(3, 1)
    hook = blends.build(keep_outside(clean, Mask(HALF)), blends.Run(clean.samples, eps, source, SD))
    for sigma, sigma_next in ((14.0, 3.0), (3.0, 0.5), (0.5, 0.0)):
        x = torch.full_like(clean.samples, 7.0)
        out = hook(StepInfo(0, 3, x, sigma, sigma_next, x))
        assert torch.equal(out[..., :4], (clean.samples + sigma_next * eps)[..., :4])
        assert torch.equal(out[..., 4:], x[..., 4:])
        seen.append(out)
    assert torch.equal(seen[-1][..., :4], clean.samples[..., :4])


def test_fresh_noise_has_the_moments_of_its_level():
    clean = torch.full((1, 4, 200, 200), 2.0)
    source = NoiseSource.of(1, 1)
    blend = Blend("fresh", torch.zeros(1, 1, 200, 200), clean)
    hook = blends.build(blend, blends.Run(clean, torch.zeros_like(clean), source, SD))
    kept = hook(StepInfo(0, 2, clean, 5.0, 1.5, clean))
    assert kept.mean().item() == pytest.approx(2.0, abs=0.02)
    assert kept.std().item() == pytest.approx(1.5, rel=0.01)
    assert not torch.equal(kept, hook(StepInfo(1, 2, clean, 1.5, 1.0, clean)))


def test_masks_shrink_to_the_mask_itself():
    mask = torch.zeros(1, 9, 9)
    mask[0, 4, 2:7] = 1
    stages = blends.shrinking(mask, 2)
    assert [int(s.sum()) for s in stages] == [5 * 9, 3 * 7, 5]
    assert bool((stages[1:] <= stages[:-1]).all())
    assert torch.equal(stages[-1], mask)
    assert torch.equal(blends.shrinking(mask, 0), mask[None])
    like = torch.zeros(1, 1, 9, 9)
    sums = [int(blends.stage(stages, StepInfo(i, 7, like, 1.0, 0.5, like), like).sum()) for i in range(7)]
    assert sums == sorted(sums, reverse=True)
    assert sums[0] == 45
    assert sums[-1] == 5


@pytest.mark.parametrize("steps", [6, 10])
def test_a_constant_strength_is_sdedit_at_that_level_to_the_bit(steps):
    sigmas = get("simple")(SD, 10)
    start = sigmas[10 - steps]
    strength = SD.level(float(start)) / SD.count
    whole = edited(per_pixel_strength(latent(), Mask(torch.full((1, 16, 16), strength))), steps=10)
    part = sample(Toy(), guider(0.9, scale=2.0), Sampler("euler"), sigmas[10 - steps :], latent(), noise=Noise(3))
    assert torch.equal(whole, part.latent.samples)


def test_strength_none_keeps_and_strength_one_is_free():
    assert torch.equal(edited(per_pixel_strength(latent(), Mask(torch.zeros(1, 16, 16)))), latent().samples)
    assert torch.equal(edited(per_pixel_strength(latent(), Mask(torch.ones(1, 16, 16)))), edited(None))


def test_less_and_less_is_pinned_and_nothing_grown_is_left():
    strength, clean = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.zeros(1, 1, 8, 8)
    blend = Blend("per_pixel", strength, clean, options={"dilate": 3.0})
    hook = blends.build(blend, blends.Run(clean, clean, NoiseSource.of(0, 1), SD))
    x, counts = torch.ones(1, 1, 8, 8), []
    for sigma in get("simple")(SD, 12).tolist():
        counts.append(int((hook(StepInfo(0, 12, x, 99.0, sigma, x)) == 0).sum()))
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == 64
    assert counts[-1] == int((strength == 0).sum())


def test_blends_follow_each_other():
    left, right = Mask(HALF), Mask(1 - HALF)
    both = combine_blends(keep_outside(latent(), left), keep_outside(latent(), right))
    assert torch.equal(edited(both), latent().samples)
    nothing = keep_outside(latent(), Mask(torch.ones(1, 16, 16)))
    assert torch.equal(edited(combine_blends(nothing, both)), latent().samples)


def test_what_does_not_fit_is_a_sentence():
    small = latent(side=4)
    with pytest.raises(BadInput, match="2 x 4 x 4"):
        edited(keep_outside(small, Mask(HALF)))
    with pytest.raises(NotFound, match="no blend"):
        edited(Blend("sideways"))
    with pytest.raises(BadInput, match="needs a mask"):
        edited(replace(keep_outside(latent(), Mask(HALF)), masks=None))
    wide = Mask(torch.ones(1, 20, 30))
    for node in (keep_outside, per_pixel_strength):
        with pytest.raises(BadInput, match="30 x 20 pixels, the latents 8 x 8 cells"):
            node(latent(), wide)
