"""Image nodes: exact results on small pictures, and the laws they keep."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import pictures
from engine.errors import BadInput
from engine.types import Image, Mask
from nodes.basics import _pixels
from nodes.basics.image_batch import (
    batch_images,
    compare_images,
    contact_sheet,
    repeat_image,
    select_images,
    unbatch_images,
)
from nodes.basics.image_color import (
    adjust_color,
    grayscale,
    image_statistics,
    invert_image,
    merge_channels,
    solid_color,
    split_channels,
)
from nodes.basics.image_compose import BlendMode, blend_images, composite_images, image_difference, side_by_side
from nodes.basics.image_filter import add_noise, blur_image, canny, scribble, sharpen_image
from nodes.basics.image_size import (
    crop_image,
    flip_image,
    image_size,
    pad_for_outpaint,
    pad_image,
    resize_image,
    rotate_image,
    scale_image,
    shift_image,
)
from tests.nodes.support import close, context, random_image, random_mask

RAMP = Image(torch.arange(12.0).reshape(1, 3, 4, 1).expand(1, 3, 4, 3) / 12)


def pixel(*values: float) -> Image:
    return Image(torch.tensor(values).reshape(1, 1, 1, -1).expand(1, 1, 1, 3))


# Size ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("filter", get_args(_pixels.Filter))
def test_every_filter_keeps_a_flat_picture_flat(filter: _pixels.Filter) -> None:
    flat = solid_color("#336699", 7, 5)
    assert close(scale_image(flat, 2.5, filter).pixels, solid_color("#336699", 18, 12).pixels, 1e-6)


def test_area_halves_by_averaging_and_nearest_doubles_by_repeating() -> None:
    image = random_image(2, 4, 6)
    means = image.pixels.reshape(2, 2, 2, 3, 2, 3).mean((2, 4))  # (B, h, 2, w, 2, C) -> (B, h, w, C)
    assert close(resize_image(image, 3, 2, "stretch", "area").pixels, means)
    doubled = image.pixels.repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert close(scale_image(image, 2, "nearest").pixels, doubled, 0)


@pytest.mark.parametrize(("mode", "size"), [("stretch", (6, 6)), ("fit", (6, 3)), ("fill", (6, 6)), ("pad", (6, 6))])
def test_resize_modes(mode: str, size: tuple[int, int]) -> None:
    wide = Image(torch.full((1, 4, 8, 3), 1.0))
    result = resize_image(wide, 6, 6, mode, "bilinear", "#ff0000").pixels  # type: ignore[arg-type]
    assert (result.shape[2], result.shape[1]) == size
    bars = (result == torch.tensor([1.0, 0, 0])).all(-1)[0, :, 0].tolist()
    assert bars == ([True] + [False] * 3 + [True] * 2 if mode == "pad" else [False] * size[1])


def test_fill_keeps_the_middle() -> None:
    image = Image(torch.zeros(1, 2, 6, 3))
    image.pixels[:, :, 2:4] = 1
    assert close(resize_image(image, 2, 2, "fill", "nearest").pixels, torch.ones(1, 2, 2, 3))


@given(width=st.integers(1, 40), height=st.integers(1, 40), mode=st.sampled_from(["stretch", "fill", "pad"]))
@settings(max_examples=40, deadline=None)
def test_a_resized_picture_has_the_size_asked_for(width: int, height: int, mode: str) -> None:
    assert image_size(resize_image(random_image(1, 9, 13), width, height, mode))[:2] == (width, height)  # type: ignore[arg-type]


def test_resampling_stays_in_bounds_and_is_not_for_huge_results() -> None:
    edge = Image(torch.zeros(1, 4, 4, 3))
    edge.pixels[:, :, 2:] = 1
    sharp = scale_image(edge, 3, "lanczos").pixels
    assert sharp.min() == 0
    assert sharp.max() == 1
    with pytest.raises(BadInput, match="64 megapixels"):
        resize_image(random_image(2), 8192, 8192, "stretch")
    with pytest.raises(BadInput, match="64 megapixels"):
        repeat_image(solid_color("#000000", 1000, 1000), 256)


def test_crop_stays_inside() -> None:
    assert close(crop_image(RAMP, 1, 2, 2, 5).pixels, RAMP.pixels[:, 2:3, 1:3], 0)
    assert crop_image(RAMP, 100, 100, 8, 8).pixels.shape == (1, 1, 1, 3)


def test_padding_by_colour_edge_and_mirror() -> None:
    padded = pad_image(RAMP, 1, 2, 3, 4, color="#ffffff").pixels
    assert padded.shape == (1, 9, 8, 3)
    assert close(padded[:, 2:5, 1:5], RAMP.pixels, 0)
    assert float(padded.sum() - RAMP.pixels.sum()) == (9 * 8 - 12) * 3
    assert (pad_image(RAMP, left=1, fill="edge").pixels[0, :, 0] == RAMP.pixels[0, :, 0]).all()
    assert (pad_image(RAMP, right=2, fill="mirror").pixels[0, :, 5] == RAMP.pixels[0, :, 2]).all()


@given(sides=st.tuples(*[st.integers(0, 9)] * 4))
@settings(max_examples=30, deadline=None)
def test_cropping_undoes_padding(sides: tuple[int, int, int, int]) -> None:
    image = random_image()
    padded = pad_image(image, *sides)
    assert close(crop_image(padded, sides[0], sides[1], 12, 8).pixels, image.pixels, 0)


def test_outpainting_marks_the_new_part_and_a_soft_seam() -> None:
    image, mask = pad_for_outpaint(RAMP, left=0, top=0, right=4, bottom=0, feather=3)
    assert image.pixels.shape == (1, 3, 8, 3)
    assert (image.pixels[0, :, 4:] == RAMP.pixels[0, :, 3:]).all()
    assert mask.values[0].tolist() == [pytest.approx([0, 0.25, 0.5, 0.75, 1, 1, 1, 1])] * 3
    assert pad_for_outpaint(RAMP, right=1, feather=0).mask.values[0, 0].tolist() == [0, 0, 0, 0, 1]


@pytest.mark.parametrize("degrees", [0, 90, 180, 270, -90, 360])
def test_quarter_turns_are_exact(degrees: float) -> None:
    assert close(rotate_image(RAMP, degrees).pixels, torch.rot90(RAMP.pixels, int(degrees // 90), (1, 2)), 0)


def test_a_free_turn_is_the_same_way_round_and_keeps_the_middle() -> None:
    image = Image(torch.zeros(1, 41, 41, 3))
    image.pixels[:, 20, 20:] = 1  # a hand that points right
    turned = rotate_image(image, 45, expand=False).pixels[0, ..., 0]
    assert turned.shape == (41, 41)
    assert turned[10, 30] > 0.4
    assert turned[30, 30] == 0
    h, w = rotate_image(image, 45).pixels.shape[1:3]
    assert (h, w) == (58, 58)


def test_four_free_quarter_turns_within_the_frame_are_close_to_none() -> None:
    square = blur_image(random_image(1, 32, 32), 4)
    turned = square
    for _ in range(8):
        turned = rotate_image(turned, 45, expand=False)
    assert (turned.pixels - square.pixels)[:, 12:20, 12:20].abs().max() < 0.02


@pytest.mark.parametrize("direction", ["horizontal", "vertical", "both"])
def test_flipping_twice_changes_nothing(direction: str) -> None:
    image = random_image()
    once = flip_image(image, direction)  # type: ignore[arg-type]
    assert not close(once.pixels, image.pixels)
    assert close(flip_image(once, direction).pixels, image.pixels, 0)  # type: ignore[arg-type]


def test_flip_and_shift_directions() -> None:
    assert (flip_image(RAMP).pixels[0, :, 0] == RAMP.pixels[0, :, 3]).all()
    assert (shift_image(RAMP, x=1, y=2).pixels[0, 2, 1] == RAMP.pixels[0, 0, 0]).all()


# Filters -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["gaussian", "box", "median"])
def test_blur_keeps_flat_pictures_and_lowers_contrast(kind: str) -> None:
    flat = solid_color("#336699", 9, 9)
    assert close(blur_image(flat, 3, kind).pixels, flat.pixels, 1e-6)  # type: ignore[arg-type]
    noisy = random_image(1, 32, 32)
    assert blur_image(noisy, 3, kind).pixels.std() < 0.5 * noisy.pixels.std()  # type: ignore[arg-type]
    if kind != "median":
        assert close(blur_image(noisy, 0, kind).pixels, noisy.pixels, 1e-6)  # type: ignore[arg-type]


def test_sharpening_raises_contrast_and_nothing_at_amount_0() -> None:
    soft = blur_image(random_image(1, 32, 32), 3)
    assert sharpen_image(soft, 3, 1.0).pixels.std() > 1.1 * soft.pixels.std()
    assert close(sharpen_image(soft, 3, 0).pixels, soft.pixels)


def test_noise_follows_its_seed() -> None:
    grey = solid_color("#808080", 64, 64)
    noisy = add_noise(grey, 0.1, 3).pixels
    assert close(noisy, add_noise(grey, 0.1, 3).pixels, 0)
    assert not close(noisy, add_noise(grey, 0.1, 4).pixels)
    assert float((noisy - grey.pixels).std()) == pytest.approx(0.1, rel=0.05)


def square(side: int = 32) -> Image:
    image = torch.zeros(1, side, side, 3)
    image[:, 8:24, 8:24] = 1
    return Image(image)


def test_canny_draws_the_outline_of_a_square_and_nothing_else() -> None:
    edges = canny(square()).pixels[0, ..., 0].numpy()
    assert set(np.unique(edges)) == {0, 1}
    near = cv2.dilate((square().pixels[0, ..., 0].numpy() * 255).astype(np.uint8), np.ones((5, 5)))
    inside = cv2.erode(near, np.ones((9, 9)))
    assert edges[near == 0].sum() == edges[inside > 0].sum() == 0
    assert 50 <= edges.sum() <= 70
    assert canny(solid_color()).pixels.sum() == 0


def test_scribble_draws_outlines_only() -> None:
    drawn = scribble(square()).pixels[0, ..., 0]
    assert drawn.max() > 0.95
    assert drawn[16, 16] < 0.01
    assert drawn[2, 2] < 0.01
    assert close(scribble(square(), paper="white").pixels, 1 - scribble(square()).pixels)
    faint = Image(0.5 + 0.03 * square().pixels)
    assert scribble(faint, detail=0).pixels.max() == 0
    assert scribble(faint, detail=1).pixels.max() > 0.2


# Colour ------------------------------------------------------------------------------------------------------------


def test_adjusting_by_nothing_changes_nothing() -> None:
    image = random_image()
    assert close(adjust_color(image).pixels, image.pixels, 1e-6)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"brightness": 0.25}, (1, 0.5, 0.75)),
        ({"contrast": 0}, (0.5, 0.5, 0.5)),
        ({"saturation": 0}, (0.50275, 0.50275, 0.50275)),
        ({"hue": 120}, (0.5, 1, 0.25)),
        ({"hue": -120}, (0.25, 0.5, 1)),
        ({"gamma": 2}, (1, 0.5, 0.5**0.5)),
    ],
)
def test_each_adjustment(changes: dict[str, float], expected: tuple[float, ...]) -> None:
    image = Image(torch.tensor([1.0, 0.25, 0.5]).reshape(1, 1, 1, 3))
    assert adjust_color(image, **changes).pixels.flatten().tolist() == pytest.approx(expected, abs=2e-3)


def test_channels_and_negatives_come_back() -> None:
    image = random_image(2)
    assert close(merge_channels(*split_channels(image)).pixels, image.pixels, 0)
    assert close(invert_image(invert_image(image)).pixels, image.pixels)
    grey = grayscale(image).pixels
    assert close(grey[..., 0], grey[..., 2], 0)


@pytest.mark.parametrize(("text", "rgb"), [("#ff8000", (255, 128, 0)), ("f80", (255, 136, 0)), (" #FFF", (255,) * 3)])
def test_colours(text: str, rgb: tuple[int, ...]) -> None:
    assert [round(255 * c) for c in _pixels.parse_color(text)] == list(rgb)


@pytest.mark.parametrize("text", ["", "red", "#12345", "#gggggg", "#1234567", "#١٢٣"])
def test_what_is_no_colour_is_said(text: str) -> None:
    with pytest.raises(BadInput, match="#rrggbb"):
        solid_color(text)


def test_statistics() -> None:
    half = Image(torch.tensor([0.0, 1.0]).reshape(1, 1, 2, 1).expand(1, 4, 2, 3))
    stats = image_statistics(half)
    assert stats[:4] == pytest.approx((0.5, 0.5, 0, 1))
    assert image_statistics(solid_color()).sharpness == 0 < stats.sharpness


# Together ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("normal", 0.25), ("multiply", 0.125), ("screen", 0.625), ("overlay", 0.25), ("hard_light", 0.25),
        ("soft_light", 0.375), ("darken", 0.25), ("lighten", 0.5), ("add", 0.75), ("subtract", 0.25),
        ("difference", 0.25), ("dodge", 2 / 3), ("burn", 0.0),
    ],
)  # fmt: skip
def test_blend_modes(mode: BlendMode, expected: float) -> None:
    assert blend_images(pixel(0.5), pixel(0.25), mode, 1.0).pixels.flatten().tolist() == pytest.approx([expected] * 3)


@pytest.mark.parametrize("mode", get_args(BlendMode))
def test_blending_stays_in_bounds_and_does_nothing_at_0(mode: BlendMode) -> None:
    steps = torch.linspace(0, 1, 33).reshape(1, 33, 1, 1)
    a, b = Image(steps.expand(1, 33, 33, 3)), Image(steps.transpose(1, 2).expand(1, 33, 33, 3))
    full = blend_images(a, b, mode, 1.0).pixels
    assert ((full >= 0) & (full <= 1)).all()
    assert close(blend_images(a, b, mode, 0.0).pixels, a.pixels, 0)


def test_composite_by_masks_of_0_and_1() -> None:
    base, layer = random_image(seed=1), random_image(seed=2)
    assert close(composite_images(base, layer, Mask(torch.zeros(1, 8, 12))).pixels, base.pixels, 0)
    assert close(composite_images(base, layer, Mask(torch.ones(1, 8, 12))).pixels, layer.pixels, 0)
    assert close(composite_images(base, layer).pixels, layer.pixels, 0)


@given(x=st.integers(-15, 15), y=st.integers(-15, 15))
@settings(max_examples=50, deadline=None)
def test_composite_touches_only_where_the_layer_lies(x: int, y: int) -> None:
    base, layer = Image(torch.zeros(1, 8, 12, 3)), Image(torch.ones(1, 4, 5, 3))
    rows, columns = torch.arange(8)[:, None], torch.arange(12)[None]
    expected = ((columns >= x) & (columns < x + 5) & (rows >= y) & (rows < y + 4)).float()
    assert close(composite_images(base, layer, None, x, y).pixels[0, ..., 0], expected, 0)


def test_batches_of_one_are_repeated_and_others_are_named() -> None:
    assert blend_images(random_image(1), random_image(3)).pixels.shape[0] == 3
    assert composite_images(random_image(1), random_image(3), random_mask(1)).pixels.shape[0] == 3
    with pytest.raises(BadInput, match="2 and 3 pictures"):
        blend_images(random_image(2), random_image(3))
    with pytest.raises(BadInput, match=r"12 x 8 .* and 9 x 8"):
        blend_images(random_image(), random_image(width=9))


def test_the_inputs_are_left_alone() -> None:
    base, layer = random_image(), random_image(1, 4, 4, seed=1)
    before = base.pixels.clone()
    composite_images(base, layer, None, 2, 2)
    contact_sheet([base, layer], ["a", "b"])
    assert close(base.pixels, before, 0)


def test_difference_measures() -> None:
    image, mean, largest = image_difference(pixel(0.5), pixel(0.25), gain=2)
    assert (mean, largest) == (0.25, 0.25)
    assert image.pixels.flatten().tolist() == [0.5] * 3


def test_side_by_side() -> None:
    a, b = random_image(1, 4, 3), random_image(2, 4, 5, seed=1)
    joined = side_by_side(a, b).pixels
    assert joined.shape == (2, 4, 8, 3)
    assert close(joined[:, :, 3:], b.pixels, 0)
    with pytest.raises(BadInput, match="do not fit"):
        side_by_side(a, b, "below")


@given(count=st.integers(1, 5))
@settings(max_examples=5, deadline=None)
def test_unbatch_and_batch_come_back(count: int) -> None:
    image = random_image(count)
    parts = unbatch_images(image)
    assert [len(p.pixels) for p in parts] == [1] * count
    assert close(batch_images(parts).pixels, image.pixels, 0)


def test_batching_needs_pictures_of_one_size() -> None:
    assert batch_images([random_image(2)], [random_image(1)]).pixels.shape[0] == 3
    with pytest.raises(BadInput, match=r"12 x 8 .* and 5 x 8"):
        batch_images([random_image(), random_image(width=5)])
    with pytest.raises(BadInput, match="no pictures"):
        batch_images([])


def test_selecting_and_repeating() -> None:
    image = random_image(4)
    assert close(select_images(image, 1, 2).pixels, image.pixels[1:3], 0)
    assert len(select_images(image, 3, 9).pixels) == 1
    assert close(repeat_image(image, 2).pixels[4:], image.pixels, 0)
    with pytest.raises(BadInput, match="holds 4"):
        select_images(image, 4)


def test_a_contact_sheet_lays_pictures_out_in_reading_order() -> None:
    colors = ("#ff0000", "#00ff00", "#0000ff")
    sheet = contact_sheet([solid_color(c, 6, 4) for c in colors], columns=2, gap=1, color="#000000").pixels[0]
    assert sheet.shape == (2 * 5 + 1, 2 * 7 + 1, 3)
    assert [sheet[y, x].tolist() for y, x in ((1, 1), (1, 8), (6, 1), (6, 8), (0, 0))] == [
        [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0],
    ]  # fmt: skip


@pytest.mark.parametrize(("color", "ink"), [("#000000", 1.0), ("#ffffff", 0.0)])
def test_labels_are_written_below_and_can_be_read(color: str, ink: float) -> None:
    images = [solid_color("#808080", 60, 20), solid_color("#808080", 60, 20)]
    bare = contact_sheet(images, columns=1, gap=2, color=color).pixels[0]
    sheet = contact_sheet(images, ["seed 1", ""], columns=1, gap=2, color=color, text_size=10).pixels[0]
    assert sheet.shape[0] == bare.shape[0] + 2 * 20
    first, second = sheet[22:42, 2:62], sheet[64:84, 2:62]
    assert ((first - ink).abs() < 0.05).any()
    assert (second == second[0, 0]).all()


def test_a_batch_may_share_a_label() -> None:
    pair, one = solid_color("#808080", 40, 10, 2), solid_color("#404040", 40, 10)
    shared = contact_sheet([pair, one], ["a", "b"]).pixels
    assert close(shared, contact_sheet([pair, one], ["a", "a", "b"]).pixels, 0)


def test_a_long_label_is_shortened_and_counts_must_agree() -> None:
    images = [solid_color("#808080", 40, 10)]
    long = contact_sheet(images, ["a very long label that cannot fit"], gap=3, color="#000000").pixels[0]
    assert long.shape[1] == 46
    assert (long[:, :3] == 0).all()
    with pytest.raises(BadInput, match="2 labels for 1 pictures"):
        contact_sheet(images, ["a", "b"])
    with pytest.raises(BadInput, match="no pictures"):
        contact_sheet([])


def test_a_comparison_writes_pairs(tmp_path: Path) -> None:
    before, after = random_image(1), random_image(2, seed=5)
    saved = compare_images(context(tmp_path), before, after)
    assert saved.ui == "compare"
    shown = [pictures.decode((tmp_path / f.name).read_bytes()).rgb * 255 for f in saved.files]
    for got, pixels in zip(shown, (before.pixels[0], after.pixels[0], before.pixels[0], after.pixels[1]), strict=True):
        assert np.array_equal(got, pictures.to_uint8(pixels.numpy()))


@pytest.mark.parametrize("change", [invert_image, grayscale, flip_image, blur_image, adjust_color, scribble, canny])
def test_a_batch_is_changed_picture_by_picture(change: Callable[[Image], Image]) -> None:
    image = random_image(3, 16, 16)
    alone = torch.cat([change(part).pixels for part in unbatch_images(image)])
    assert close(change(image).pixels, alone, 0)
