"""Every schedule there is, found through the registry: adding a file adds it to these tests."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import betaincinv

from engine.diffusion import levels, schedules
from engine.diffusion.schedules.align_your_steps import TABLES
from engine.diffusion.schedules.align_your_steps import sigmas as align_your_steps
from engine.diffusion.schedules.beta import quantiles
from engine.errors import BadInput, NotFound

SD = levels.scaled_linear()
FAMILIES = {
    "sd": SD,
    "zero": levels.scaled_linear(zero_terminal=True),
    "cosine": levels.cosine(),
    "flow": levels.flow(shift=3.0),
    "edm": levels.edm(),
    "short": levels.linear(4),
    "cut": SD.until(1.0),
}
WHOLE_RANGE = [n for n in schedules.names() if n != "ddim_uniform"]


def test_all_schedules_are_there():
    wanted = """normal karras exponential sgm_uniform simple ddim_uniform beta linear_quadratic kl_optimal
    align_your_steps"""
    assert set(wanted.split()) <= set(schedules.names())


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
@pytest.mark.parametrize("name", schedules.names())
def test_conformance(name, family):
    for steps in (1, 2, 3, 10, 37, 300):
        sigmas = schedules.get(name)(family, steps)
        assert sigmas.shape == (steps + 1,)
        assert sigmas.dtype == torch.float64
        assert torch.isfinite(sigmas).all()
        assert bool((sigmas.diff() < 0).all())
        assert sigmas[-1] == 0
        assert sigmas[0] <= family.sigma_max * (1 + 1e-9)


@pytest.mark.parametrize("name", WHOLE_RANGE)
def test_the_first_sigma_is_the_noisiest_level(name):
    for steps in (1, 20):
        assert schedules.get(name)(SD, steps)[0].item() == pytest.approx(SD.sigma_max)


@pytest.mark.parametrize("name", ["normal", "karras", "exponential", "kl_optimal"])
def test_the_last_step_starts_at_level_1(name):
    assert schedules.get(name)(SD, 20)[-2].item() == pytest.approx(SD.sigma_min)


def test_no_steps_and_unknown_names_are_refused():
    with pytest.raises(BadInput, match="at least one"):
        schedules.get("karras")(SD, 0)
    with pytest.raises(NotFound, match="karras"):
        schedules.get("karas")


def test_warps_are_even_in_their_own_scale():
    karras, exponential, kl = (schedules.get(n)(SD, 12)[:-1] for n in ("karras", "exponential", "kl_optimal"))
    for warped in (karras ** (1 / 7), exponential.log(), kl.arctan()):
        torch.testing.assert_close(warped.diff(), warped.diff()[:1].expand(11))


def test_flow_models_are_warped_in_flow_time():
    flow = levels.flow()
    sigmas = schedules.get("karras")(flow, 12)[:-1]
    s = (sigmas / (1 + sigmas)) ** (1 / 7)
    torch.testing.assert_close(s.diff(), s.diff()[:1].expand(11))


def test_linear_quadratic_joins_smoothly():
    s = schedules.get("linear_quadratic")(levels.flow(), 100)
    s = s / (1 + s) / levels.FLOW_MAX
    assert s[50].item() == pytest.approx(1 - 0.025)
    torch.testing.assert_close(s[:51].diff(), torch.full((50,), -0.0005, dtype=torch.float64))
    second = s[50:].diff().diff()
    torch.testing.assert_close(second, second[:1].expand(49))
    assert s[51] - s[50] < 0
    assert abs((s[51] - s[50]) - (s[50] - s[49])) < 1.1 * abs(second[0])


def test_simple_takes_every_so_many_th_level():
    assert schedules.get("simple")(SD, 4).tolist() == [SD.sigma(k) for k in (1000, 750, 500, 250)] + [0]


def test_ddim_uniform_counts_from_the_clean_end():
    timesteps = [SD.timestep(s) for s in schedules.get("ddim_uniform")(SD, 5).tolist()[:-1]]
    assert timesteps == [801, 601, 401, 201, 1]


@pytest.mark.parametrize(("alpha", "beta"), [(0.6, 0.6), (0.5, 2.0), (1.0, 1.0)])
def test_beta_quantiles_are_scipys(alpha, beta):
    p = torch.linspace(0, 1, 41, dtype=torch.float64)
    exact = betaincinv(alpha, beta, p.numpy())
    np.testing.assert_allclose(quantiles(p, alpha, beta).numpy(), exact, atol=5e-6)


def test_align_your_steps_gives_its_tables_back():
    table = torch.tensor(TABLES["sd15"][:-1], dtype=torch.float64)
    torch.testing.assert_close(align_your_steps(SD, 10)[:-1], table, rtol=7e-3, atol=0)
    video = levels.edm(sigma_max=700)
    torch.testing.assert_close(align_your_steps(video, 10)[:-1], torch.tensor(TABLES["svd"][:-1], dtype=torch.float64))
    between = align_your_steps(SD, 20)
    assert between[1].item() == pytest.approx(math.sqrt(between[0].item() * between[2].item()))
    assert not torch.equal(align_your_steps(SD, 10, table="sdxl"), align_your_steps(SD, 10))
