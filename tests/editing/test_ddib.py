"""The bridge between two domains: what is known of it in closed form, its way back, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from engine.diffusion import levels, samplers, schedules
from engine.diffusion.trajectory import invert
from engine.errors import BadInput
from nodes.editing.ddib import ddib_translate
from nodes.editing.ddim_inversion import ddim_invert
from tests.diffusion.analytic import mixture, no_noise
from tests.editing.toys import MODEL, SD, STD, Toy, context, latent, prompt, spaced

FAR = levels.scaled_linear(zero_terminal=True)  # up to noise in which nothing of the source is left


def inverted(mean=0.3, steps=50, of=None, **options):
    return ddim_invert(context(Toy()), MODEL, prompt(mean), of or latent(), spaced(steps), **options).trajectory


def translate(trajectory, mean, **options):
    return ddib_translate(context(Toy()), trajectory, MODEL, prompt(mean), **options).samples


LEFT = STD / (STD**2 + SD.sigma_max**2) ** 0.5  # the terminal noise is finite, so this part of the source remains


def test_gaussians_are_moved_onto_each_other():
    errors = []
    for steps in (100, 500):
        moved = translate(inverted(0.3, steps=steps), 1.3)
        errors.append((moved - latent().samples - (1 - LEFT)).abs().max().item())
    assert errors[1] < 0.015
    assert errors[1] < errors[0] / 3


def test_a_domain_to_itself_is_the_identity_up_to_its_steps():
    errors = [(translate(inverted(steps=n), 0.3) - latent().samples).abs().max().item() for n in (50, 100)]
    assert errors[1] / errors[0] == pytest.approx(0.5, abs=0.12)


def test_one_code_serves_many_targets():
    made = inverted(steps=20)
    first, second = translate(made, 1.0), translate(made, 2.0)
    assert torch.equal(second, translate(inverted(steps=20), 2.0))  # also by way of the first, to the bit
    assert (second - first).std() < 1e-5
    assert (second - first).mean().item() == pytest.approx(1 - LEFT, abs=0.03)


def test_models_that_share_no_latents_or_levels_are_refused():
    made = inverted(steps=4)
    with pytest.raises(BadInput, match="do not share latents"):
        ddib_translate(context(Toy()), made, MODEL.with_options(factor=8), prompt(0.0))
    quiet = Toy(levels=levels.Levels(SD.table[:500]))
    with pytest.raises(BadInput, match="at most"):
        ddib_translate(context(quiet), made, MODEL, prompt(0.0))
    with pytest.raises(BadInput, match="negative"):
        translate(made, 1.0, guidance_scale=3.0)


# The same steps in double precision, between domains with closed forms


def bridged(source, target, x, steps, *, family=SD, refine=0):
    sigmas = schedules.get("simple")(family, steps)
    z = invert(source, x, sigmas, family, refine=refine)[-1]
    return samplers.get("ddim")(target, z, sigmas, noise=no_noise)


second = partial(mixture, weights=(0.5, 0.2, 0.3), means=(-2.0, 0.0, 1.5), stds=(0.4, 0.3, 0.6))
X0 = torch.linspace(-2, 3, 24, dtype=torch.float64)


def cycle(steps, **options):
    over = bridged(mixture, second, X0, steps, **options)
    return (bridged(second, mixture, over, steps, **options) - X0).abs().max().item()


def test_the_way_there_and_back_is_of_first_order_and_refinement_makes_it_exact():
    assert cycle(200) / cycle(100) == pytest.approx(0.5, abs=0.1)
    assert cycle(50, refine=10) < 1e-6


def drawn(weights, means, stds, count=10_000, seed=0):
    random = torch.Generator().manual_seed(seed)
    part = torch.multinomial(torch.tensor(weights), count, replacement=True, generator=random)
    return torch.tensor(means)[part] + torch.tensor(stds)[part] * torch.randn(count, generator=random)


def test_in_one_dimension_order_is_kept_and_the_target_is_met():
    source = drawn((0.3, 0.3, 0.4), (-1.0, 0.5, 2.0), (0.3, 0.4, 0.5)).double().sort().values
    target = drawn(*second.keywords.values(), seed=1).double().sort().values
    moved = bridged(mixture, second, source, 500, family=FAR)
    assert (moved.diff() >= 0).all()
    assert (moved - target).abs().mean() < 0.02 * target.std()


def gaussian_of(mean: Tensor, covariance: Tensor) -> Callable[[Tensor, float], Tensor]:
    """E[x0 | x] for N(mean, covariance), x (N, 2)."""

    def denoise(x: Tensor, sigma: float) -> Tensor:
        gain = covariance @ torch.linalg.inv(covariance + sigma**2 * torch.eye(2, dtype=x.dtype))
        return mean + (x - mean) @ gain.T

    return denoise


def root(matrix: Tensor, power: float = 0.5) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ torch.diag(values**power) @ vectors.T


def turned(angle: float, first: float, last: float) -> Tensor:
    c, s = torch.tensor([angle, angle - torch.pi / 2], dtype=torch.float64).cos()
    vectors = torch.stack([torch.stack([c, -s]), torch.stack([s, c])])
    return vectors @ torch.diag(torch.tensor([first, last], dtype=torch.float64)) @ vectors.T


@pytest.mark.parametrize(("angle", "commute"), [(0.4, True), (1.3, False)])
def test_between_gaussians_it_is_optimal_transport_if_their_covariances_commute(angle, commute):
    """It is mu_B + S_B^1/2 S_A^-1/2 (x - mu_A); transport's own matrix is that of Bures."""
    a, b = turned(0.4, 1.0, 0.2), turned(angle, 0.3, 0.9)
    mean_a, mean_b = torch.tensor([[0.5, -0.2], [-0.3, 0.8]], dtype=torch.float64)
    x = mean_a + torch.randn(50, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) @ root(a)
    moved = bridged(gaussian_of(mean_a, a), gaussian_of(mean_b, b), x, 500, family=FAR)
    straight = root(b) @ root(a, -0.5)
    torch.testing.assert_close(moved, mean_b + (x - mean_a) @ straight.T, rtol=0, atol=0.01)
    bures = root(a, -0.5) @ root(root(a) @ b @ root(a)) @ root(a, -0.5)
    assert torch.allclose(straight, bures, atol=1e-6) == commute
