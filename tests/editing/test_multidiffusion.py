"""Fusion in the guider: any sampler, no uncovered cell, and the published step-then-average to rounding."""

from __future__ import annotations

import itertools
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from engine.diffusion import attention, guidance
from engine.diffusion.families.unet import UNet
from engine.diffusion.guiders.fused import View, centred, coverage, starts, views, window_weights
from engine.diffusion.noise import NoiseSource
from engine.errors import BadInput, NotFound
from engine.types import Cond, Conditioning, Latent, Noise, Sampler, Vae
from nodes.basics.sampling_custom import sample_custom
from nodes.editing.multidiffusion import fuse_windows, vae_decode_wrapped, window_coverage
from tests.diffusion_models import tiny
from tests.editing.toys import MODEL, SD, Toy, context, guider, prompt, spaced

CANVAS = Latent(torch.zeros(1, 2, 8, 30), 2)


def sampled(steered, latent=CANVAS, sampler="ddim", seed=3, steps=6, network=None):
    ctx = context(network or Toy())
    return sample_custom(ctx, steered, Sampler(sampler), spaced(steps), latent, Noise(seed)).latent.samples


@pytest.mark.parametrize("sampler", ["ddim", "dpmpp_2m", "heun", "euler_ancestral", "uni_pc"])
def test_a_pointwise_model_does_not_see_the_windows(sampler):
    plain = guider(0.7, scale=2.0)
    fused = fuse_windows(plain, 16, 6)
    torch.testing.assert_close(sampled(fused, sampler=sampler), sampled(plain, sampler=sampler), rtol=1e-4, atol=1e-4)


def test_one_window_is_plain_sampling_to_the_bit():
    plain = guider(0.7, scale=2.0)
    small = Latent(torch.zeros(1, 2, 8, 8), 2)
    assert torch.equal(sampled(fuse_windows(plain, 16, 4), small), sampled(plain, small))


@pytest.mark.parametrize("wrap", [False, True])
def test_every_cell_is_covered(wrap):
    for window, length in itertools.product((8, 64), range(8, 201)):
        for stride in range(1, window + 1):
            found = starts(length, window, stride, wrap=wrap)
            ends = [0, *(start + window for start in found)]
            gaps = [start - end for start, end in zip([*found, length], ends, strict=True)]
            assert max(gaps) <= 0, (length, window, stride)
    assert coverage(8, 70, views(8, 70, 64, 8, wrap=wrap)).min() >= 1
    assert starts(70, 64, 8) == [0, 6]  # six columns would be left out otherwise
    assert starts(50, 64, 8) == [0]
    with pytest.raises(BadInput, match="left out"):
        views(8, 30, 8, 9)


@pytest.fixture(scope="module")
def network():
    torch.set_num_threads(1)
    module, _, _ = tiny.networks()
    attention.install(module)
    return UNet(module, SD, "eps")


def conds(*positive):
    generator = torch.Generator().manual_seed(0)
    made = [Cond(torch.randn(1, 5, 64, generator=generator), **more) for more in positive]
    return {"positive": Conditioning(tuple(made)), "negative": Conditioning((Cond(torch.zeros(1, 5, 64)),))}


def euler(x, x0, sigma, sigma_next):
    return x0 + sigma_next / sigma * (x - x0)


@torch.no_grad()
def test_it_equals_stepping_each_window_and_averaging(network):
    denoiser, both = network.denoiser, conds({})
    windows = views(8, 20, 8, 4)
    fused = guidance.build("fused", denoiser, both, options={"scale": 3.0}, window=8, stride=4)
    inner = guidance.build("cfg", denoiser, both, scale=3.0)
    sigmas = spaced(20).values.tolist()
    x = y = NoiseSource.of(1, 1).initial(torch.zeros(1, 4, 8, 20)).double() * sigmas[0]
    for sigma, sigma_next in pairwise(sigmas):
        x = euler(x, fused(x, sigma), sigma, sigma_next)
        total, count = torch.zeros_like(y), torch.zeros_like(y)
        for view in windows:
            part = view.crop(y)
            view.add(total, euler(part, inner(part, sigma), sigma, sigma_next))
            view.add(count, torch.ones_like(part))
        y = total / count
    torch.testing.assert_close(x, y, rtol=1e-4, atol=2e-5)  # the network counts in single precision


@torch.no_grad()
@pytest.mark.parametrize("until", [0.0, 1.0])
def test_regions_equal_stepping_each_and_averaging_with_bootstrapping(network, until):
    left = torch.zeros(1, 8, 8)
    left[..., :3] = 1
    both = conds({"mask": left}, {})
    bootstrap = {"until": until, "colours": torch.full((1, 4, 1, 1), 0.5), "seed": 1}
    fused = guidance.build("fused", network.denoiser, both, options={"scale": 2.0}, bootstrap=bootstrap)
    sigmas = spaced(20).values.tolist()
    eps = NoiseSource.of(1, 2).initial(torch.zeros(2, 4, 8, 8))  # each of a batch has its own
    x = y = eps.double() * sigmas[0]
    for sigma, sigma_next in pairwise(sigmas):
        x = euler(x, fused(x, sigma), sigma, sigma_next)
        total = torch.zeros_like(y)
        for cond, mask in zip(both["positive"].conds, (left, 1 - left), strict=True):
            alone = {**both, "positive": Conditioning((replace(cond, mask=None),))}
            inside = cond.mask is not None and until > 0
            seen = mask * y + (1 - mask) * (0.5 + sigma * eps) if inside else y
            guide = guidance.build("cfg", network.denoiser, alone, scale=2.0)
            total += mask * euler(seen, guide(seen, sigma), sigma, sigma_next)
        y = total
    torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-5)


CORNERS = torch.zeros(2, 8, 30)
CORNERS[0, 5:, :4] = 1
CORNERS[1, :2, 21:] = 1


def test_a_region_is_seen_in_the_middle():
    eps = NoiseSource.of(0, 2).initial(torch.zeros(2, 2, 8, 30))
    looked = []
    for centre in ("none", "across", "both"):
        guide = centred(lambda conds: lambda x, sigma: looked.append(x) or x, {}, CORNERS[:, None], centre)
        guide(CORNERS[:, None], 1.0)
        assert torch.equal(guide(eps, 1.0), eps)  # put back
    assert torch.equal(looked[0][:, 0], CORNERS)
    for x in looked[2::2]:
        assert [c.nonzero().flatten().tolist() for c in x[:, 0].amax(1)] == [[13, 14, 15, 16], list(range(10, 19))]
    assert torch.equal(looked[2][:, 0].amax(2), CORNERS.amax(2))
    assert looked[4][:, 0].amax(2).tolist() == [[0, 0, 1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 0, 0, 0]]


class Spot(Toy):
    """It draws its prompt in the middle of the canvas only, as models draw things."""

    def predict(self, x_in, c_noise, cond):
        middle = torch.zeros_like(x_in[:1, :1])
        middle[..., 2:6, 11:19] = 1
        return super().predict(x_in, c_noise, replace(cond, tokens=0 * cond.tokens)) * (1 - middle) + (
            super().predict(x_in, c_noise, cond) * middle
        )


def test_a_thing_grows_in_a_region_beside_the_middle():
    mask = torch.zeros(1, 8, 30)
    mask[..., 2:6, 0:8] = 1
    regions = Conditioning((*prompt(2.0).map(mask=mask).conds, *prompt(0.0).conds))
    steered = replace(guider(0.0, scale=1.0), conds={"positive": regions, "negative": prompt(0.0)})

    def inside(centre):
        bootstrap = {"until": 1.0, "colours": torch.zeros(1, 2, 1, 1), "seed": 3, "centre": centre}
        fused = replace(
            steered, kind="fused", options={"inner": "cfg", "options": {"scale": 1.0}, "bootstrap": bootstrap}
        )
        made = sample_custom(context(Spot()), fused, Sampler("ddim"), spaced(6), CANVAS, Noise(3)).latent.samples
        return made[..., 2:6, 0:8].mean().item()

    assert inside("across") - inside("none") == pytest.approx(2, abs=0.15)


def test_regions_of_a_pointwise_model_are_cut_from_its_own_pictures():
    mask = torch.zeros(1, 8, 30)
    mask[..., :12] = 1
    steered = guider(0.0, scale=1.0)
    two = Conditioning((prompt(2.0).conds[0], prompt(-1.0).conds[0]))
    regions = Conditioning((replace(two.conds[0], mask=mask), replace(two.conds[1], mask=1 - mask)))
    out = sampled(fuse_windows(replace(steered, conds={**steered.conds, "positive": regions}), 16, 8))
    for mean, part in ((2.0, slice(0, 12)), (-1.0, slice(12, 30))):
        whole = sampled(guider(mean, scale=1.0))
        torch.testing.assert_close(out[..., part], whole[..., part], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("centre", ["none", "across", "both"])
def test_each_region_has_its_own_negative_prompt_while_it_is_moved(centre):
    left = torch.zeros(1, 8, 30)
    left[..., :5, :12] = 1
    sides = {"positive": (2.0, -1.0), "negative": (0.7, -0.4)}
    conds = {role: Conditioning(tuple(prompt(m).map(mask=where).conds[0]
                                      for m, where in zip(means, (left, 1 - left), strict=True)))
             for role, means in sides.items()}  # fmt: skip
    bootstrap = {"until": 1.0, "colours": torch.zeros(1, 2, 1, 1), "seed": 3, "centre": centre}
    fused = replace(guider(), kind="fused", conds=conds,
                    options={"inner": "cfg", "options": {"scale": 2.0}, "bootstrap": bootstrap})  # fmt: skip
    out = sampled(fused)
    for i, where in enumerate((left, 1 - left)):
        alone = {role: prompt(means[i]) for role, means in sides.items()}
        whole = sampled(replace(guider(scale=2.0), conds=alone))
        torch.testing.assert_close(out * where, whole * where, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bootstrap", [None, {"until": 1.0, "colours": torch.ones(1, 2, 1, 1), "seed": 0}])
def test_one_region_everywhere_is_plain_sampling_to_the_bit(bootstrap):
    plain = guider(0.7, scale=2.0)
    whole = {**plain.conds, "positive": plain.conds["positive"].map(mask=torch.ones(1, 8, 30))}
    fused = {"inner": "cfg", "options": plain.options, "bootstrap": bootstrap}
    assert torch.equal(sampled(replace(plain, kind="fused", conds=whole, options=fused)), sampled(plain))


def test_windows_count_once_however_often_and_in_whatever_order(monkeypatch):
    steered = fuse_windows(guider(0.7, scale=2.0), 16, 6, weight="gaussian")
    once = sampled(steered, network=Blur())
    monkeypatch.setattr("engine.diffusion.guiders.fused.views", lambda *a, **k: [*views(*a, **k)[::-1]] * 3)
    torch.testing.assert_close(sampled(steered, network=Blur()), once, rtol=1e-6, atol=1e-5)


class Seen(Toy):
    """It keeps what it is given."""

    def __init__(self):
        super().__init__()
        self.inputs = []

    def predict(self, x_in, c_noise, cond):
        self.inputs.append(x_in)
        return super().predict(x_in, c_noise, cond)


def test_windows_of_one_prompt_are_called_together_and_give_the_same(monkeypatch):
    steered, together, apart = fuse_windows(guider(0.7), 16, 6), Seen(), Seen()
    out = sampled(steered, network=together, steps=1)
    assert [len(x) for x in together.inputs] == [3, 3, 3]  # nine windows, of which three fill the canvas
    monkeypatch.setattr("engine.diffusion.guiders.fused._together", lambda windows, *given: [[v] for v in windows])
    torch.testing.assert_close(sampled(steered, network=apart, steps=1), out, rtol=1e-5, atol=1e-5)
    assert torch.equal(torch.cat(apart.inputs), torch.cat(together.inputs))


def test_windows_see_the_same_noise_around_a_bootstrapped_region():
    mask = torch.zeros(1, 8, 30)
    mask[..., 7:9] = 1
    regions = Conditioning((*prompt(2.0).map(mask=mask).conds, *prompt(0.0).conds))
    bootstrap = {"until": 1.0, "colours": torch.zeros(1, 2, 1, 1), "seed": 3, "centre": "none"}
    steered = replace(guider(scale=1.0), conds={"positive": regions, "negative": prompt(0.0)})
    network = Seen()
    fused = replace(
        fuse_windows(steered, 16, 8), options={**fuse_windows(steered, 16, 8).options, "bootstrap": bootstrap}
    )
    sampled(fused, network=network, steps=1)
    first, second = network.inputs[0], network.inputs[2]  # the region in the windows that begin at cells 0 and 4
    assert torch.equal(first[..., 4:7], second[..., 0:3])


class Smooth:
    """An autoencoder whose pixels see the cells beside theirs, and zeros beyond the edges."""

    factor = 2

    def decode(self, samples, *, tile=0, on_tile=None):
        wide = torch.nn.functional.pad(samples, (3, 3))
        mean = sum(wide[..., k : k + samples.shape[-1]] for k in range(7)) / 7
        return mean.repeat_interleave(2, -1).repeat_interleave(2, -2).movedim(1, -1)

    def decode_bytes(self, *given):
        return 0


def test_what_wraps_around_is_decoded_without_its_ends():
    canvas = Latent(torch.randn(1, 3, 4, 20, generator=torch.Generator().manual_seed(0)), 2)
    vae = Vae("toy", MODEL.weights, options={"factor": 2, "width": 8})

    def decoded(shift):
        latent = replace(canvas, samples=canvas.samples.roll(shift, -1))
        return vae_decode_wrapped(context(Smooth()), latent, vae, 3).pixels

    torch.testing.assert_close(decoded(7).roll(-14, 2), decoded(0))
    assert decoded(0).shape == (1, 8, 40, 3)


def test_an_area_in_cells_is_that_of_the_canvas():
    def made(**where):
        regions = Conditioning((*prompt(2.0).map(**where).conds, *prompt(0.0).conds))
        steered = replace(guider(scale=1.0), conds={"positive": regions, "negative": prompt(0.0)})
        return sampled(fuse_windows(steered, 16, 8))

    cells = made(extra={"area_cells": (0, 0, 12, 8)})
    assert torch.equal(cells, made(area=(0.0, 0.0, 0.4, 1.0)))
    assert cells[..., :10].mean() > 0.5 > cells[..., 14:].mean()


class Blur(Toy):
    """Each cell follows the mean of its window, so that windows matter."""

    def predict(self, x_in, c_noise, cond):
        return super().predict(0.5 * x_in + 0.5 * x_in.mean((2, 3), keepdim=True), c_noise, cond)


def test_wrapping_commutes_with_rolling():
    fused = fuse_windows(guider(0.4), 16, 6, wrap=True)  # windows of 8 cells, 3 apart, on 30
    start = NoiseSource.of(0, 1).initial(CANVAS.samples) * SD.sigma_max

    def run(x):
        latent = Latent(x, 2)
        return sample_custom(context(Blur()), fused, Sampler("euler"), spaced(4), latent).latent.samples

    torch.testing.assert_close(run(start.roll(6, -1)), run(start).roll(6, -1), rtol=1e-4, atol=1e-3)
    assert not torch.allclose(run(start.roll(5, -1)), run(start).roll(5, -1), rtol=1e-4, atol=1e-3)


def test_weights_fall_towards_the_edges_and_never_to_nothing():
    for kind in ("uniform", "ramp", "gaussian"):
        weight = window_weights(8, 8, kind)
        assert weight.min() > 0
        assert weight[4, 4] >= weight[0, 0]
        out = sampled(fuse_windows(guider(0.7), 16, 6, weight=kind))
        torch.testing.assert_close(out, sampled(guider(0.7)), rtol=1e-4, atol=1e-4)


def test_a_view_wraps_around():
    x = torch.arange(10.0)[None, None, None]
    view = View(0, 8, 1, 4)
    assert view.crop(x).flatten().tolist() == [8, 9, 0, 1]
    canvas = torch.zeros_like(x)
    view.add(canvas, view.crop(x))
    assert canvas.flatten().tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 8, 9]


def test_coverage_can_be_looked_at():
    heat = window_coverage(fuse_windows(guider(), 16, 8), CANVAS)
    assert heat.values.shape == (1, 8, 30)
    assert heat.values.min() >= 1
    assert window_coverage(guider(), CANVAS).values.max() == 1


def test_what_does_not_fit_is_a_sentence():
    with pytest.raises(BadInput, match="larger than the window"):
        fuse_windows(guider(), 16, 32)
    steered = guider().conds["positive"].map(extra={"concat": torch.zeros(1, 4, 8, 30)})
    with pytest.raises(BadInput, match="over the whole canvas"):
        sampled(fuse_windows(replace(guider(), conds={**guider().conds, "positive": steered}), 16, 8))
    with pytest.raises(NotFound, match="fused"):
        guidance.build("sideways", Toy().denoiser, {})
    mask = torch.zeros(1, 8, 8)
    masked = {"positive": prompt(1.0).map(mask=mask), "negative": prompt(0.0)}
    bootstrap = {"until": 1.0, "colours": torch.zeros(1, 2, 1, 1), "seed": 0}
    with pytest.raises(BadInput, match="background"):
        guidance.build("fused", Toy().denoiser, masked, options={}, bootstrap=bootstrap)(torch.zeros(1, 2, 8, 8), 2.0)
