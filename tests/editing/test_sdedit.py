"""SDEdit against its closed form on Gaussian data, and the canvas it starts from."""

from __future__ import annotations

import math

import pytest
import torch

from engine.errors import BadInput
from engine.types import Image, Latent, Mask, Noise, Sampler, Sigmas
from nodes.basics.image_compose import composite_images
from nodes.basics.sampling_custom import sample_custom
from nodes.editing.sdedit import (
    draw_strokes,
    paint_strokes,
    sdedit,
    sigmas_by_strength,
    simulate_strokes,
    strength_sweep,
)
from tests.editing.toys import MODEL, SD, STD, Toy, context, guider, latent, prompt
from tests.nodes.test_conformance import registry

MEAN, GUIDE = 0.3, 1.7


def edit(start, *, steps=50, repeats=1, mask=None, toy=None):
    ctx = context(toy or Toy())
    guide = Latent(torch.full((1, 2, 100, 100), GUIDE), 2, mask=mask)
    sigmas = sigmas_by_strength(ctx, MODEL, "simple", steps, start)
    return sdedit(ctx, MODEL, prompt(MEAN), prompt(0.0), guide, sigmas, cfg=1.0, repeats=repeats).samples


def test_strength_nothing_returns_the_guide_and_calls_nothing():
    toy = Toy()
    assert torch.equal(edit(0.0, toy=toy), torch.full((1, 2, 100, 100), GUIDE))
    assert toy.calls == []


def test_a_mask_of_nothing_gives_the_guide_and_one_of_everything_is_no_mask():
    nothing, everything = (torch.full((1, 100, 100), value) for value in (0.0, 1.0))
    assert torch.equal(edit(0.6, steps=6, mask=nothing), torch.full((1, 2, 100, 100), GUIDE))
    assert torch.equal(edit(0.6, steps=6, mask=everything), edit(0.6, steps=6))
    original, edited = (Image(torch.rand(1, 8, 8, 3, generator=torch.Generator().manual_seed(k))) for k in (0, 1))
    pasted = composite_images(original, edited, Mask(torch.zeros(1, 8, 8))).pixels
    assert torch.equal(pasted, original.pixels)


def closed_form(t0):
    a = SD.alpha_bar(t0 * SD.count)
    v = math.sqrt(a * STD**2 + 1 - a)
    return MEAN + STD * math.sqrt(a) / v * (GUIDE - MEAN), STD * math.sqrt(1 - a) / v


@pytest.mark.parametrize("t0", [0.3, 0.5, 0.8])
def test_gaussian_data_follow_the_closed_form(t0):
    mean, std = closed_form(t0)
    far = []
    for steps in (50, 500):
        out = edit(t0, steps=steps)
        far.append(max(abs(out.mean().item() - mean), abs(out.std().item() - std)))
    assert far[1] < 0.01
    assert far[1] < far[0] or far[0] < 0.01


def test_one_repeat_is_no_repeat_and_more_go_on_from_the_result():
    ctx = context(Toy())
    sigmas = sigmas_by_strength(ctx, MODEL, "simple", 8, 0.5)
    guide = Latent(torch.full((1, 2, 100, 100), GUIDE), 2)
    plain = sample_custom(ctx, guider(MEAN), Sampler("ddim"), sigmas, guide, Noise(0)).latent.samples
    assert torch.equal(edit(0.5, steps=8), plain)
    away = [abs(edit(0.5, steps=50, repeats=k).mean().item() - MEAN) for k in (1, 2, 4)]
    assert away == sorted(away, reverse=True)
    assert away[2] < away[0] / 2


def test_repeats_keep_the_background():
    mask = torch.zeros(1, 100, 100)
    mask[:, :50] = 1
    out = edit(0.6, steps=6, repeats=3, mask=mask)
    assert torch.equal(out[:, :, 50:], torch.full((1, 2, 50, 100), GUIDE))
    assert (out[:, :, :50] - GUIDE).abs().mean() > 0.1


def test_the_meanings_of_strength_differ_under_karras():
    ctx = context(Toy())
    level, steps, sigma = (
        sigmas_by_strength(ctx, MODEL, "karras", 20, 0.5, mode).values for mode in ("level", "steps", "sigma")
    )
    assert level[0].item() == pytest.approx(SD.sigma(500))
    assert sigma[0].item() == pytest.approx(0.5)
    assert steps[0].item() != pytest.approx(level[0].item(), rel=0.05)
    assert [len(s) for s in (level, steps, sigma)] == [21, 21, 21]
    tail = sigmas_by_strength(ctx, MODEL, "simple", 20, 0.5, "level", count="tail").values
    assert len(tail) == 11


def test_strokes_are_painted_where_the_mask_says():
    image = Image(torch.zeros(2, 20, 30, 3))
    out = paint_strokes(image, [{"points": [[0.1, 0.5], [0.9, 0.5]], "color": "#00ff00", "width": 5}])
    on = out.mask.values > 0
    assert on[0, 10].sum() > 20
    assert bool((out.image.pixels[on] == torch.tensor([0.0, 1.0, 0.0])).all())
    assert bool((out.image.pixels[~on] == 0).all())
    assert bool((image.pixels == 0).all())
    for bad in ({}, [3], [{"points": []}], [{"points": [[0, "a"]]}], [{"points": [[0, 0]], "width": 0}],
                [{"points": [[0.1, 0.1]], "color": "green"}]):  # fmt: skip
        with pytest.raises(BadInput):
            paint_strokes(image, bad)


def test_a_width_below_one_is_a_part_of_the_picture_as_it_is():
    for side in (40, 80):
        stroke = [{"points": [[0, 0.5], [1, 0.5]], "width": 0.1}]
        painted = paint_strokes(Image(torch.zeros(1, side, side, 3)), stroke).mask.values
        assert abs(float(painted.mean()) - 0.1) < 0.04
    assert torch.equal(painted, paint_strokes(Image(torch.zeros(1, 80, 80, 3)), None, draw_strokes(stroke)).mask.values)


@pytest.mark.parametrize("node", ["draw_strokes", "paint_strokes"])
def test_the_help_of_strokes_is_words(node):
    (help,) = (i.help for i in registry().specs[node].inputs if i.name == "strokes")
    assert "{" not in help


def test_simulated_strokes_have_few_colours_and_no_detail():
    picture = torch.rand(1, 32, 32, 3, generator=torch.Generator().manual_seed(0)) * 0.2
    picture[:, :, 16:] += 0.7
    out = simulate_strokes(Image(picture), 7, 3).pixels
    assert len(torch.unique(out.reshape(-1, 3), dim=0)) <= 3
    assert out[:, :, 20:].std() < picture[:, :, 20:].std()
    assert torch.equal(out, simulate_strokes(Image(picture), 7, 3).pixels)


def test_a_sweep_is_even():
    assert strength_sweep(0.2, 0.8, 4) == [0.2, 0.4, 0.6, 0.8]


def test_noise_has_the_moments_of_its_level():
    """x = sqrt(abar) x0 + sqrt(1 - abar) z over 10^6 cells; here x / sqrt(abar) is what is held."""
    clean, sigma = latent(side=710), SD.sigma(500)
    one = Sigmas(torch.tensor([sigma, sigma - 1e-12], dtype=torch.float64))
    out = sample_custom(context(Toy()), guider(), Sampler("euler"), one, clean, Noise(1)).latent.samples
    a, x0, x = SD.alpha_bar(500), clean.samples.double(), SD.native_scale(sigma) * out.double()
    signal = ((x * x0).mean() / x0.square().mean()).item()
    noise = x - math.sqrt(a) * x0
    assert signal == pytest.approx(math.sqrt(a), abs=0.005)
    assert noise.mean().item() == pytest.approx(0, abs=0.005)
    assert noise.std().item() == pytest.approx(math.sqrt(1 - a), rel=0.005)
