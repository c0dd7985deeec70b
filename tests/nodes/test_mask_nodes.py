"""Mask nodes: exact results, and the laws they keep."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.errors import BadInput
from engine.types import Image, Mask
from nodes.basics.image_color import solid_color
from nodes.basics.image_compose import composite_images
from nodes.basics.mask import (
    combine_masks,
    crop_mask,
    ellipse_mask,
    feather_border,
    feather_mask,
    gradient_mask,
    grow_mask,
    invert_mask,
    mask_from_channel,
    mask_from_color,
    mask_to_image,
    rectangle_mask,
    resize_mask,
    solid_mask,
    threshold_mask,
)
from nodes.basics.mask_region import crop_to_mask, paste_back
from tests.nodes.support import close, random_image, random_mask


def box_mask(height: int, width: int, y: int, x: int, h: int, w: int) -> Mask:
    values = torch.zeros(1, height, width)
    values[:, y : y + h, x : x + w] = 1
    return Mask(values)


def row(*values: float) -> Mask:
    return Mask(torch.tensor(values).reshape(1, 1, -1))


def test_solid_masks() -> None:
    assert close(solid_mask(0.25, 3, 2, 4).values, torch.full((4, 2, 3), 0.25), 0)


def test_masks_from_pictures() -> None:
    image = Image(torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0.5], [0, 0, 1]]).reshape(1, 1, 3, 3))
    expected = {
        "red": [1, 0.5, 0], "green": [0, 0.5, 0], "blue": [0, 0.5, 1], "brightness": [0.299, 0.5, 0.114],
        "saturation": [1, 0, 1],
    }  # fmt: skip
    for channel, values in expected.items():
        assert mask_from_channel(image, channel).values.flatten().tolist() == pytest.approx(values)  # type: ignore[arg-type]
    assert close(mask_from_channel(mask_to_image(random_mask())).values, random_mask().values)


def test_a_colour_is_selected_within_its_tolerance() -> None:
    image = Image(torch.tensor([1.0, 0.9, 0.8, 0.5]).reshape(1, 1, 4, 1) * torch.tensor([1.0, 0, 0]))
    assert mask_from_color(image, "#ff0000", 0.1).values.flatten().tolist() == [1, 1, 0, 0]
    assert mask_from_color(image, "#ff0000", 0.1, 0.2).values.flatten().tolist() == pytest.approx(
        [1, 1, 0.5, 0], abs=1e-4
    )
    assert mask_from_color(image, "#00ff00", 0.1).values.sum() == 0


def test_threshold_and_inversion() -> None:
    assert threshold_mask(row(0, 0.4, 0.5, 1), 0.5).values.flatten().tolist() == [0, 0, 1, 1]
    mask = random_mask()
    assert close(invert_mask(invert_mask(mask)).values, mask.values)


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("add", [0, 0.75, 1, 1]), ("subtract", [0, 0, 0, 1]), ("multiply", [0, 0.125, 0.5, 0]),
        ("difference", [0, 0.25, 0.5, 1]), ("and", [0, 0, 1, 0]), ("or", [0, 1, 1, 1]), ("xor", [0, 1, 0, 1]),
    ],
)  # fmt: skip
def test_combinations(operation: Any, expected: list[float]) -> None:
    result = combine_masks(row(0, 0.25, 0.5, 1), row(0, 0.5, 1, 0), operation)
    assert result.values.flatten().tolist() == expected


def test_masks_of_different_sizes_are_named() -> None:
    with pytest.raises(BadInput, match=r"The two masks differ in size: 12 x 8 .* and 4 x 8"):
        combine_masks(random_mask(), random_mask(width=4))


@pytest.mark.parametrize(("shape", "area"), [("square", 25), ("diamond", 13), ("round", 21)])
def test_growing_by_shape(shape: Any, area: int) -> None:
    assert grow_mask(box_mask(9, 9, 4, 4, 1, 1), 2, shape).values.sum() == area


@given(pixels=st.integers(0, 6), x=st.integers(8, 14), y=st.integers(8, 14), w=st.integers(1, 9), h=st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_shrinking_undoes_growing_a_rectangle(pixels: int, x: int, y: int, w: int, h: int) -> None:
    mask = box_mask(32, 32, y, x, h, w)
    assert close(grow_mask(grow_mask(mask, pixels), -pixels).values, mask.values, 0)


@given(seed=st.integers(0, 99), pixels=st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_growing_then_shrinking_never_loses_any(seed: int, pixels: int) -> None:
    mask = random_mask(2, 16, 16, seed)
    assert (grow_mask(grow_mask(mask, pixels), -pixels).values >= mask.values).all()


def test_feathering_softens_the_edge_on_the_side_asked_for() -> None:
    mask = box_mask(40, 40, 10, 10, 20, 20)
    both, inside, outside = (feather_mask(mask, 6, side).values for side in ("both", "inside", "outside"))
    assert both[0, 20].tolist() == sorted(both[0, 20, :20].tolist()) + both[0, 20, 20:].tolist()
    assert 0.4 < both[0, 20, 10] < 0.7
    assert (inside <= mask.values).all()
    assert inside[0, 20, 20] > 0.95
    assert (outside >= mask.values).all()
    assert outside[0, 20, 0] < 0.05
    assert feather_mask(mask, 0) is mask


def test_borders_fade() -> None:
    faded = feather_border(solid_mask(1, 8, 4), left=3).values[0, 0].tolist()
    assert faded == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 1, 1])
    assert feather_border(solid_mask(1, 8, 4), bottom=1).values[0, :, 0].tolist() == [1, 1, 1, 0.5]


def test_crop_and_resize() -> None:
    mask = box_mask(4, 4, 0, 0, 2, 2)
    assert close(crop_mask(mask, 1, 1, 9, 2).values, torch.tensor([[[1.0, 0, 0], [0, 0, 0]]]), 0)
    assert close(resize_mask(mask, 2, 2, "area").values, torch.tensor([[[1.0, 0], [0, 0]]]), 0)
    assert close(resize_mask(mask, 8, 8, "nearest").values, box_mask(8, 8, 0, 0, 4, 4).values, 0)


def test_shapes() -> None:
    assert close(rectangle_mask(8, 4, 0.25, 0.5, 0.5, 0.5).values, box_mask(4, 8, 2, 2, 2, 4).values, 0)
    ellipse = ellipse_mask(40, 20, w=1, h=1).values[0]
    assert float(ellipse.mean()) == pytest.approx(torch.pi / 4, abs=0.01)
    assert close(ellipse, ellipse.flip(0).flip(1), 0)


@pytest.mark.parametrize(
    ("kind", "turned"),
    [
        ("right", lambda t: t), ("left", lambda t: t.flip(2)), ("down", lambda t: t.mT), ("up", lambda t: t.mT.flip(1)),
    ],
)  # fmt: skip
def test_gradients(kind: Any, turned: Any) -> None:
    right: Tensor = torch.tensor([0.125, 0.375, 0.625, 0.875]).expand(1, 4, 4)
    assert close(gradient_mask(4, 4, kind).values, turned(right))


def test_round_gradients_are_each_other_inverted() -> None:
    centre, edge = gradient_mask(8, 6, "centre"), gradient_mask(8, 6, "edge")
    assert close(centre.values, 1 - edge.values)
    assert centre.values[0, 3, 4] > centre.values[0, 0, 0]


# Regions -----------------------------------------------------------------------------------------------------------


@given(
    x=st.integers(0, 30), y=st.integers(0, 20), w=st.integers(1, 10), h=st.integers(1, 10), margin=st.integers(0, 20)
)
@settings(max_examples=60, deadline=None)
def test_a_region_holds_its_mask_and_comes_back_unchanged(x: int, y: int, w: int, h: int, margin: int) -> None:
    image, mask = random_image(1, 30, 40), box_mask(30, 40, y, x, h, w)
    part = crop_to_mask(image, mask, margin, 8)
    assert float(part.mask.values.sum()) == w * h
    height, width = part.image.pixels.shape[1:3]
    assert height % 8 == 0 or height == 30
    assert width % 8 == 0 or width == 40
    assert close(paste_back(image, part.image, part.box).pixels, image.pixels, 0)
    inverted = Image(1 - part.image.pixels)
    expected = composite_images(image, Image(1 - image.pixels), mask)
    assert close(paste_back(image, inverted, part.box, part.mask).pixels, expected.pixels)


def test_a_part_edited_at_another_size_fits_again() -> None:
    image, mask = solid_color("#000000", 32, 32), box_mask(32, 32, 8, 8, 8, 8)
    part = crop_to_mask(image, mask, 0)
    pasted = paste_back(image, solid_color("#ffffff", 64, 64), part.box)
    assert close(pasted.pixels[..., 0], mask.values)


def test_an_empty_mask_is_said() -> None:
    with pytest.raises(BadInput, match="mask is empty"):
        crop_to_mask(random_image(), solid_mask(0, 12, 8))


@pytest.mark.parametrize(
    ("box", "says"),
    [
        ({}, "'x'"),
        ({"x": -1, "y": 0, "width": 1, "height": 1}, "'x'"),
        ({"x": 0, "y": True, "width": 1, "height": 1}, "'y'"),
        ({"x": 0, "y": 0, "width": 0, "height": 1}, "outside"),
        ({"x": 8, "y": 0, "width": 5, "height": 1}, "outside"),
        ([1, 2], "'x'"),
    ],
)
def test_a_box_that_does_not_fit_is_said(box: Any, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        paste_back(random_image(), random_image(1, 1, 1), box)
