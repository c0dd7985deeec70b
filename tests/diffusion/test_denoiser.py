from __future__ import annotations

import math

import pytest
import torch

from engine.diffusion import levels
from engine.diffusion.denoiser import Denoiser, expand, from_x0, scaling, stack, to_x0
from engine.errors import BadInput
from engine.types import Cond

PREDICTIONS = ("eps", "v", "x0", "edm", "flow")
SD = levels.scaled_linear()
FAMILY = {"edm": levels.edm(), "flow": levels.flow()}


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def cond(value=0.0, rows=1, length=3, **more):
    return Cond(torch.full((rows, length, 2), float(value), dtype=torch.float64), **more)


def training_target(prediction, x0, eps, sigma):
    """What each kind of network is trained to say, written as its paper writes it."""
    alpha, s = 1 / math.sqrt(1 + sigma**2), sigma / (1 + sigma)
    if prediction == "edm":
        data = 0.5
        c_skip = data**2 / (sigma**2 + data**2)
        c_out = sigma * data / math.sqrt(sigma**2 + data**2)
        return (x0 - c_skip * (x0 + sigma * eps)) / c_out
    targets = {"eps": eps, "v": alpha * eps - alpha * sigma * x0, "x0": x0, "flow": eps - x0}
    native = {"flow": (1 - s) * x0 + s * eps}.get(prediction, alpha * (x0 + sigma * eps))
    c_in = scaling(prediction, sigma, x0).c_in
    torch.testing.assert_close(c_in * (x0 + sigma * eps), native)
    return targets[prediction]


@pytest.mark.parametrize("sigma", [0.05, 1.0, 14.0])
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_perfect_network_gives_x0_back(prediction, sigma):
    x0, eps = normal(2, 3, 4, 4), normal(2, 3, 4, 4, seed=1)
    target = training_target(prediction, x0, eps, sigma)
    x = x0 + sigma * eps
    denoiser = Denoiser(lambda x_in, t, c: target, FAMILY.get(prediction, SD), prediction)
    torch.testing.assert_close(denoiser(x, sigma, cond()), x0)
    torch.testing.assert_close(to_x0(prediction, x, target, sigma), x0)
    torch.testing.assert_close(from_x0(prediction, x, x0, sigma), target)


def test_the_network_sees_native_scale_and_its_timestep():
    seen = []

    def network(x_in, t, c):
        seen.append((x_in, t))
        return torch.zeros_like(x_in)

    x, sigma = normal(2, 3, 4, 4), SD.sigma(700)
    Denoiser(network, SD, "eps")(x, sigma, cond())
    torch.testing.assert_close(seen[0][0], x * math.sqrt(SD.alpha_bar(700)))
    assert seen[0][1].tolist() == [699, 699]
    Denoiser(network, SD, "eps", interpolate=True)(x, SD.sigma(700.25), cond())
    torch.testing.assert_close(seen[1][1], torch.full((2,), 699.25))


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_one_sigma_per_sample(prediction):
    family = FAMILY.get(prediction, SD)
    denoiser = Denoiser(lambda x_in, t, c: torch.sin(x_in + t[:, None, None, None]), family, prediction)
    x, sigmas = normal(2, 3, 4, 4), [0.5, 3.0]
    together = denoiser(x, torch.tensor(sigmas, dtype=torch.float64), cond())
    for k, sigma in enumerate(sigmas):
        torch.testing.assert_close(together[k : k + 1], denoiser(x[k : k + 1], sigma, cond()))


def test_x_keeps_its_type_whatever_the_networks():
    denoiser = Denoiser(lambda x_in, t, c: x_in.bfloat16(), SD, "eps")
    assert denoiser(torch.ones(1, 3, 2, 2), 1.0, cond()).dtype == torch.float32


def adding_network(calls):
    def network(x_in, t, c):
        calls.append(len(x_in))
        return x_in + c.tokens.mean((1, 2))[:, None, None, None]

    return network


def test_conditions_of_one_shape_share_a_call():
    calls = []
    denoiser = Denoiser(adding_network(calls), SD, "x0")
    x = normal(2, 3, 4, 4)
    outs = denoiser.each(x, 1.0, [cond(1), cond(2), cond(3, rows=2)])
    assert calls == [6]
    for value, out in zip((1, 2, 3), outs, strict=True):
        torch.testing.assert_close(out, denoiser(x, 1.0, cond(value)))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (cond(1), cond(2, length=4)),
        (cond(1), cond(2, pooled=torch.ones(1, 2))),
        (cond(1, extra={"hooks": object()}), cond(2, extra={"hooks": object()})),
        (cond(1, extra={"image": torch.ones(1, 3)}), cond(2)),
        (cond(1, extra={"many": [torch.ones(1)]}), cond(2, extra={"many": []})),
        (cond(1, extra={"scalar": torch.tensor(1.0)}), cond(2, extra={"scalar": torch.tensor(1.0)})),
    ],
)
def test_conditions_of_other_shapes_do_not(a, b):
    calls = []
    denoiser = Denoiser(adding_network(calls), SD, "x0")
    outs = denoiser.each(normal(2, 3, 4, 4), 1.0, [a, b])
    assert calls == [2, 2]
    torch.testing.assert_close(outs[1] - outs[0], torch.ones_like(outs[0]))


def test_extras_are_joined_along_the_batch():
    shared = object()
    both = [
        expand(
            cond(
                v,
                extra={"map": torch.full((1, 2), float(v)), "run": shared, "n": 3, "t": (torch.ones(1, 1),)},
            ),
            2,
        )
        for v in (1, 2)
    ]
    joined = stack(both)
    assert joined is not None
    assert joined.extra["map"].tolist() == [[1, 1], [1, 1], [2, 2], [2, 2]]
    assert joined.extra["run"] is shared
    assert joined.extra["n"] == 3
    assert joined.extra["t"][0].shape == (4, 1)


def test_prompts_that_do_not_fit_the_batch_are_refused():
    with pytest.raises(BadInput, match="3 prompts"):
        expand(cond(rows=3), 2)
