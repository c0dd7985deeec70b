"""Marks in noise: wholly there after being laid, found by their key alone, with the false alarms they promise."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from scipy.stats import beta, kstest

from engine.diffusion.marks import (
    RingKey,
    ShadingKey,
    cosine_chance,
    find_rings,
    lay_rings,
    marked,
    read_shading,
    shade,
    spectrum,
)
from engine.diffusion.noise import NoiseSource
from engine.errors import BadInput, Cancelled
from engine.types import Image, Latent, Noise, Sampler, Sigmas, Trajectory
from nodes.basics.sampling_custom import sample_custom
from nodes.editing.ddim_inversion import ddim_invert
from nodes.editing.tree_ring import (
    attack_pictures,
    calibrate_mark,
    detect_mark,
    ring_noise,
    shaded_noise,
    undo_crops,
    undo_turns,
)
from tests.editing.toys import MODEL, Toy, context, guider, prompt, spaced

KEY = RingKey(999_999, 1, 3)
LIKE = torch.zeros(1, 4, 16, 16)


def noise(seed=0, like=LIKE):
    return NoiseSource((seed,) * len(like)).initial(like)


def test_the_whole_key_is_there_and_nothing_else_has_changed():
    z, out = noise(), lay_rings(noise(), KEY)
    where, values = spectrum(KEY, 16, 16)
    f = torch.fft.fftshift(torch.fft.fft2(out[0, 1].double()))
    g = torch.fft.fftshift(torch.fft.fft2(z[0, 1].double()))
    torch.testing.assert_close(f[where].real, values[where], rtol=0, atol=1e-4)
    assert f[where].imag.abs().max() < 1e-4
    torch.testing.assert_close(f[~where], g[~where], rtol=0, atol=1e-4)
    assert torch.equal(out[:, [0, 2, 3]], z[:, [0, 2, 3]])


def published(z, seed):
    """Lay rings into a plane as the paper's code does; return it, where they lie and what they should be.

    Its disc is centred a row off the zero frequency and its values are complex, which no spectrum of real noise is.
    """
    h, w = z.shape
    y, x = (h - 1 - torch.arange(h))[:, None] - h // 2, torch.arange(w)[None] - w // 2
    f, key = (torch.fft.fftshift(torch.fft.fft2(a.double())) for a in (z, noise(seed, LARGE)[0, 0]))
    values = torch.zeros_like(f)
    for radius in range(10, 0, -1):
        values = torch.where(y**2 + x**2 <= radius**2, key[0, radius], values)
    where = y**2 + x**2 <= 100
    return torch.fft.ifft2(torch.fft.ifftshift(torch.where(where, values, f))).real, where, values


def symmetric(z, seed):
    key = RingKey(seed, 0, 10)
    return lay_rings(z[None, None], key)[0, 0], *spectrum(key, *z.shape)


LARGE = torch.zeros(1, 1, 64, 64)


def distances(z, where, values):
    f = torch.fft.fftshift(torch.fft.fft2(z.double()), dim=(-2, -1))
    return (f - values)[..., where].abs().mean(-1)


def lost_and_margin(lay):
    """Return how far from the key noise lies after laying it in, of unmarked noise, and how well it is told apart.

    That is by how many deviations of unmarked noise a mark lies nearer of which inversion brings a third back.
    """
    plain, lost, margins = torch.cat([noise(s, LARGE)[0] for s in range(20)]), [], []
    for seed in range(1000, 1020):
        laid, *key = lay(plain[0], seed)
        usual, weak = (distances(z, *key) for z in (plain[1:], laid / 3 + (8 / 9) ** 0.5 * plain[1:]))
        lost.append(distances(laid, *key) / usual.mean())
        margins.append((usual.mean() - weak.mean()) / usual.std())
    return float(sum(lost) / 20), float(sum(margins) / 20)


def test_the_published_key_is_half_lost_when_laid_in_and_this_one_is_not():
    (theirs, unsure), (ours, sure) = lost_and_margin(published), lost_and_margin(symmetric)
    assert theirs == pytest.approx(0.52, abs=0.05)
    assert ours < 1e-6
    assert sure > 1.2 * unsure


def test_all_channels_carry_rings_of_their_own():
    key = RingKey(999_999, -1, 3)
    out = lay_rings(noise(), key)
    assert find_rings(out, key).p < 1e-12
    singles = key.singles(4)
    assert [k.channel for k in singles] == [0, 1, 2, 3]
    assert len({k.seed for k in singles}) == 4
    assert all(find_rings(out, k).p < 1e-9 for k in singles)
    assert find_rings(out.flip(3), key, magnitudes=True).distance < 0.01
    chances = [find_rings(noise(s), key).p for s in range(300)]
    assert kstest(chances, "uniform").pvalue > 0.01
    weak = [find_rings(0.25 * out + (1 - 0.25**2) ** 0.5 * noise(s + 1), key).p for s in range(20)]
    alone = [find_rings(0.25 * out + (1 - 0.25**2) ** 0.5 * noise(s + 1), singles[0]).p for s in range(20)]
    assert sum(p < 0.01 for p in weak) > sum(p < 0.01 for p in alone)


def test_marked_noise_is_still_noise():
    planes = torch.cat([lay_rings(noise(s), RingKey(s, 1, 3))[:, 1] for s in range(200)])
    assert planes.std().item() == pytest.approx(1, abs=0.03)
    assert kstest(planes.flatten()[::7].numpy(), "norm").pvalue > 0.01


def test_a_mark_is_certain_and_its_absence_uniform():
    assert find_rings(lay_rings(noise(), KEY), KEY).p < 1e-12
    chances = [find_rings(noise(s), KEY).p for s in range(500)]
    assert kstest(chances, "uniform").pvalue > 0.01
    assert sum(p < 0.01 for p in chances) <= 15
    others = [find_rings(lay_rings(noise(), KEY), RingKey(s, 1, 3)).p for s in range(50)]
    assert min(others) > find_rings(lay_rings(noise(), KEY), KEY).p
    assert sorted(others)[25] > 1e-3  # four rings tell marked from unmarked; few keys from each other


def test_sizes_of_rings_survive_turns_and_flips():
    out = lay_rings(noise(), KEY)
    for changed in (torch.rot90(out, 1, (2, 3)), out.flip(3)):
        assert find_rings(changed, KEY, magnitudes=True).distance < 0.01
    assert find_rings(noise(), KEY, magnitudes=True).distance > 0.2


@pytest.mark.parametrize(("cosine", "n"), [(-0.4, 5), (0.0, 37), (0.3, 592), (0.9, 37), (1.0, 8)])
def test_the_chance_is_that_of_a_random_direction(cosine, n):
    exact = beta.sf((1 + cosine) / 2, (n - 1) / 2, (n - 1) / 2)  # (1 + C) / 2 is a beta variable
    assert cosine_chance(cosine, n) == pytest.approx(exact, rel=1e-4, abs=1e-300)


@pytest.mark.parametrize("gain", [0.4, 3.0])
def test_a_mark_is_found_in_a_spectrum_that_is_not_flat(gain):
    """Pictures invert to noise with more or less in low frequencies than elsewhere, and with a weaker mark."""

    def uneven(z):
        f = torch.fft.fft2(z.double())
        f[..., :4, :4] *= gain
        f[..., :4, -3:] *= gain
        f[..., -3:, :4] *= gain
        f[..., -3:, -3:] *= gain
        return torch.fft.ifft2(f).real

    key = RingKey(999_999, -1, 3)
    weak = 0.6 * lay_rings(noise(), key) + 0.8 * noise(99)
    assert find_rings(uneven(weak), key).p < 1e-6
    chances = [find_rings(uneven(noise(s)), key).p for s in range(300)]
    assert kstest(chances, "uniform").pvalue > 0.01


BITS = ShadingKey("1011001110001111", "s3cret", 7)


def test_signs_carry_the_message_and_the_noise_stays_gaussian():
    out = shade(noise(), BITS)
    assert torch.equal(out.abs(), noise().abs())
    assert read_shading(out, BITS).bits == BITS.message
    assert read_shading(out, BITS).p == pytest.approx(2**-16)
    many = torch.cat([shade(noise(s), ShadingKey(BITS.message, "s", s)) for s in range(50)])
    assert kstest(many.flatten()[::5].numpy(), "norm").pvalue > 0.01
    assert read_shading(out, ShadingKey(BITS.message, "other", 7)).p > 1e-3


def test_pictures_of_a_batch_share_no_signs():
    out = shade(noise(like=torch.zeros(2, 4, 16, 16)), BITS)
    same = (out[0].sign() == out[1].sign()).float().mean().item()
    assert same == pytest.approx(0.5, abs=0.1)
    assert read_shading(out[1:], ShadingKey(BITS.message, BITS.secret, BITS.nonce + 1)).bits == BITS.message


def test_soft_votes_read_through_much_noise():
    right = []
    for s in range(30):
        key = ShadingKey(BITS.message, "s", s)
        weak = 0.3 * shade(noise(s), key) + math.sqrt(1 - 0.09) * noise(s + 1000)
        right.append(1 - read_shading(weak, key).distance)
    assert sum(right) / len(right) > 0.95


def found(mark, *, made=None, refine=0):
    canvas = Latent(torch.zeros(1, 2, 16, 16), 2)
    recipe = made or mark
    out = sample_custom(context(Toy()), guider(0.3), Sampler("ddim"), spaced(50), canvas, recipe).latent
    inverted = ddim_invert(context(Toy()), MODEL, prompt(0.3), out, spaced(50), refine=refine)
    return detect_mark(mark, inverted.trajectory)


BOTH = pytest.mark.parametrize("mark", [ring_noise(3), shaded_noise(3, secret="k")], ids=["rings", "shading"])


@BOTH
def test_made_inverted_and_found(mark):
    assert found(mark).found
    assert "there" in found(mark).report
    assert not found(mark, made=Noise(5)).found


def test_an_exact_inversion_brings_back_the_key():
    assert found(ring_noise(3), refine=5).distance < 0.05 * found(ring_noise(3), made=Noise(3), refine=5).distance


@BOTH
def test_seed_and_key_determine_the_noise(mark):
    eps = noise(like=torch.zeros(1, 4, 16, 16))
    assert torch.equal(marked(mark, eps), marked(replace(mark), eps))
    assert not torch.equal(marked(mark, eps), marked(replace(mark, options=mark.options | OTHER[mark.kind]), eps))


OTHER = {"rings": {"seed": 1}, "shading": {"secret": "another"}}


def test_calibration_reports_each_noise_and_can_be_cancelled():
    done, ctx = [], context(Toy())
    ctx.emit = lambda event: done.append(event.done)
    calibrate_mark(ctx, ring_noise(), Latent(LIKE), rate=0.05, count=100)
    assert done[-1] == 100
    ctx.cancelled = lambda: True
    with pytest.raises(Cancelled):
        calibrate_mark(ctx, ring_noise(), Latent(LIKE))


def test_the_threshold_is_calibrated():
    cut = calibrate_mark(context(Toy()), ring_noise(), Latent(LIKE), rate=0.05, count=400)
    assert 0.01 < cut < 0.12


def inverted(latents, sigma=99**0.5):
    scale = (1 + sigma**2) ** 0.5
    return Trajectory(torch.stack([torch.zeros_like(latents), scale * latents]), torch.tensor([0.0, sigma]), 2, "")


@pytest.mark.parametrize(("strength", "share"), [(0.0, "0%"), (0.5, "72%")])
def test_an_inversion_that_stops_below_the_noise_is_not_judged(strength, share):
    start = round(20 * (1 - strength))
    sigmas = Sigmas(spaced(20).values[start:])
    part = ddim_invert(context(Toy()), MODEL, prompt(0.3), Latent(torch.zeros(1, 2, 16, 16), 2), sigmas).trajectory
    for field, look in (
        ("trajectory", lambda: detect_mark(ring_noise(), part)),
        ("pictures", lambda: calibrate_mark(context(Toy()), ring_noise(), Latent(LIKE), rate=1.0, pictures=part)),
    ):
        with pytest.raises(BadInput, match=f"where {share} of the latent is noise.*strength 1") as refused:
            look()
        assert refused.value.field == field


def test_the_threshold_may_come_from_unmarked_pictures():
    pictures = torch.cat([noise(s) for s in range(40)])
    mark = ring_noise()
    cut = calibrate_mark(context(Toy()), mark, Latent(LIKE), rate=0.05, pictures=inverted(pictures))
    chances = [detect_mark(mark, inverted(pictures[k : k + 1])).p for k in range(40)]
    assert sum(p <= cut for p in chances) == 2
    with pytest.raises(BadInput, match="in 40 pictures"):
        calibrate_mark(context(Toy()), mark, Latent(LIKE), rate=0.01, pictures=inverted(pictures))


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("flip", [False, True])
def test_one_of_the_turns_undone_is_the_picture(turns, flip):
    picture = torch.rand(2, 8, 8, 3, generator=torch.Generator().manual_seed(0))
    changed = torch.rot90(picture.flip(2) if flip else picture, turns, (1, 2))
    found = undo_turns(Image(changed), mirrored=True)
    assert [torch.equal(image.pixels, picture) for image in found.images].count(True) == 1
    assert torch.equal(found.images[turns].pixels, picture) is not flip
    assert len(undo_turns(Image(changed)).images) == 4
    with pytest.raises(BadInput, match="square"):
        undo_turns(Image(changed[:, :5]))


def test_a_crop_undone_has_each_place_where_it_was():
    across = torch.linspace(0, 1, 64)[None, None, :, None].expand(1, 64, 64, 3)
    cropped = attack_pictures(Image(across.contiguous()), crop=0.75).images[5]
    found = undo_crops(cropped, "1, 0.75")
    assert found.names == ["cut to 1", "cut to 0.75"]
    assert torch.equal(found.images[0].pixels, cropped.pixels)
    inner = slice(10, -10)
    torch.testing.assert_close(found.images[1].pixels[:, inner, inner], across[:, inner, inner], rtol=0, atol=0.01)
    for wrong in ("", "0.4", "1, half"):
        with pytest.raises(BadInput, match="commas"):
            undo_crops(cropped, wrong)


def test_what_does_not_fit_is_a_sentence():
    with pytest.raises(BadInput, match="do not fit"):
        lay_rings(noise(), RingKey(0, 0, 8))
    with pytest.raises(BadInput, match="channels"):
        lay_rings(noise(), RingKey(0, 9, 3))
    with pytest.raises(BadInput, match="0 and 1"):
        shaded_noise(message="12")
    with pytest.raises(BadInput, match="one picture at a time, got 2"):
        detect_mark(ring_noise(), inverted(torch.cat([noise(0), noise(1)])))
    with pytest.raises(BadInput, match="carries no mark"):
        detect_mark(Noise(5), inverted(noise()))
    with pytest.raises(BadInput, match="Undo turns"):
        detect_mark(shaded_noise(), inverted(noise()), turned=True)
    with pytest.raises(BadInput, match="room for"):
        shade(torch.ones(1, 1, 2, 2), BITS)


def test_attacks_change_what_they_name_and_nothing_else():
    grey = torch.linspace(0, 1, 32)[None, :, None].expand(32, 32, 3)
    out = attack_pictures(Image(grey[None].clone()), crop=0.5, brightness=2.0, turn=90, seed=3)
    by_name = dict(zip((n.partition(" ")[0] for n in out.names), (i.pixels[0] for i in out.images), strict=True))
    assert torch.equal(by_name["none"], grey)
    assert 0 < (by_name["jpeg"] - grey).abs().max() < 0.05
    inner = slice(4, -4)
    torch.testing.assert_close(by_name["blur"][:, inner], grey[:, inner], atol=1e-4, rtol=0)
    assert (by_name["noise"] - grey)[:, 8:24].std().item() == pytest.approx(0.05, rel=0.1)
    torch.testing.assert_close(by_name["brightness"], (2 * grey).clamp(0, 1))
    assert by_name["crop"].min() > 0.2  # the middle half, stretched
    torch.testing.assert_close(by_name["turn"], torch.rot90(grey, 1, (0, 1)), atol=1e-3, rtol=0)
    assert torch.equal(attack_pictures(Image(grey[None].clone()), seed=3).images[3].pixels[0], by_name["noise"])
