"""DiffEdit's mask: exact where the truth is known, empty where nothing differs, and its edit exact outside."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch

from engine.diffusion import contrast as contrasts
from engine.types import Cond, Conditioning, Heatmap, Image, Latent, Mask, Sigmas
from nodes.editing.ddib import ddib_translate
from nodes.editing.ddim_inversion import ddim_invert, keep_trajectory, replay
from nodes.editing.diffedit import heatmap_to_mask, noise_contrast, show_heatmap
from tests.editing.toys import MODEL, Toy, context, guider, latent, prompt, spaced

BOX = torch.zeros(8, 8)
BOX[2:5, 3:7] = 1


class Boxed(Toy):
    """The prompt's mean holds in BOX only; the noise makes maps differ a little."""

    def predict(self, x_in, c_noise, cond):
        plain = super().predict(x_in, c_noise, Cond(torch.zeros_like(cond.tokens)))
        mean = cond.tokens.mean((1, 2))[:, None, None, None]
        return plain - mean * BOX * (1 + 0.1 * torch.tanh(x_in))


def heat(query=1.0, reference=0.0, **options):
    return noise_contrast(context(Boxed()), MODEL, latent(), prompt(query), prompt(reference), **options)


@pytest.mark.parametrize(
    ("method", "threshold"), [("paper", 0.5), ("mean ratio", 0.5), ("otsu", 0.5), ("quantile", 0.8)]
)
def test_a_known_box_is_found_exactly(method, threshold):
    out = heatmap_to_mask(heat(), method, threshold, grow=0)
    wanted = BOX.repeat_interleave(2, 0).repeat_interleave(2, 1)
    assert torch.equal(out.mask.values[0], wanted)
    assert out.image.pixels.shape == (1, 16, 16, 3)


def test_prompts_that_agree_give_an_empty_mask_and_say_so():
    out = heatmap_to_mask(heat(0.7, 0.7))
    assert not out.mask.values.any()
    assert "empty" in out.report


def test_the_map_does_not_know_which_prompt_is_which():
    assert torch.allclose(heat(1.0, 0.2).values, heat(0.2, 1.0).values)


def test_each_noise_is_its_own_and_the_map_is_their_mean():
    maps = [heat(count=1, seed=i).values for i in range(4)]
    assert not any(torch.equal(a, b) for a, b in combinations(maps, 2))
    for n in range(1, 5):
        torch.testing.assert_close(heat(count=n).values, torch.stack(maps[:n]).mean(0))


def test_the_mean_ratio_cuts_where_it_says():
    values = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(2))
    got = contrasts.to_mask(values, "mean ratio", 0.4)
    assert torch.equal(got, (values > 3 * 0.4 * values.mean()).float())


def test_a_mask_without_a_place_is_flagged():
    flat = Heatmap(torch.full((1, 8, 8), 0.5) + 0.01 * torch.rand(1, 8, 8))
    assert "no clear place" in heatmap_to_mask(flat).report
    assert "no clear place" not in heatmap_to_mask(heat()).report


def test_growing_and_smoothing():
    values = torch.zeros(1, 9, 9)
    values[0, 4, 4] = 1
    one = Heatmap(values, 1)
    assert heatmap_to_mask(one, "mean ratio", 0.1, grow=1).mask.values.sum() == 9
    blurred = contrasts.blurred(values, 1.0)
    assert blurred.sum().item() == pytest.approx(1, abs=1e-5)
    assert blurred.amax() < 0.3


def test_the_histogram_counts_all_cells_and_shows_the_cut():
    values = torch.arange(64.0).reshape(1, 8, 8)
    out = heatmap_to_mask(Heatmap(values, 1), "paper", 0.25, grow=0)
    cells, line = out.histogram.series["cells"], out.histogram.series["threshold"]
    assert sum(y for _, y in cells[::2]) == pytest.approx(1)
    assert sum(y for x, y in cells[::2] if x >= 0.25) == pytest.approx(float(out.mask.values.mean()), abs=0.02)
    assert [x for x, _ in line] == pytest.approx([0.25] * 3)
    assert max(y for _, y in line) == max(y for _, y in cells)


@pytest.mark.parametrize("method", ["paper", "mean ratio", "quantile", "otsu"])
def test_the_cut_that_is_shown_is_the_one_that_was_made(method):
    values = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(4)) ** 3
    out = heatmap_to_mask(Heatmap(values, 1), method, 0.6, grow=0)
    for one, mask, x in zip(values, out.mask.values, out.histogram.series["threshold"][1::3], strict=True):
        assert torch.equal(contrasts.scaled(one[None])[0] > x[0], mask > 0)


def test_a_map_can_be_looked_at_over_a_picture():
    alone = show_heatmap(heat())
    over = show_heatmap(heat(), Image(torch.ones(1, 32, 32, 3)), 0.0)
    assert alone.pixels.shape == (1, 16, 16, 3)
    assert torch.allclose(over.pixels, torch.ones(1, 16, 16, 3), atol=1e-5)


def inverted(reference=0.0, steps=10):
    return ddim_invert(context(Boxed()), MODEL, prompt(reference), latent(), spaced(steps)).trajectory


def edit(query, reference):
    made = inverted(reference)
    blend = keep_trajectory(made, heatmap_to_mask(heat(query, reference), grow=0).mask)
    return replay(context(Boxed()), made, guider(query), blend).samples


def test_the_outside_is_the_picture_to_the_bit_and_the_inside_follows_the_prompt():
    out, before = edit(1.0, 0.0), latent().samples
    assert torch.equal(out[..., BOX == 0], before[..., BOX == 0])
    assert (out[..., BOX == 1] - before[..., BOX == 1]).mean() > 0.1


def test_the_same_prompt_twice_changes_nothing():
    assert torch.equal(edit(0.4, 0.4), latent().samples)


def test_with_everything_masked_it_is_a_bridge_from_the_whole_noise():
    made, everything = inverted(), Mask(torch.ones(1, 16, 16))
    masked = replay(context(Boxed()), made, guider(1.0, scale=3.0), keep_trajectory(made, everything)).samples
    assert torch.equal(masked, replay(context(Boxed()), made, guider(1.0, scale=3.0)).samples)
    assert torch.equal(masked, ddib_translate(context(Boxed()), made, MODEL, prompt(1.0), prompt(0.0), 3.0).samples)


def test_without_strength_the_picture_stays():
    made = ddim_invert(context(Boxed()), MODEL, prompt(0.0), latent(), Sigmas(torch.zeros(1))).trajectory
    assert torch.equal(replay(context(Boxed()), made, guider(1.0)).samples, latent().samples)


def test_each_picture_of_a_batch_has_noise_and_map_of_its_own():
    both = Latent(torch.cat([latent().samples] * 2), 2)
    maps = noise_contrast(context(Boxed()), MODEL, both, prompt(1.0), prompt(0.0), count=2).values
    assert maps.shape == (2, 8, 8)
    assert not torch.equal(maps[0], maps[1])


def test_guidance_would_not_change_the_mask():
    def guided(scale):
        c, u = prompt(1.0), prompt(0.3)
        mixed = Conditioning((Cond(u.conds[0].tokens + scale * (c.conds[0].tokens - u.conds[0].tokens)),))
        values = noise_contrast(context(Boxed()), MODEL, latent(), mixed, u).values
        return contrasts.to_mask(values, "paper", 0.5)

    assert torch.equal(guided(1.0), guided(7.5))
