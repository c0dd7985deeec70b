"""Every sampler there is, found through the registry: adding a file adds it to these tests."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from engine.diffusion import levels, samplers, schedules
from engine.diffusion.noise import NoiseSource
from engine.diffusion.samplers import er_sde
from engine.diffusion.samplers._lagrange import integrals
from engine.diffusion.stepping import StepInfo, ancestral_split, phi, silent
from engine.errors import Cancelled, NotFinite, NotFound
from tests.diffusion.analytic import (
    MEAN,
    STD,
    counted,
    gaussian,
    gaussian_flow_map,
    geometric,
    mixture,
    mixture_ode,
    no_noise,
)

NAMES = samplers.names()
WITH_ETA = [n for n in NAMES if "eta" in samplers.get(n).options]
ODE = [n for n in NAMES if n in WITH_ETA or not samplers.get(n).stochastic]
STOCHASTIC = [n for n in NAMES if samplers.get(n).stochastic]
SD = levels.scaled_linear()
FAMILIES = {"vp": SD, "flow": levels.flow(shift=3.0), "edm": levels.edm()}


def ode_options(name):
    return {"eta": 0.0} if name in WITH_ETA else {}


def start(batch=2, sigma=SD.sigma_max, size=4):
    source = NoiseSource.of(11, batch)
    like = torch.zeros(batch, 2, size, size)
    return source, source.initial(like) * sigma


def test_all_samplers_are_there():
    wanted = """euler euler_ancestral heun dpm_2 dpm_2_ancestral lms dpmpp_2s_ancestral dpmpp_sde dpmpp_2m dpmpp_2m_sde
    dpmpp_3m_sde ddim ddpm uni_pc uni_pc_bh2 lcm res_multistep er_sde ipndm deis"""
    assert set(wanted.split()) <= set(NAMES)


def test_an_unknown_sampler_is_answered_with_near_names():
    with pytest.raises(NotFound, match="euler"):
        samplers.get("eular")
    with pytest.raises(NotFound):
        samplers.get("../levels")
    with pytest.raises(NotFound):
        samplers.get("_lagrange")


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("name", NAMES)
def test_conformance_over_every_schedule(name, kind):
    sampler, family = samplers.get(name).on(FAMILIES[kind]), FAMILIES[kind]
    source, x = start(sigma=family.sigma_max)
    state = torch.random.get_rng_state()
    for schedule in schedules.names():
        sigmas = schedules.get(schedule)(family, 4)
        once, again = (sampler(gaussian, x, sigmas, noise=sampler.noise(source, x)) for _ in range(2))
        assert once.shape == x.shape
        assert once.dtype == x.dtype
        assert torch.isfinite(once).all()
        assert torch.equal(once, again)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("name", NAMES)
def test_sample_k_alone_is_sample_k_of_a_batch(name):
    sampler = samplers.get(name)
    source, x = start(3)
    sigmas = schedules.get("karras")(SD, 5)
    batch = sampler(mixture, x, sigmas, noise=sampler.noise(source, x))
    one = NoiseSource.of(11, indices=[1])
    alone = sampler(mixture, x[1:2], sigmas, noise=sampler.noise(one, x[1:2]))
    torch.testing.assert_close(alone, batch[1:2])


@pytest.mark.parametrize("flow", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_steps_are_reported_and_their_replacement_is_used(name, flow):
    family = FAMILIES["flow" if flow else "vp"]
    sampler = samplers.get(name).on(family)
    source, x = start(sigma=family.sigma_max)
    sigmas = schedules.get("simple")(family, 4)
    denoise, calls = counted(gaussian)
    seen: list[StepInfo] = []
    calls_after: list[int] = []

    def on_step(info):
        seen.append(info)
        calls_after.append(len(calls))
        return torch.full_like(x, 0.25) if info.i in (1, 3) else None

    result = sampler(denoise, x, sigmas, noise=sampler.noise(source, x), on_step=on_step)
    assert [(s.i, s.n) for s in seen] == [(i, 4) for i in range(4)]
    assert [(s.sigma, s.sigma_next) for s in seen] == list(pairwise(sigmas.tolist()))
    assert all(torch.isfinite(s.denoised).all() for s in seen)
    replaced_at, (first_x, first_sigma) = seen[1].sigma_next, calls[calls_after[1]]
    torch.testing.assert_close(first_x, torch.full_like(x, 0.25))
    assert first_sigma == replaced_at
    torch.testing.assert_close(result, torch.full_like(x, 0.25))


@pytest.mark.parametrize("name", NAMES)
def test_raising_in_on_step_cancels(name):
    source, x = start()
    denoise, calls = counted(gaussian)

    def on_step(info):
        if info.i == 1:
            raise Cancelled("enough")

    sampler = samplers.get(name)
    with pytest.raises(Cancelled):
        sampler(denoise, x, schedules.get("karras")(SD, 6), noise=sampler.noise(source, x), on_step=on_step)
    assert len(calls) <= 4


@pytest.mark.parametrize("name", NAMES)
def test_no_step_leaves_the_latent_untouched(name):
    _, x = start()
    for sigmas in (torch.zeros(1), torch.zeros(0)):
        assert samplers.get(name)(no_noise, x, sigmas, noise=no_noise) is x
        assert samplers.get(name).on(FAMILIES["flow"])(no_noise, x, sigmas, noise=no_noise) is x


@pytest.mark.parametrize("name", NAMES)
def test_one_step_is_one_call_and_gives_its_denoised(name):
    _, x = start()
    denoise, calls = counted(mixture)
    result = samplers.get(name)(denoise, x, torch.tensor([SD.sigma_max, 0.0]), noise=no_noise)
    assert len(calls) == 1
    torch.testing.assert_close(result, mixture(x, SD.sigma_max), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ODE)
def test_eta_0_draws_no_noise(name):
    _, x = start()
    options = ode_options(name)
    samplers.get(name)(gaussian, x, schedules.get("karras")(SD, 5), noise=no_noise, **options)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_stochastic_samplers_draw_noise(name):
    _, x = start()
    with pytest.raises(AssertionError, match="noise"):
        samplers.get(name)(gaussian, x, schedules.get("karras")(SD, 5), noise=no_noise)


def not_a_number(x, sigma):
    return x * math.nan


def test_a_nan_is_named():
    _, x = start()
    with pytest.raises(NotFinite, match="Step 1 of 3"):
        samplers.get("euler")(not_a_number, x, schedules.get("karras")(SD, 3), noise=no_noise)


@pytest.fixture(scope="module")
def mixture_start():
    generator = torch.Generator().manual_seed(0)
    x = 200 * torch.randn(16, 1, 1, 1, dtype=torch.float64, generator=generator)
    return x, mixture_ode(x, 200.0, 0.1)


def error_at(name, steps, mixture_start, options):
    """Mean error after `steps` of steps + 3 steps: the last ones may be of lower order by design."""
    x, exact = mixture_start
    kept = {}
    sigmas = torch.cat([geometric(steps, 200.0, 0.1), torch.tensor([0.09, 0.08, 0.07])])
    samplers.get(name)(mixture, x, sigmas, noise=no_noise, on_step=lambda s: kept.__setitem__(s.i + 1, s.x), **options)
    return (kept[steps] - exact).abs().mean().item()


@pytest.mark.parametrize("name", ODE)
def test_order_of_convergence(name, mixture_start):
    coarse, fine = (error_at(name, steps, mixture_start, ode_options(name)) for steps in (80, 160))
    assert math.log2(coarse / fine) == pytest.approx(samplers.get(name).order, abs=0.3)


def test_order_of_er_sde_where_it_is_an_ode(mixture_start, monkeypatch):
    monkeypatch.setattr(er_sde, "_phi_over_s", np.ones_like)  # phi(s) = s leaves no noise
    coarse, fine = (error_at("er_sde", steps, mixture_start, {"s_noise": 0.0}) for steps in (80, 160))
    assert math.log2(coarse / fine) == pytest.approx(samplers.get("er_sde").order, abs=0.3)


def test_ipndm_is_of_order_4_on_equal_steps():
    x = torch.linspace(-3, 3, 7, dtype=torch.float64)[:, None]
    exact = mixture_ode(x, 3.0, 1.0)
    errors = []
    for steps in (160, 320):
        sigmas = torch.linspace(3, 1, steps + 1, dtype=torch.float64)
        first = torch.stack([mixture_ode(x, 3.0, s, 40) for s in sigmas[1:4].tolist()])

        def exact_start(info, first=first):
            return first[info.i] if info.i < 3 else None

        result = samplers.get("ipndm")(mixture, x, sigmas, noise=no_noise, on_step=exact_start)
        errors.append((result - exact).abs().mean().item())
    assert math.log2(errors[0] / errors[1]) == pytest.approx(4, abs=0.3)


@pytest.mark.parametrize("name", ODE)
def test_flow_time_reaches_the_exact_end(name):
    family = FAMILIES["flow"]
    sampler = samplers.get(name).on(family)
    _, x = start(sigma=family.sigma_max)
    result = sampler(gaussian, x, schedules.get("simple")(family, 100), noise=no_noise, **ode_options(name))
    exact = gaussian_flow_map(x, family.sigma_max, 0.0)
    assert (result - exact).abs().max() < 0.12 * STD


def test_flow_time_is_euler_in_sigma_and_mends_heun():
    family = FAMILIES["flow"]
    _, x = start(sigma=family.sigma_max)
    sigmas = schedules.get("karras")(family, 20)
    euler, heun = samplers.get("euler"), samplers.get("heun")
    torch.testing.assert_close(
        euler.on(family)(mixture, x, sigmas, noise=no_noise),
        euler(mixture, x, sigmas, noise=no_noise),
        rtol=1e-4,
        atol=1e-4,
    )
    exact = gaussian_flow_map(x, family.sigma_max, 0.0)
    native, in_sigma = (s(gaussian, x, sigmas, noise=no_noise) for s in (heun.on(family), heun))
    assert (native - exact).abs().max() < 0.05 < 1 < (in_sigma - exact).abs().max()
    assert heun.on(family).options == heun.options


def moments(name, steps, denoise=gaussian, **options):
    sampler = samplers.get(name)
    source, x = start(1, size=96)
    sigmas = schedules.get("karras")(SD, steps)
    result = sampler(denoise, x, sigmas, noise=sampler.noise(source, x), **options)
    return result.mean().item(), result.std().item()


@pytest.mark.parametrize("name", [n for n in STOCHASTIC if n != "lcm"])
def test_the_marginal_of_a_gaussian(name):
    mean, std = moments(name, 25)
    finer_mean, finer_std = moments(name, 75)
    error, finer = abs(std - STD), abs(finer_std - STD)
    assert finer < 0.03
    assert finer < error / 2 or error < 0.02
    assert abs(mean - MEAN) < 0.02
    assert abs(finer_mean - MEAN) < 0.02


def test_ddpm_with_the_large_variance_is_wider():
    assert moments("ddpm", 25)[1] < moments("ddpm", 25, variance="large")[1]
    assert abs(moments("ddpm", 75, variance="large")[1] - STD) < 0.03


def consistency(x, sigma):
    return gaussian_flow_map(x, sigma, 0.0)


def test_lcm_is_exact_for_a_consistency_function():
    for steps in (1, 4):
        mean, std = moments("lcm", steps, consistency)
        assert mean == pytest.approx(MEAN, abs=0.02)
        assert std == pytest.approx(STD, abs=0.02)


def test_ddim_at_eta_1_is_ddpm_and_at_0_is_euler():
    source, x = start()
    sigmas = schedules.get("normal")(SD, 6)
    run = {n: samplers.get(n) for n in ("ddim", "ddpm", "euler")}
    noise = source.steps(x)
    torch.testing.assert_close(
        run["ddim"](mixture, x, sigmas, noise=noise, eta=1.0), run["ddpm"](mixture, x, sigmas, noise=noise)
    )
    assert torch.equal(run["ddim"](mixture, x, sigmas, noise=noise), run["euler"](mixture, x, sigmas, noise=noise))


def test_options_are_read_from_the_signature():
    assert samplers.get("euler").options == {}
    assert samplers.get("dpmpp_2m_sde").options == {"eta": 1.0, "s_noise": 1.0, "solver": "midpoint"}


def test_the_sde_solvers_agree_with_res_at_eta_0():
    _, x = start()
    sigmas = schedules.get("karras")(SD, 8)
    heun = samplers.get("dpmpp_2m_sde")(mixture, x, sigmas, noise=no_noise, eta=0.0, solver="heun")
    torch.testing.assert_close(heun, samplers.get("res_multistep")(mixture, x, sigmas, noise=no_noise))


def test_ancestral_split_keeps_the_variance():
    for eta in (0.0, 0.5, 1.0, 10.0):
        down, up = ancestral_split(3.0, 2.0, eta)
        assert math.hypot(down, up) == pytest.approx(2.0)
    assert ancestral_split(3.0, 0.0, 1.0) == (0.0, 0.0)


def test_phi_agrees_on_both_sides_of_its_series():
    for k in range(5):
        for edge in (-1.0, 1.0):
            assert phi(k, edge * (1 - 1e-9)) == pytest.approx(phi(k, edge), rel=1e-8)
        assert phi(k, 0.0) == 1 / math.factorial(k)
    assert phi(1, -2.0) == pytest.approx((math.exp(-2) - 1) / -2)


def test_lagrange_weights_integrate_polynomials_exactly():
    nodes = [3.0, 2.5, 1.0]
    weights = integrals(nodes, 1.0, 4.0)
    assert sum(w * (n**2 - n) for w, n in zip(weights, nodes, strict=True)) == pytest.approx(13.5)


def test_silent_returns_nothing():
    _, x = start()
    assert silent(StepInfo(0, 1, x, 1.0, 0.0, x)) is None
