"""Inversion through its nodes: round trips, provenance, and what the report says."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

from engine.context import Context
from engine.diffusion.inversion import check_caption, health, windows
from engine.diffusion.trajectory import check_origin
from engine.errors import BadInput, Cancelled
from engine.types import Guider, Latent, Mask, Trajectory, Vae, Weights
from nodes.editing.ddim_inversion import ddim_invert, inversion_report, keep_trajectory, replay, trajectory_at
from tests.editing.toys import MODEL, SD, STD, Models, Toy, context, guider, latent, prompt, spaced


def inverted(mean=0.3, steps=50, of=None, **options):
    return ddim_invert(context(Toy()), MODEL, prompt(mean), of or latent(), spaced(steps), **options)


def plain(mean=0.3):
    return Guider("conditional", MODEL, {"positive": prompt(mean)})


def error(steps, **options):
    back = replay(context(Toy()), inverted(steps=steps, **options).trajectory, plain())
    return (back.samples - latent().samples).square().mean().sqrt().item()


def test_the_round_trip_is_of_first_order_and_refinement_makes_it_exact():
    assert error(100) / error(50) == pytest.approx(0.5, abs=0.12)
    assert error(50, refine=3) < error(50) / 100
    assert error(50, refine=6) < 1e-5


def test_level_0_is_the_picture_to_the_byte_and_n_is_the_noise():
    made = inverted(steps=10)
    assert made.trajectory.latents.shape[0] == 11
    assert torch.equal(trajectory_at(made.trajectory, 0).samples, latent().samples)
    assert torch.equal(trajectory_at(made.trajectory, 10).samples, made.latent.samples)
    with pytest.raises(BadInput, match="0 to 10"):
        trajectory_at(made.trajectory, 11)


def test_no_step_returns_the_input():
    made = ddim_invert(context(Toy()), MODEL, prompt(0.3), latent(), replace(spaced(1), values=torch.zeros(1)))
    assert torch.equal(made.latent.samples, latent().samples)


def test_an_all_keep_mask_returns_the_picture_for_any_prompt_and_guidance():
    made = inverted(steps=8).trajectory
    nothing = keep_trajectory(made, Mask(torch.zeros(1, 16, 16)))
    back = replay(context(Toy()), made, guider(5.0, scale=7.5), nothing)
    assert torch.equal(back.samples, latent().samples)


def test_the_background_is_the_recorded_latent_of_the_same_level():
    made = inverted(steps=5).trajectory
    half = torch.zeros(1, 16, 16)
    half[:, 8:] = 1
    toy, seen = Toy(), []
    blend = keep_trajectory(made, Mask(half))
    old = toy.predict

    def spy(x_in, c_noise, cond):
        sigma = SD.table[int(c_noise[0]) + 1].item()
        seen.append((sigma, x_in * (1 + sigma**2) ** 0.5))
        return old(x_in, c_noise, cond)

    toy.predict = spy
    out = replay(context(toy), made, plain(2.0), blend)
    for sigma, x in seen:
        level = int((made.sigmas - sigma).abs().argmin())
        torch.testing.assert_close(x[:, :, :4], made.latents[level][:, :, :4], rtol=1e-5, atol=1e-5)
    assert torch.equal(out.samples[:, :, :4], latent().samples[:, :, :4])


def test_what_it_is_replayed_with_is_checked():
    made = inverted(steps=4).trajectory
    other = replace(MODEL, weights=Weights("toys", "other", "1"))
    with pytest.raises(BadInput, match="another model"):
        replay(context(Toy()), made, replace(plain(), model=other))
    with pytest.raises(BadInput, match="another prompt"):
        check_caption(made, prompt(0.31))
    check_caption(made, prompt(0.3))


def test_guidance_while_inverting_is_flagged():
    of = Latent(0.3 + STD * torch.randn(1, 2, 64, 64, generator=torch.Generator().manual_seed(4)), 2)
    good = health(inverted(steps=200, of=of).trajectory)
    assert good.flags == ()
    bad = health(inverted(1.0, steps=50, of=of, negative=prompt(-1.0), guidance_scale=7.5).trajectory)
    assert any("mean" in flag for flag in bad.flags)
    flat = health(inverted(steps=20, of=Latent(torch.zeros(1, 2, 64, 64), 2)).trajectory)
    assert any("deviation" in flag for flag in flat.flags)
    with pytest.raises(BadInput, match="negative"):
        inverted(guidance_scale=2.0)


class Painter:
    """An autoencoder of the toy's channels: a cell becomes a grey square of 2 pixels."""

    def decode(self, samples, *, tile, on_tile):
        grey = samples.mean(1).sigmoid().repeat_interleave(2, 1).repeat_interleave(2, 2)  # (B, h, w) -> (B, H, W)
        return grey[..., None].repeat(1, 1, 1, 3)


VAE = Vae("toy", Weights("toys", "toy vae", "0"), options={"factor": 2, "width": 8})


class Both(Models):
    def use(self, described, *, working_bytes=0):
        return Models(Painter() if described is VAE else Toy()).use(described)


@pytest.mark.parametrize(("steps", "shown"), [(0, 2), (12, 5)])
def test_the_report_shows_the_levels_and_last_what_comes_back(steps, shown):
    ctx = Context(node="n", models=Both(None))
    sigmas = spaced(steps) if steps else replace(spaced(1), values=torch.zeros(1))
    made = ddim_invert(ctx, MODEL, prompt(0.3), latent(batch=2), sigmas, refine=8).trajectory
    out = inversion_report(ctx, made, MODEL, VAE, frames=4)
    strip = out.image.pixels[0]
    assert strip.shape[1] == 2 + shown * (16 + 2)
    cells = strip[2:18, 2:].unflatten(1, (shown, 18))[:, :, :16].movedim(1, 0)  # (shown, 16, 16, 3)
    torch.testing.assert_close(cells[0], cells[-1], atol=1e-3, rtol=0)
    torch.testing.assert_close(cells[0], Painter().decode(made.latents[0], tile=0, on_tile=None)[0])
    assert float(re.match(r"([\d.]+) dB between", out.report)[1]) > 50
    assert [len(points) for points in out.curves.series.values()] == [steps + 1] * 2
    with pytest.raises(BadInput, match="no prompt"):
        inversion_report(ctx, replace(made, conditioning=None), MODEL, VAE)


def test_inversion_can_be_cancelled_and_reports_each_step():
    done = []
    ctx = context(Toy())
    ctx.emit = lambda event: done.append(event.done)
    ddim_invert(ctx, MODEL, prompt(0.3), latent(), spaced(3))
    assert done[-1] == 3
    ctx.cancelled = lambda: True
    with pytest.raises(Cancelled):
        ddim_invert(ctx, MODEL, prompt(0.3), latent(), spaced(3))


def test_windows_hold_their_own_sigma_alone():
    sigmas = spaced(20, "karras").values
    spans = windows(sigmas, SD)
    assert len(spans) == 20
    for i, sigma in enumerate(sigmas[:-1].tolist()):
        inside = [k for k, (a, b) in enumerate(spans) if SD.sigma_at(b) < sigma <= SD.sigma_at(a)]
        assert inside == [i]


def test_a_trajectory_travels():
    from engine import codec

    made = inverted(steps=3).trajectory
    stored = codec.settled(codec.encode(made))
    assert isinstance(stored, Trajectory)
    check_origin(stored, MODEL)
    assert torch.equal(stored.sigmas.flip(0), spaced(3).values)
    check_caption(stored, prompt(0.3))
