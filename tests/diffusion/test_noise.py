from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from engine.diffusion import levels, samplers, schedules
from engine.diffusion.noise import BrownianPath, NoiseSource
from tests.diffusion.analytic import mixture

LIKE = torch.zeros(3, 2, 8, 8)


def test_a_seed_gives_torchs_own_noise():
    expected = torch.randn(2, 8, 8, generator=torch.Generator().manual_seed(5))
    assert torch.equal(NoiseSource.of(5).initial(LIKE[:1])[0], expected)


@pytest.mark.parametrize("kind", ["initial", "steps", "brownian"])
def test_sample_k_alone_is_sample_k_of_a_batch(kind):
    def draw(source, like):
        made = getattr(source, kind)(like)
        return made if kind == "initial" else made(3.0, 2.0)

    batch = draw(NoiseSource.of(5, 3), LIKE)
    for k in range(3):
        assert torch.equal(draw(NoiseSource.of(5, indices=[k]), LIKE[:1])[0], batch[k])
    assert len({tuple(b.flatten().tolist()) for b in batch}) == 3


def test_huge_and_negative_seeds_are_seeds():
    for seed in (-1, 2**63 - 2):
        source = NoiseSource.of(seed, 2)
        assert torch.isfinite(source.initial(LIKE[:2])).all()
        assert torch.isfinite(source.steps(LIKE[:2])(2.0, 1.0)).all()


def test_a_wrong_batch_is_a_mistake():
    with pytest.raises(ValueError, match="2 seeds for a batch of 3"):
        NoiseSource.of(0, 2).initial(LIKE)


@pytest.mark.parametrize("kind", ["steps", "brownian"])
def test_step_noise_replays_in_any_order(kind):
    pairs = [(8.0, 4.0), (4.0, 2.0), (2.0, 1.0), (8.0, 2.0), (1.0, 0.5)]
    first = getattr(NoiseSource.of(5, 3), kind)(LIKE)
    second = getattr(NoiseSource.of(5, 3), kind)(LIKE)
    forward = {p: first(*p) for p in pairs}
    for p in reversed(pairs):
        torch.testing.assert_close(second(*p), forward[p], rtol=0, atol=0)
    assert not torch.equal(forward[8.0, 4.0], forward[4.0, 2.0])


def test_other_seeds_give_other_noise():
    noises = [NoiseSource.of(s).steps(LIKE[:1])(2.0, 1.0) for s in range(3)]
    noises.append(NoiseSource.of(0).initial(LIKE[:1]))
    assert all(not torch.equal(a, b) for i, a in enumerate(noises) for b in noises[:i])


BIG = torch.zeros(1, 1, 128, 128)
FEW = 4 / 128  # four standard errors of a mean over BIG


def correlation(a, b):
    return ((a - a.mean()) * (b - b.mean())).mean().item() / (a.std() * b.std()).item()


def test_brownian_steps_are_unit_noise_and_independent():
    noise = NoiseSource.of(1).brownian(BIG)
    sigmas = [14.0, 9.0, 8.9, 1.0, 0.03]
    drawn = [noise(a, b) for a, b in pairwise(sigmas)]
    for d in drawn:
        assert abs(d.mean().item()) < FEW
        assert d.std().item() == pytest.approx(1, abs=FEW)
    for i, a in enumerate(drawn):
        assert all(abs(correlation(a, b)) < FEW for b in drawn[:i])


def test_brownian_steps_add_up():
    noise = NoiseSource.of(1).brownian(BIG)
    tau = {s: s**-2 for s in (4.0, 3.0, 1.0)}
    whole, first, second = noise(4.0, 1.0), noise(4.0, 3.0), noise(3.0, 1.0)
    parts = first * math.sqrt(tau[3.0] - tau[4.0]) + second * math.sqrt(tau[1.0] - tau[3.0])
    torch.testing.assert_close(whole * math.sqrt(tau[1.0] - tau[4.0]), parts, rtol=1e-4, atol=1e-5)


def test_a_path_remembers_what_it_was_asked_last():
    drawn = []

    def draw(*key):
        drawn.append(key)
        return torch.zeros(1)

    path = BrownianPath(draw)
    path(1.1)
    once = len(drawn)
    path(1.1)
    assert len(drawn) == once
    for tau in (2.1, 3.1, 4.1, 5.1, 1.1):
        path(tau)
    assert len(drawn) == 6 * once


def test_a_brownian_picture_depends_little_on_the_number_of_steps():
    family = levels.scaled_linear()
    source = NoiseSource.of(3)
    x = source.initial(BIG) * family.sigma_max
    karras, sample = schedules.get("karras"), samplers.get("ddpm")

    def likeness(noise):
        few, many = (sample(mixture, x, karras(family, steps), noise=noise) for steps in (20, 40))
        return correlation(few, many)

    assert likeness(source.brownian(x)) > 0.9
    assert likeness(source.steps(x)) < 0.5
