"""The classifier agrees with Bayes where that is known, shares noise, and prunes without changing sums."""

from __future__ import annotations

import pytest
import torch

from engine.context import Context
from engine.diffusion.denoiser import Denoiser, from_x0, scaling
from engine.diffusion.score import Pair, Stage, cell_errors, classify, errors, gains, nested, pairs_of
from engine.errors import BadInput
from engine.types import Cond, Conditioning, Latent, Mask
from nodes.editing.blended import rank_latents
from nodes.editing.diffusion_classifier import caption_matches, rank_captions
from tests.editing.test_prompt_to_prompt import CLIP, Both
from tests.editing.toys import MODEL, SD, STD, Toy, context, prompt

GENERATOR = torch.Generator().manual_seed(0)
MEANS = 0.35 * torch.randn(10, 64, generator=GENERATOR)  # ten classes in 64 dimensions


def by_class(prediction="eps", means=MEANS):
    """p(x0 | class) = N(means[class], STD^2); the class is the first number of the prompt."""

    def network(x_in, c_noise, cond):
        sigma = SD.table[int(c_noise[0]) + 1].item()
        x = x_in / scaling(prediction, sigma, x_in).c_in
        mean = means[cond.tokens[:, 0, 0].long()].reshape(-1, 1, 8, 8)
        return from_x0(prediction, x, mean + STD**2 / (STD**2 + sigma**2) * (x - mean), sigma)

    return Denoiser(network, SD, prediction)


CLASSES = [Conditioning((Cond(torch.full((1, 1, 2), float(k))),)) for k in range(10)]


def pictures(count, means=MEANS):
    labels = torch.arange(count) % 10
    noise = torch.randn(count, 64, generator=torch.Generator().manual_seed(5))
    return labels, (means[labels] + STD * noise).reshape(-1, 1, 8, 8)


def bayes(x, means=MEANS):
    return (x.flatten(1)[:, None] - means).square().sum(2).argmin(1)


def verdicts(x, looks, **options):
    pairs = pairs_of(SD, looks, 0, low=0.1, high=0.6)
    sums = sum(errors(by_class(), x, CLASSES, p, **options) for p in pairs)
    return sums.argmin(0)


def test_it_agrees_with_bayes_on_gaussian_classes():
    _, x = pictures(100)
    assert (verdicts(x, 20) == bayes(x)).float().mean() >= 0.98
    _, many = pictures(300)
    assert torch.equal(verdicts(many, 200), bayes(many))


def test_unpaired_noise_ruins_it():
    near = MEANS * 0.2 / 0.35  # classes that lie closer together
    _, x = pictures(100, near)
    judge, looks = by_class(means=near), [pairs_of(SD, 5, 1000 * k, low=0.1, high=0.6) for k in range(11)]
    shared = sum(errors(judge, x, CLASSES, p) for p in looks[0])
    own = torch.stack([sum(errors(judge, x, [CLASSES[k]], p)[0] for p in looks[k + 1]) for k in range(10)])
    paired, unpaired = ((sums.argmin(0) == bayes(x, near)).float().mean() for sums in (shared, own))
    assert paired - unpaired >= 0.15


def test_pairing_lowers_the_variance_of_differences():
    _, x = pictures(1)
    sigma = SD.sigma(400)
    alike, apart = [], []
    for seed in range(300):
        a, b = errors(by_class(), x, CLASSES[:2], Pair(sigma, seed))[:, 0]
        other = errors(by_class(), x, CLASSES[:2], Pair(sigma, seed + 10_000))[1, 0]
        alike.append(a - b)
        apart.append(a - other)
    assert torch.stack(apart).var() / torch.stack(alike).var() > 2


@pytest.mark.parametrize("prediction", ["v", "x0"])
def test_other_kinds_of_prediction_give_the_same_scores(prediction):
    _, x = pictures(3)
    pair = pairs_of(SD, 1, 0)[0]
    one, other = (errors(by_class(p), x, CLASSES, pair) for p in ("eps", prediction))
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_looks_have_noises_of_their_own_and_spread_over_the_levels():
    pairs = pairs_of(SD, 4, 7)
    assert [p.seed for p in pairs] == [7, 8, 9, 10]
    assert [SD.nearest(p.sigma) for p in pairs] == [125, 375, 625, 875]


@pytest.mark.parametrize("stages", [[(8, 3), (24, 1)], [(2, 5), (6, 2), (12, 1)], [(5, 10)], [(3, 2), (7, 1)]])
def test_no_look_is_taken_twice_and_calls_are_as_planned(stages):
    plan = [Stage(*s) for s in stages]
    added = nested(plan[-1].looks, plan)
    flat = [i for part in added for i in part]
    assert len(flat) == len(set(flat)) == plan[-1].looks
    x, alive, calls = pictures(1)[1], 10, 0
    for s, part in zip(plan, added, strict=True):
        calls, alive = calls + alive * len(part), min(alive, s.keep)
    found = classify(by_class(), x, CLASSES, pairs_of(SD, plan[-1].looks, 0), plan)
    assert found.calls == calls
    assert sorted(found.order) == list(range(10))


def test_keeping_all_is_no_pruning_and_pruning_finds_the_same():
    pairs = pairs_of(SD, 12, 0, low=0.1, high=0.6)
    for x in pictures(10)[1].split(1):
        whole = classify(by_class(), x, CLASSES, pairs, [Stage(12, 10)])
        kept = classify(by_class(), x, CLASSES, pairs, [Stage(4, 10), Stage(12, 10)])
        pruned = classify(by_class(), x, CLASSES, pairs, [Stage(4, 3), Stage(12, 1)])
        assert torch.equal(whole.errors, kept.errors)
        assert whole.order == kept.order
        assert pruned.order[0] == whole.order[0]
        assert pruned.calls < 0.6 * whole.calls


def test_order_of_prompts_and_copies_do_not_matter():
    x, pair = pictures(2)[1], pairs_of(SD, 1, 0)[0]
    scores = errors(by_class(), x, CLASSES, pair)
    torch.testing.assert_close(errors(by_class(), x, CLASSES[::-1], pair), scores.flip(0), rtol=1e-12, atol=0)
    twice = errors(by_class(), x, [CLASSES[3], CLASSES[3]], pair)
    assert torch.equal(twice[0], twice[1])
    torch.testing.assert_close(errors(by_class(), x[:1], CLASSES, pair), scores[:, :1])


def test_impossible_stages_are_refused():
    with pytest.raises(BadInput, match="looks"):
        nested(4, [Stage(5, 1)])


def test_only_the_mask_counts():
    x = Toy().denoiser
    clean = torch.zeros(2, 2, 8, 8)
    clean[0, :, :4] = 1.0
    top = torch.zeros(1, 8, 8)
    top[:, :4] = 1
    pairs = pairs_of(SD, 4, 0)
    above, below = (gains(x, clean, [prompt(1.0), prompt(0.0)], pairs, where=w) for w in (top, 1 - top))
    assert above[0] > 0 > above[1]
    assert below[0] < 0


def test_pictures_are_ranked_by_how_well_the_prompt_fits():
    clean = torch.stack([torch.full((2, 8, 8), v) for v in (0.0, 1.0, 0.5)])
    out = rank_latents(context(Toy()), MODEL, Latent(clean, 2), prompt(1.0), prompt(0.0), Mask(torch.ones(1, 16, 16)))
    assert out.latent.samples[:, 0, 0, 0].tolist() == [1.0, 0.5, 0.0]
    assert out.latent.seeds == (1, 2, 0)
    scores = [y for _, y in out.scores.series["score"]]
    assert scores == sorted(scores, reverse=True)


def test_a_map_shows_where_a_prompt_fits_better():
    clean = torch.zeros(1, 2, 8, 8)
    clean[..., :4] = 1.0
    heat = caption_matches(context(Toy()), MODEL, Latent(clean, 2), prompt(1.0), prompt(0.0)).values
    assert heat[..., :4].min() > heat[..., 4:].max()
    cells = cell_errors(Toy().denoiser, clean, [prompt(0.5)], pairs_of(SD, 1, 0)[0], norm="l1")
    assert cells.shape == (1, 1, 8, 8)


def test_a_name_may_have_several_captions(network):
    def best(captions):
        ctx, picture = Context(node="n", models=Both(network)), Latent(torch.zeros(1, 4, 8, 8), 2)
        return rank_captions(ctx, MODEL, CLIP, picture, captions, looks=2, keep=3, last_looks=2).best

    (plain,) = best("a cat\na dog\na car")
    assert best("pet = a cat\npet = a dog\na car") == [{"a car": "a car"}.get(plain, "pet")]
    assert best("pet = a cat\npet=a dog\npet= a car") == ["pet"]
