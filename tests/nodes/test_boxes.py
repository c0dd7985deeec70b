"""Boxes and strokes: drawn, found, shown, and used."""

from __future__ import annotations

import pytest
import torch

from engine.codec import digest_of, encode, settled
from engine.errors import BadInput
from engine.types import Boxes, Image, Mask
from nodes.basics.boxes import boxes_of_masks, draw_boxes, masks_of_boxes, plain_boxes, show_boxes
from nodes.editing.sdedit import draw_strokes, paint_strokes

PLAIN = [
    {"text": "a cat", "x": 0.25, "y": 0.5, "width": 0.5, "height": 0.25},
    {"x": 0, "y": 0, "width": 1, "height": 1},
]


def test_boxes_become_masks_and_masks_boxes() -> None:
    boxes = draw_boxes(PLAIN)  # type: ignore[arg-type]
    assert boxes.texts == ("a cat", "")
    masks = masks_of_boxes(boxes, 16, 8)
    assert masks.values.sum((1, 2)).tolist() == [16, 128]
    assert masks.values[0, 4:6, 4:12].all()
    assert boxes_of_masks(masks, texts="a cat") == boxes
    assert boxes_of_masks(Mask(torch.zeros(1, 4, 4))) == Boxes((), ())
    assert [{**plain, "text": plain.get("text", "")} for plain in PLAIN] == plain_boxes(boxes)
    assert settled(encode(boxes)) == boxes


def test_outlines_lie_inside_their_boxes() -> None:
    image = Image(torch.zeros(2, 16, 16, 3))
    shown = show_boxes(image, draw_boxes([{"x": 0.25, "y": 0.25, "width": 0.5, "height": 0.5}]), "#ffffff", 1)  # type: ignore[arg-type]
    assert shown.pixels[0, :, :, 0].sum() == 8 * 4 - 4
    assert not shown.pixels[:, 5:11, 5:11].any()
    assert digest_of(show_boxes(image, Boxes((), ()))) == digest_of(image)


@pytest.mark.parametrize("wrong", [{}, [3], [{"x": 0, "y": 0, "width": 2, "height": 1}], [{"x": 0}], [{}] * 1001])
def test_what_is_no_box_is_refused(wrong: object) -> None:
    with pytest.raises(BadInput):
        draw_boxes(wrong)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="no boxes"):
        masks_of_boxes(Boxes((), ()))


def test_strokes_from_elsewhere_are_painted_like_those_drawn_here() -> None:
    image = Image(torch.zeros(1, 16, 16, 3))
    plain = [{"points": [[0.1, 0.5], [0.9, 0.5]], "color": "#00ff00", "width": 3}]
    here, there = paint_strokes(image, plain), paint_strokes(image, more=draw_strokes(plain))  # type: ignore[arg-type]
    assert digest_of(here.image) == digest_of(there.image)
    assert digest_of(here.mask) == digest_of(there.mask)
    assert here.mask.values.any()
    assert not paint_strokes(image).mask.values.any()
    assert draw_strokes([]).points == ()  # type: ignore[arg-type]
