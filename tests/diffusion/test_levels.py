from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.diffusion import levels, schedules
from engine.diffusion.levels import by_strength, flip
from engine.errors import BadInput

SD = levels.scaled_linear()
FAMILIES = {
    "sd": SD,
    "zero_terminal": levels.scaled_linear(zero_terminal=True),
    "linear": levels.linear(),
    "cosine": levels.cosine(),
    "flow": levels.flow(),
    "shifted": levels.flow(shift=3.0),
    "edm": levels.edm(),
}


def test_stable_diffusions_numbers():
    assert SD.count == 1000
    assert SD.alpha_bar(1000) == pytest.approx(0.00466, abs=1e-5)
    assert SD.sigma_min == pytest.approx(0.0292, abs=1e-4)
    assert SD.sigma_max == pytest.approx(14.6146, abs=1e-4)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
@given(share=st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_level_and_sigma_are_inverse(family, share):
    k = share * family.count
    assert family.level(family.sigma(k)) == pytest.approx(k, abs=1e-6)
    assert family.sigma_at(1 - share) == pytest.approx(family.sigma(k)) or share == 1
    assert family.percent(family.sigma(k)) == pytest.approx(1 - share, abs=1e-8)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_level_0_is_clean(family):
    assert family.sigma(0) == 0
    assert family.alpha_bar(0) == 1
    assert family.logsnr(0) == math.inf
    assert family.level(0.0) == 0
    assert family.level(1e9) == family.count
    assert family.logsnr(family.count) == pytest.approx(-2 * math.log(family.sigma_max))
    with pytest.raises(BadInput, match="outside"):
        family.sigma(family.count + 1)


def test_timesteps_of_a_table_count_from_0_at_level_1():
    assert SD.timestep(SD.sigma(1)) == 0
    assert SD.timestep(SD.sigma(1000)) == 999
    assert SD.timestep(SD.sigma(500.4)) == 499
    assert SD.timestep(SD.sigma(500.4), interpolate=True) == pytest.approx(499.4)
    assert SD.timestep(SD.sigma_min / 10) == 0
    assert SD.timestep(SD.sigma_max * 10) == 999
    assert SD.timestep(SD.sigma_min / 10, interpolate=True) == 0


def test_the_nearest_level_is_nearest_in_log_sigma():
    for sigma in (0.03, 0.5, 2.0, 14.0):
        by_search = (SD.table[1:].log() - math.log(sigma)).abs().argmin() + 1
        assert SD.nearest(sigma) == by_search


def test_what_flow_and_edm_networks_are_told():
    assert FAMILIES["flow"].timestep(1.0) == 500
    assert FAMILIES["edm"].timestep(math.e) == 0.25


def test_native_scales():
    assert SD.native_scale(SD.sigma(700)) == pytest.approx(math.sqrt(SD.alpha_bar(700)))
    assert FAMILIES["flow"].native_scale(3.0) == 0.25
    assert FAMILIES["edm"].native_scale(3.0) == 1


def test_flow_shift_is_the_published_one():
    s = FAMILIES["flow"].table[1:-1] / (1 + FAMILIES["flow"].table[1:-1])
    shifted = FAMILIES["shifted"].table[1:-1] / (1 + FAMILIES["shifted"].table[1:-1])
    torch.testing.assert_close(shifted, 3 * s / (1 + 2 * s))
    assert FAMILIES["shifted"].sigma_max == FAMILIES["flow"].sigma_max == pytest.approx(9999)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_shifts_undo_each_other(family):
    torch.testing.assert_close(family.shifted(3.0).shifted(1 / 3).table, family.table)


def test_a_shift_moves_logsnr_and_keeps_timesteps():
    shifted = SD.shifted(2.0)
    assert shifted.logsnr(300) == pytest.approx(SD.logsnr(300) - 2 * math.log(2))
    assert shifted.timestep(shifted.sigma(300)) == SD.timestep(SD.sigma(300)) == 299
    with pytest.raises(BadInput, match="positive"):
        SD.shifted(0)


def test_pooling_needs_the_shift_of_its_factor():
    """White noise averaged over s x s has 1/s of its deviation: the level after pooling is that of sigma / s."""
    generator = torch.Generator().manual_seed(0)
    noise = SD.sigma(600) * torch.randn(1, 1, 512, 512, generator=generator)
    for s in (2, 4):
        pooled = torch.nn.functional.avg_pool2d(noise, s)
        assert pooled.std().item() == pytest.approx(SD.shifted(1 / s).sigma(600), rel=0.02)


def test_zero_terminal_snr_keeps_the_first_level():
    zero = FAMILIES["zero_terminal"]
    assert zero.sigma_min == pytest.approx(SD.sigma_min)
    assert zero.sigma_max > 3000
    assert math.isfinite(zero.sigma_max)


def test_a_schedule_must_rise():
    for bad in ([0.0], [0.1, 0.2], [0.0, 2.0, 1.0]):
        with pytest.raises(BadInput):
            levels.Levels(torch.tensor(bad))


def test_until_cuts_off():
    cut = SD.until(2.0)
    assert cut.sigma_max == 2.0
    assert cut.sigma_min == SD.sigma_min
    assert bool((cut.table.diff() > 0).all())
    assert SD.until(SD.sigma_max).count == SD.count


NORMAL = schedules.get("normal")


@pytest.mark.parametrize(
    ("steps", "strength", "mode", "keep", "expected"),
    [
        (50, 0.5, "steps", "tail", 25),
        (50, 0.58, "steps", "tail", 29),
        (20, 0.01, "steps", "tail", 0),
        (50, 0.5, "steps", "total", 50),
        (20, 1.0, "steps", "total", 20),
        (20, 1.0, "steps", "tail", 20),
        (20, 0.0, "steps", "total", 0),
        (20, 0.0, "steps", "tail", 0),
        (20, 0.0, "level", "total", 0),
        (20, 0.5, "level", "total", 20),
        (20, 0.5, "level", "tail", 11),
        (20, 1.0, "level", "total", 20),
        (20, 0.0, "sigma", "total", 0),
        (20, 3.0, "sigma", "total", 20),
        (20, 99.0, "sigma", "tail", 20),
        (1, 0.5, "level", "total", 1),
    ],
)
def test_steps_of_an_edit(steps, strength, mode, keep, expected):
    sigmas = by_strength(NORMAL, SD, steps, strength, mode=mode, keep=keep)
    assert len(sigmas) == expected + 1
    assert sigmas[-1] == 0
    assert bool((sigmas.diff() < 0).all())


@pytest.mark.parametrize("keep", ["total", "tail"])
@pytest.mark.parametrize("mode", ["steps", "level"])
@pytest.mark.parametrize("schedule", schedules.names())
def test_strength_1_is_the_whole_schedule(schedule, mode, keep):
    place = schedules.get(schedule)
    assert torch.equal(by_strength(place, SD, 10, 1.0, mode=mode, keep=keep), place(SD, 10))


@pytest.mark.parametrize("schedule", [n for n in schedules.names() if n != "ddim_uniform"])
def test_an_edit_starts_at_its_level(schedule):
    """All but DDIM's spacing, which leaves out the noisiest levels."""
    sigmas = by_strength(schedules.get(schedule), SD, 10, 0.5, mode="level")
    assert sigmas[0].item() == pytest.approx(SD.sigma(500))
    assert len(sigmas) == 11


@pytest.mark.parametrize("name", FAMILIES)
def test_every_schedule_lies_on_its_levels(name):
    family = FAMILIES[name]
    assert all(family.reaches(float(schedules.get(place)(family, 7)[0])) for place in schedules.names())
    assert not family.reaches(1.001 * family.sigma_max)


def test_the_tail_is_the_end_of_the_full_schedule():
    assert torch.equal(by_strength(NORMAL, SD, 20, 0.5, keep="tail"), NORMAL(SD, 20)[10:])
    assert torch.equal(by_strength(NORMAL, SD, 20, 0.5), NORMAL(SD, 40)[20:])


@pytest.mark.parametrize(
    ("steps", "strength", "mode"),
    [(0, 0.5, "steps"), (5, -0.1, "sigma"), (5, 1.1, "steps"), (5, 1.1, "level")],
)
def test_nonsense_is_refused(steps, strength, mode):
    with pytest.raises(BadInput, match="strength"):
        by_strength(NORMAL, SD, steps, strength, mode=mode)


def test_flip_turns_the_walk_round():
    assert flip(torch.tensor([3.0, 1.0, 0.0])).tolist() == [0, 1, 3]
