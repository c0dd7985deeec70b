from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from engine.diffusion import levels, samplers, schedules
from engine.diffusion.stepping import StepInfo
from engine.diffusion.trajectory import at_sigma, check_origin, invert, origin_of
from engine.errors import BadInput, Cancelled
from engine.types import Model, Trajectory, Weights
from tests.diffusion.analytic import MEAN, STD, counted, gaussian, gaussian_flow_map, mixture, no_noise

SD = levels.scaled_linear()
MODEL = Model("toy", Weights("toys", "toy", "0"))
X0 = torch.linspace(-2, 3, 24, dtype=torch.float64).reshape(2, 1, 3, 4)


def spaced(steps):
    return schedules.get("simple")(SD, steps)


def round_trip(steps, **options):
    sigmas = spaced(steps)
    kept = invert(mixture, X0, sigmas, SD, **options)
    back = samplers.get("ddim")(mixture, kept[-1], sigmas, noise=no_noise)
    return (back - X0).square().mean().sqrt().item()


@pytest.mark.parametrize("convention", ["matched", "current"])
def test_inversion_is_of_first_order(convention):
    errors = [round_trip(steps, convention=convention) for steps in (50, 100, 200)]
    for few, many in pairwise(errors):
        assert math.log2(few / many) == pytest.approx(1, abs=0.15)


def test_refinement_makes_it_exact():
    errors = [round_trip(50, refine=r) for r in (0, 1, 3, 12)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-8


def test_without_a_prediction_latents_are_only_scaled():
    """x_next = x sqrt(A_next / A), in the family's own scale; alpha bar A is 1 / (1 + sigma^2)."""
    sigmas = spaced(10)
    kept = invert(lambda x, sigma: x, X0, sigmas, SD)
    scale = (1 + sigmas.flip(0).double() ** 2).rsqrt().view(-1, 1, 1, 1, 1)
    own = kept * scale
    torch.testing.assert_close(own[1:], own[:-1] * scale[1:] / scale[:-1], rtol=0, atol=1e-6)
    assert torch.equal(samplers.get("ddim")(lambda x, sigma: x, kept[-1], sigmas, noise=no_noise), X0)


def test_a_prediction_that_does_not_see_x_is_inverted_exactly():
    def denoise(x, sigma):
        return x - sigma * math.sin(sigma)

    sigmas = spaced(10)
    matched, current = (
        samplers.get("ddim")(denoise, invert(denoise, X0, sigmas, SD, convention=c)[-1], sigmas, noise=no_noise)
        for c in ("matched", "current")
    )
    torch.testing.assert_close(matched, X0)
    assert (current - X0).abs().max() > 1e-3


def test_a_gaussian_inverts_to_its_noise():
    sigmas = spaced(1000)
    end = invert(gaussian, X0, sigmas, SD)[-1]
    torch.testing.assert_close(end, gaussian_flow_map(X0, 0.0, SD.sigma_max), rtol=0.02, atol=0.05)
    torch.testing.assert_close(end / SD.sigma_max, (X0 - MEAN) / STD, rtol=0.02, atol=0.05)


def test_order_is_kept_in_one_dimension():
    end = invert(mixture, X0, spaced(50), SD)[-1]
    assert bool((end.flatten().diff() > 0).all())


@pytest.mark.parametrize(("refine", "calls"), [(0, 10), (2, 30)])
def test_all_levels_are_kept_and_counted(refine, calls):
    denoise, made = counted(mixture)
    seen: list[StepInfo] = []
    kept = invert(denoise, X0, spaced(10), SD, refine=refine, on_step=seen.append)
    assert kept.shape == (11, *X0.shape)
    assert torch.equal(kept[0], X0)
    assert len(made) == calls
    assert min(sigma for _, sigma in made) > 0
    assert [s.i for s in seen] == list(range(10))
    assert torch.equal(seen[-1].x, kept[-1])


def test_no_level_gives_the_input():
    assert torch.equal(invert(no_noise, X0, torch.zeros(1), SD), X0[None])


def test_it_can_be_cancelled():
    def on_step(info):
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        invert(mixture, X0, spaced(10), SD, on_step=on_step)


@pytest.mark.parametrize("family", [levels.flow(), levels.edm()], ids=["flow", "edm"])
def test_other_families_invert_too(family):
    sigmas = family.until(20.0 if family.kind == "edm" else 99.0)
    sigmas = schedules.get("simple")(sigmas, 50)
    end = invert(mixture, X0, sigmas, family, refine=20)[-1]
    back = samplers.get("euler")(mixture, end, sigmas, noise=no_noise)
    torch.testing.assert_close(back, X0, rtol=0, atol=1e-4)


def trajectory():
    sigmas = spaced(10)
    return Trajectory(invert(mixture, X0, sigmas, SD), sigmas.flip(0), 8, origin_of(MODEL))


def test_a_kept_latent_is_found_by_its_sigma():
    kept = trajectory()
    for k, sigma in enumerate(kept.sigmas.tolist()):
        assert torch.equal(at_sigma(kept, sigma), kept.latents[k])
    with pytest.raises(BadInput, match="keeps no latent"):
        at_sigma(kept, 0.123)


def test_replaying_every_level_returns_the_input():
    kept = trajectory()
    sigmas = kept.sigmas.flip(0)
    result = samplers.get("dpmpp_2m")(
        gaussian, kept.latents[-1], sigmas, noise=no_noise, on_step=lambda s: at_sigma(kept, s.sigma_next)
    )
    assert torch.equal(result, X0)


def test_a_foreign_trajectory_is_refused():
    check_origin(trajectory(), MODEL)
    with pytest.raises(BadInput, match="another model than 'toy'"):
        check_origin(trajectory(), MODEL.with_options(zero_snr=True))


def test_levels_above_the_schedule_are_refused():
    with pytest.raises(BadInput, match=r"up to sigma 14.76, this model knows 14.61 at most"):
        invert(mixture, X0, 1.01 * spaced(5), SD)
