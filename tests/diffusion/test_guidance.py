from __future__ import annotations

import pytest
import torch

from engine.diffusion import guidance, levels
from engine.diffusion.denoiser import Denoiser, from_x0
from engine.errors import BadInput, NotFound
from engine.types import Cond, Conditioning
from tests.diffusion.analytic import as_network

SD = levels.scaled_linear()
SIGMA = SD.sigma(500)
FAMILY = {"edm": levels.edm(), "flow": levels.flow()}
X = torch.randn(2, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3


def denoise(x, cond):
    """An x0 that depends on x and on the condition, not linearly."""
    return torch.tanh(x / 4 + cond.tokens.mean((1, 2))[:, None, None, None])


def cond(value, **more):
    return Cond(torch.full((1, 3, 2), float(value), dtype=torch.float64), **more)


def says(*conds):
    return Conditioning(conds)


def x0(value):
    return denoise(X, cond(value))


@pytest.fixture
def calls():
    return []


@pytest.fixture
def denoiser(calls):
    return make(calls)


def make(calls, prediction="eps", sigma=SIGMA):
    network = as_network(prediction, sigma, denoise)

    def counting(x_in, t, c):
        calls.append(len(x_in))
        return network(x_in, t, c)

    return Denoiser(counting, FAMILY.get(prediction, SD), prediction)


CONDS = {"positive": says(cond(1)), "negative": says(cond(-1)), "middle": says(cond(0.2))}
LINEAR = {
    "cfg": {"scale": 7.5},
    "dual_cfg": {"scale": 7.5, "middle_scale": 1.5},
    "composed": {"scale": 3.0},
    "conditional": {},
}


@pytest.mark.parametrize("kind", LINEAR)
def test_linear_guiders_agree_in_every_prediction(kind, calls):
    results = [
        guidance.build(kind, make(calls, prediction), CONDS, **LINEAR[kind])(X, SIGMA)
        for prediction in ("eps", "v", "x0", "edm", "flow")
    ]
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=1e-10, atol=1e-10)


def test_every_kind_is_listed_and_an_unknown_one_is_answered(denoiser):
    assert set(LINEAR) == set(guidance.KINDS)
    with pytest.raises(NotFound, match="cfg"):
        guidance.build("nonsense", denoiser, CONDS)


def test_a_missing_role_is_named(denoiser):
    with pytest.raises(BadInput, match="negative") as caught:
        guidance.build("cfg", denoiser, {"positive": says(cond(1))})
    assert caught.value.field == "negative"


def test_cfg_is_its_formula_in_one_call(denoiser, calls):
    result = guidance.cfg(denoiser, CONDS, scale=5.0)(X, SIGMA)
    torch.testing.assert_close(result, x0(-1) + 5 * (x0(1) - x0(-1)))
    assert calls == [4]


def test_cfg_1_is_one_call_of_the_positive(denoiser, calls):
    torch.testing.assert_close(guidance.cfg(denoiser, CONDS, scale=1.0)(X, SIGMA), x0(1))
    assert calls == [2]


def test_cfg_holds_within_its_interval(denoiser, calls):
    guide = guidance.cfg(denoiser, CONDS, scale=5.0, start=0.25, end=0.75)
    sigmas = [SD.sigma(1000 - 1000 * p) for p in (0.1, 0.25, 0.5, 0.75, 0.9)]
    for sigma in sigmas:
        guide(X, sigma)
    assert calls == [2, 4, 4, 2, 2]


def test_neighbouring_windows_share_no_step(denoiser):
    for k in range(1, 1001, 37):
        sigma = SD.sigma(k)
        parts = [guidance.holds(denoiser, sigma, a, b) for a, b in ((0, 0.3), (0.3, 0.6), (0.6, 1))]
        assert sum(parts) == 1
    assert guidance.holds(denoiser, 1e9, 0, 0.3)


def test_rescale_restores_the_deviation(denoiser):
    plain, c = guidance.cfg(denoiser, CONDS, scale=9.0), guidance.conditional(denoiser, CONDS)
    full, half = (guidance.cfg(denoiser, CONDS, scale=9.0, rescale=phi) for phi in (1.0, 0.5))

    def deviation(guide):
        return from_x0("eps", X, guide(X, SIGMA), SIGMA).std((1, 2, 3))

    torch.testing.assert_close(deviation(full), deviation(c))
    torch.testing.assert_close(deviation(half), (deviation(plain) + deviation(c)) / 2)


def test_dual_cfg_is_the_published_formula(denoiser, calls):
    result = guidance.dual_cfg(denoiser, CONDS, scale=7.0, middle_scale=1.5)(X, SIGMA)
    torch.testing.assert_close(result, x0(-1) + 1.5 * (x0(0.2) - x0(-1)) + 7 * (x0(1) - x0(0.2)))
    assert calls == [6]


def test_dual_cfg_skips_what_has_no_weight(denoiser, calls):
    result = guidance.dual_cfg(denoiser, CONDS, scale=1.0, middle_scale=1.0)(X, SIGMA)
    torch.testing.assert_close(result, x0(1))
    assert calls == [2]


def test_composed_adds_directions(denoiser):
    conds = {"positive": says(cond(1, strength=0.7), cond(2, strength=-0.2)), "negative": says(cond(-1))}
    result = guidance.composed(denoiser, conds, scale=4.0)(X, SIGMA)
    u = x0(-1)
    torch.testing.assert_close(result, u + 4 * (0.7 * (x0(1) - u) - 0.2 * (x0(2) - u)))


def test_composed_of_one_prompt_is_cfg(denoiser):
    torch.testing.assert_close(
        guidance.composed(denoiser, CONDS, scale=4.0)(X, SIGMA),
        guidance.cfg(denoiser, CONDS, scale=4.0)(X, SIGMA),
    )


def test_conditions_are_averaged_by_strength(denoiser, calls):
    conds = {"positive": says(cond(1, strength=3.0), cond(2))}
    torch.testing.assert_close(guidance.conditional(denoiser, conds)(X, SIGMA), (3 * x0(1) + x0(2)) / 4)
    assert calls == [4]


def test_a_lone_conditions_strength_does_not_matter(denoiser):
    conds = {"positive": says(cond(1, strength=0.3))}
    torch.testing.assert_close(guidance.conditional(denoiser, conds)(X, SIGMA), x0(1))


def test_masks_share_out_the_picture(denoiser):
    left = torch.zeros(1, 8, 8)
    left[..., :4] = 1
    conds = {"positive": says(cond(1, mask=left), cond(2, mask=1 - left))}
    result = guidance.conditional(denoiser, conds)(X, SIGMA)
    torch.testing.assert_close(result[..., 0], x0(1)[..., 0])
    torch.testing.assert_close(result[..., 3], x0(2)[..., 3])


def test_an_area_lies_over_a_background(denoiser):
    conds = {"positive": says(cond(1), cond(2, area=(0.5, 0.25, 0.5, 0.5), strength=3.0))}
    result = guidance.conditional(denoiser, conds)(X, SIGMA)
    inside = (slice(None), slice(None), slice(1, 3), slice(2, 4))
    torch.testing.assert_close(result[inside], ((x0(1) + 3 * x0(2)) / 4)[inside])
    torch.testing.assert_close(result[..., :2], x0(1)[..., :2])


def test_conditions_take_turns(denoiser, calls):
    conds = {"positive": says(cond(1, end=0.5), cond(2, start=0.5))}
    guide = guidance.conditional(denoiser, conds)
    torch.testing.assert_close(guide(X, SIGMA), x0(2))
    assert calls == [2]


def test_a_picture_without_a_prompt_is_refused(denoiser):
    hole = torch.zeros(1, 8, 8)
    for lacking in (cond(1, mask=hole), cond(1, end=0.1)):
        with pytest.raises(BadInput, match="no prompt"):
            guidance.conditional(denoiser, {"positive": says(lacking)})(X, SIGMA)
