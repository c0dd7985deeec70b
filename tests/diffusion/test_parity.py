"""Our samplers against the schedulers of diffusers, on the mixture whose denoiser is known."""

from __future__ import annotations

import math

import diffusers
import pytest
import torch

from engine.diffusion import levels, samplers, schedules
from engine.diffusion.trajectory import invert
from tests.diffusion.analytic import mixture, no_noise

# diffusers hands its tensors to numpy in ways that numpy will not take for ever
pytestmark = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")

SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
STEPS = 10
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
END_AT_ONE = {"clip_sample": False, "set_alpha_to_one": True}


def table(scheduler):
    """The schedule that a scheduler holds in single precision."""
    return levels.from_alpha_bar(scheduler.alphas_cumprod)


def sigmas_of(scheduler):
    """The sigmas of its timesteps, then 0."""
    return schedules.at_levels(table(scheduler), (scheduler.timesteps + 1).tolist())


def normal(count=None, seed=3):
    generator = torch.Generator().manual_seed(seed)
    shape = (2, 1, 3, 3) if count is None else (count, 2, 1, 3, 3)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def eps_vp(x, sigma):
    """The noise prediction at x in variance-preserving units."""
    ve = x * math.sqrt(1 + sigma**2)
    return (ve - mixture(ve, sigma)) / sigma


def run_vp(scheduler, sigmas, x, **step_options):
    """Drive a scheduler whose latents are variance preserving."""
    for t, sigma in zip(scheduler.timesteps, sigmas.tolist(), strict=False):
        x = scheduler.step(eps_vp(x, sigma), t, x, **step_options).prev_sample
    return x


def run_ve(scheduler, x):
    """Drive a scheduler whose latents are variance exploding."""
    for t, sigma in zip(scheduler.timesteps, scheduler.sigmas.tolist(), strict=False):
        scheduler.scale_model_input(x, t)  # some insist
        x = scheduler.step((x - mixture(x, sigma)) / sigma, t, x).prev_sample
    return x.double()


def ours(name, x, sigmas, noises=(), **options):
    """Run our sampler with the noises in the order in which they are asked for."""
    drawn = iter(noises)
    noise = (lambda sigma, sigma_next: next(drawn)) if len(noises) else no_noise
    return samplers.get(name)(mixture, x, sigmas, noise=noise, **options)


def ours_vp(name, x, sigmas, noises=(), **options):
    """The same, from and to variance-preserving units."""
    first, last = sigmas[0].item(), sigmas[-1].item()
    return ours(name, x * math.sqrt(1 + first**2), sigmas, noises, **options) / math.sqrt(1 + last**2)


@pytest.fixture
def same_noise(monkeypatch):
    """Make diffusers draw noises from a list that we also use."""
    noises = normal(STEPS)

    def patch(module):
        drawn = iter(noises)
        monkeypatch.setattr(f"diffusers.schedulers.{module}.randn_tensor", lambda *args, **kwargs: next(drawn))
        return noises

    return patch


def test_the_tables_agree():
    ours_sd, theirs = levels.scaled_linear(), table(diffusers.DDPMScheduler(**SD))
    torch.testing.assert_close(ours_sd.table, theirs.table, rtol=2e-5, atol=0)
    linear = diffusers.DDPMScheduler(beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
    torch.testing.assert_close(levels.linear().table, table(linear).table, rtol=1e-4, atol=0)
    cosine = diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    torch.testing.assert_close(levels.cosine().table[:-1], table(cosine).table[:-1], rtol=5e-4, atol=0)


def test_zero_terminal_snr_agrees():
    theirs = diffusers.DDIMScheduler(**SD, rescale_betas_zero_snr=True)
    mine = levels.scaled_linear(zero_terminal=True)
    torch.testing.assert_close(mine.table[:-1], table(theirs).table[:-1], rtol=1e-4, atol=0)
    assert mine.sigma_max > 3000


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_ddim(spacing, eta, same_noise):
    scheduler = diffusers.DDIMScheduler(**SD, **END_AT_ONE, timestep_spacing=spacing)
    scheduler.set_timesteps(STEPS)
    noises = same_noise("scheduling_ddim") if eta else ()
    sigmas, x = sigmas_of(scheduler), normal()
    torch.testing.assert_close(
        ours_vp("ddim", x, sigmas, noises, eta=eta), run_vp(scheduler, sigmas, x, eta=eta), **CLOSE
    )


def test_ddim_that_ends_at_the_first_timestep():
    scheduler = diffusers.DDIMScheduler(**SD, clip_sample=False, set_alpha_to_one=False)
    scheduler.set_timesteps(STEPS)
    sigmas, x = sigmas_of(scheduler), normal()
    sigmas[-1] = table(scheduler).sigma(1)
    sigmas[-2] *= 1 + 1e-9  # its last step goes from timestep 0 to itself
    torch.testing.assert_close(ours_vp("ddim", x, sigmas), run_vp(scheduler, sigmas, x), **CLOSE)


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_ddim_inversion(spacing):
    scheduler = diffusers.DDIMInverseScheduler(**SD, **END_AT_ONE, timestep_spacing=spacing)
    scheduler.set_timesteps(STEPS)
    family = table(scheduler)
    up = family.sigmas((scheduler.timesteps + 1).tolist())
    x = normal()
    theirs = run_vp(scheduler, up, x)
    sigmas = torch.cat([torch.zeros(1, dtype=torch.float64), up]).flip(0)
    kept = invert(mixture, x, sigmas, family)
    assert torch.equal(kept[0], x)
    torch.testing.assert_close(kept[-1] * family.native_scale(up[-1].item()), theirs, **CLOSE)


def test_ddpm(same_noise):
    scheduler = diffusers.DDPMScheduler(**SD, clip_sample=False, timestep_spacing="trailing")
    scheduler.set_timesteps(STEPS)
    noises = same_noise("scheduling_ddpm")
    sigmas, x = sigmas_of(scheduler), normal()
    torch.testing.assert_close(ours_vp("ddpm", x, sigmas, noises), run_vp(scheduler, sigmas, x), **CLOSE)


def test_lcm(same_noise):
    scheduler = diffusers.LCMScheduler(**SD, clip_sample=False)
    scheduler.set_timesteps(4)
    noises = same_noise("scheduling_lcm")
    sigmas, x = sigmas_of(scheduler), normal()
    torch.testing.assert_close(ours_vp("lcm", x, sigmas, noises), run_vp(scheduler, sigmas, x), **CLOSE)


@pytest.mark.parametrize("karras", [False, True])
@pytest.mark.parametrize(
    ("name", "scheduler"),
    [
        ("euler", diffusers.EulerDiscreteScheduler),
        ("heun", diffusers.HeunDiscreteScheduler),
        ("lms", diffusers.LMSDiscreteScheduler),
    ],
)
def test_samplers_in_sigma(name, scheduler, karras):
    theirs = scheduler(**SD, use_karras_sigmas=karras)
    theirs.set_timesteps(STEPS)
    sigmas = theirs.sigmas.double().unique().flip(0)
    x = normal() * sigmas[0]
    torch.testing.assert_close(ours(name, x, sigmas), run_ve(theirs, x), rtol=1e-5, atol=2e-5)


def test_euler_ancestral(same_noise):
    theirs = diffusers.EulerAncestralDiscreteScheduler(**SD)
    theirs.set_timesteps(STEPS)
    noises = same_noise("scheduling_euler_ancestral_discrete")
    sigmas = theirs.sigmas.double()
    x = normal() * sigmas[0]
    torch.testing.assert_close(ours("euler_ancestral", x, sigmas, noises), run_ve(theirs, x), rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dpmpp_2m", {"algorithm_type": "dpmsolver++"}),
        ("dpmpp_2m_sde", {"algorithm_type": "sde-dpmsolver++", "solver_type": "midpoint"}),
        ("dpmpp_2m_sde", {"algorithm_type": "sde-dpmsolver++", "solver_type": "heun"}),
    ],
)
def test_dpm_solver_multistep(name, options, same_noise):
    theirs = diffusers.DPMSolverMultistepScheduler(**SD, use_karras_sigmas=True, **options)
    theirs.set_timesteps(STEPS)
    sigmas, x = theirs.sigmas.double(), normal()
    noises = same_noise("scheduling_dpmsolver_multistep") if name.endswith("sde") else ()
    more = {"solver": options["solver_type"]} if "solver_type" in options else {}
    torch.testing.assert_close(
        ours_vp(name, x, sigmas, noises, **more), run_vp(theirs, sigmas, x), rtol=1e-5, atol=2e-5
    )


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize(("name", "kind"), [("uni_pc", "bh1"), ("uni_pc_bh2", "bh2")])
def test_uni_pc(name, kind, order):
    theirs = diffusers.UniPCMultistepScheduler(
        **SD, solver_order=order, solver_type=kind, use_karras_sigmas=True, final_sigmas_type="zero"
    )
    theirs.set_timesteps(STEPS)
    sigmas, x = theirs.sigmas.double(), normal()
    kept = {}
    end = ours_vp(name, x, sigmas, order=order, on_step=lambda s: kept.__setitem__(s.i, s.x))
    if kind == "bh1":  # its last step, to zero noise, is NaN in diffusers
        end, sigmas = kept[STEPS - 2] / math.sqrt(1 + sigmas[-2].item() ** 2), sigmas[:-2]
    torch.testing.assert_close(end, run_vp(theirs, sigmas, x), rtol=1e-5, atol=2e-5)


def test_deis():
    theirs = diffusers.DEISMultistepScheduler(**SD, solver_order=2, use_karras_sigmas=True)
    theirs.set_timesteps(STEPS)
    sigmas, x = theirs.sigmas.double()[:-1], normal()
    torch.testing.assert_close(
        ours_vp("deis", x, sigmas, order=2), run_vp(theirs, sigmas[:-1], x), rtol=1e-5, atol=2e-5
    )


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("normal", {}),
        ("simple", {"timestep_spacing": "trailing"}),
        ("ddim_uniform", {"timestep_spacing": "leading", "steps_offset": 1}),
        ("karras", {"use_karras_sigmas": True}),
        ("exponential", {"use_exponential_sigmas": True}),
    ],
)
def test_schedules(name, options):
    theirs = diffusers.EulerDiscreteScheduler(**SD, **options)
    theirs.set_timesteps(20)
    mine = schedules.get(name)(levels.scaled_linear(), 20)
    torch.testing.assert_close(mine, theirs.sigmas.double(), rtol=5e-4, atol=0)


def test_flow_euler():
    theirs = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    theirs.set_timesteps(sigmas=[1 - i / STEPS for i in range(STEPS)])
    mine = schedules.get("simple")(levels.flow(1000, shift=3.0), STEPS)
    torch.testing.assert_close(mine / (1 + mine), theirs.sigmas.double(), rtol=2e-3, atol=2e-3)
    times = theirs.sigmas.double().clamp(max=levels.FLOW_MAX)
    y = x = normal()
    for t, s in zip(theirs.timesteps, times.tolist(), strict=False):
        y = theirs.step((y - mixture(y / (1 - s), s / (1 - s))) / s, t, y).prev_sample
    sigmas = times / (1 - times)
    result = ours("euler", x * (1 + sigmas[0]), sigmas)
    torch.testing.assert_close(result, y.double(), rtol=1e-3, atol=1e-3)
