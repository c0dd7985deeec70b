"""Colours by example: the bridge between two palettes keeps order and shares, comes near transport, and is smooth."""

from __future__ import annotations

import pytest
import torch
from scipy.optimize import linear_sum_assignment

from engine.context import Context
from engine.diffusion.colours import COLOURS_MAX, bridge, exact, palette_of, to_lab, to_rgb, transfer
from engine.diffusion.inversion import psnr
from engine.errors import BadInput, Cancelled
from engine.types import Image
from nodes.editing.color_bridge import color_bridge


def picture(seed, *, centres=3, side=24):
    """Blobs of a few colours, 8 bits deep."""
    random = torch.Generator().manual_seed(seed)
    colours = torch.rand(centres, 3, generator=random)[torch.randint(centres, (side, side), generator=random)]
    noisy = (colours + 0.05 * torch.randn(side, side, 3, generator=random)).clamp(0, 1)
    return Image((noisy * 255).round()[None] / 255)


def sliced(a, b):
    """Return the mean Wasserstein-1 distance over directions."""
    directions = torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
    x, y = ((c.reshape(-1, 3) @ (directions / directions.norm(dim=0))).sort(0).values for c in (a, b))
    return float((x - y).abs().mean())


def test_lab_and_back_is_exact_to_a_grey_level():
    colours = torch.rand(64, 64, 3, generator=torch.Generator().manual_seed(1))
    assert (to_rgb(to_lab(colours)) - colours).abs().max() <= 1 / 255
    assert to_lab(colours).abs().max() <= 1.01


@pytest.mark.parametrize("space", ["lab", "rgb"])
def test_the_own_picture_as_reference_changes_nothing(space):
    image = picture(1)
    assert psnr(image.pixels, color_bridge(Context(), image, image, space=space).pixels) >= 40
    assert psnr(image.pixels, color_bridge(Context(), image, picture(2), 0.0, 5, space=space).pixels) >= 55


def test_in_one_dimension_order_is_kept_and_the_target_is_met():
    random = torch.Generator().manual_seed(2)
    source, target = (torch.cat([m + s * torch.randn(400, generator=random) for m, s in of])[:, None] * torch.ones(3)
                      for of in ([(-0.5, 0.1), (0.4, 0.2)], [(-0.6, 0.05), (0.0, 0.1)]))  # fmt: skip
    moved = bridge(source, palette_of(target), 100)[:, 0]
    ordered = moved[source[:, 0].argsort()]
    assert (ordered.diff() >= -0.01).all()  # cells move as a whole
    assert (moved.sort().values - target[:, 0].sort().values).abs().mean() < 0.02 * target[:, 0].std()


def test_it_meets_the_reference_at_not_much_more_than_the_cost_of_transport():
    image, reference = picture(3), picture(4)
    a, b = (to_lab(x.pixels[0]).reshape(-1, 3) for x in (image, reference))
    moved = bridge(a, palette_of(b), 50)
    assert sliced(moved, b) <= 0.2 * sliced(a, b)
    rows, columns = linear_sum_assignment(torch.cdist(a, b).square().numpy())
    best = float((a[rows] - b[columns]).square().sum(1).mean())
    assert (
        best <= float((moved - a).square().sum(1).mean()) <= 1.5 * best
    )  # 1.40 at any number of steps: the flow is not transport's own


def test_many_colours_are_put_into_cells_and_keep_their_place_in_them():
    colours = torch.rand(20_000, 3, generator=torch.Generator().manual_seed(5)) * 2 - 1
    palette = palette_of(colours)
    assert len(palette.points) <= COLOURS_MAX
    assert float(palette.weights.sum()) == pytest.approx(1)
    assert (palette.points[palette.own] - colours).abs().max() < 4 * palette.smooth
    assert (bridge(colours, palette, 25) - colours).abs().mean() < 0.01


def scene(sky, ground, thing, side=96):
    """A sky that grows lighter, ground below it and a thing on both."""
    x = torch.linspace(0, 0.2, side)[:, None, None] + torch.tensor(sky) * torch.ones(side, side, 1)
    x[side * 2 // 3 :] = torch.tensor(ground)
    x[side // 3 : side * 3 // 4, side // 4 : side // 2] = torch.tensor(thing)
    return x.clamp(0, 1)


def slopes(x):
    """The gradients of lightness, all in a row."""
    return torch.cat([x[..., 0].diff(dim=0).flatten(), x[..., 0].diff(dim=1).flatten()])


def test_shares_that_must_be_split_are_split_smoothly():
    """A part of the sky becomes another colour, as shares say; the exact map draws edges through it."""
    picture = scene([0.4, 0.6, 0.8], [0.8, 0.7, 0.4], [0.8, 0.2, 0.2])
    reference = scene([0.9, 0.5, 0.2], [0.2, 0.5, 0.3], [0.2, 0.2, 0.6]).flip(0).roll(16, 0)
    own, example = to_lab(picture), to_lab(reference)
    parted, smooth = exact(own, example, 25), transfer(own, example, 25)
    alike = [float(torch.corrcoef(torch.stack([slopes(own), slopes(x)]))[0, 1]) for x in (parted, smooth)]
    left = [sliced(x, example) / sliced(own, example) for x in (parted, smooth)]
    assert alike[1] >= alike[0] + 0.2
    assert left[1] <= 0.5 * left[0]
    for on, carried in ((False, parted), (True, smooth)):
        made = color_bridge(Context(), Image(picture[None]), Image(reference[None]), smooth=on).pixels[0]
        torch.testing.assert_close(made, to_rgb(carried))


def test_each_picture_may_have_a_reference_and_it_can_be_cancelled():
    two = Image(torch.cat([picture(s).pixels for s in (1, 2)]))
    other = Image(picture(3, side=8).pixels)
    both = color_bridge(Context(), two, Image(torch.cat([other.pixels, picture(4, side=8).pixels])), steps=5)
    alone = color_bridge(Context(), Image(two.pixels[:1]), other, steps=5)
    assert torch.equal(both.pixels[:1], alone.pixels)
    with pytest.raises(BadInput, match="one each"):
        color_bridge(Context(), Image(torch.cat([two.pixels, other.pixels[:, :1, :1].expand(1, 24, 24, 3)])), two)
    with pytest.raises(Cancelled):
        color_bridge(Context(cancelled=lambda: True), two, other, steps=5)
