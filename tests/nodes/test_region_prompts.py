"""Prompts in regions: boxes and painted masks, later ones over earlier ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.context import Context
from engine.errors import BadInput
from engine.pictures import encode
from engine.types import Clip, Cond, Conditioning, Weights
from nodes.basics.region_prompts import region_prompts
from tests.nodes.support import context

CLIP = Clip("toy", Weights("toys", "toy", "0"))
LEFT = {"x": 0, "y": 0, "width": 0.5, "height": 1, "text": "left"}


def as_length(ctx: Context, clip: Clip, text: str) -> Conditioning:
    """Encode a prompt as its length."""
    return Conditioning((Cond(torch.full((1, 2, 3), float(len(text)))),))


@pytest.fixture
def ctx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    monkeypatch.setattr("nodes.basics.region_prompts.encode_text", as_length)
    mask = np.zeros((20, 20, 3), np.uint8)
    mask[10:] = 255
    (tmp_path / "painted.png").write_bytes(encode(mask))
    return context(tmp_path)


def test_later_regions_take_the_place_of_earlier_ones(ctx: Context) -> None:
    regions: Any = [LEFT, {"mask": "painted.png", "text": "under"}]
    made = region_prompts(ctx, CLIP, regions, "all", 32)
    left, under = made.mask.values
    assert (left[:15, :16] == 1).all()
    assert left[:, 16:].sum() == left[17:].sum() == 0
    assert (under[17:] == 1).all()
    assert under[:15].sum() == 0
    lengths = [float(cond.tokens[0, 0, 0]) for cond in made.conditioning.conds]
    assert lengths == [4.0, 5.0, 3.0]
    assert made.conditioning.conds[2].mask is None
    torch.testing.assert_close(made.conditioning.conds[1].mask, under[None])


@pytest.mark.parametrize(
    ("regions", "sentence"),
    [
        (None, "one to 32"),
        ([LEFT] * 33, "one to 32"),
        ({"x": 0}, "one to 32"),
        ([LEFT, 3], "Region 2 needs x, y"),
        ([{**LEFT, "width": 2}], "Region 1 needs x, y"),
        ([{**LEFT, "width": 0}], "Region 1 is empty"),
        ([LEFT, {**LEFT, "text": "over"}], "Region 1 is empty"),
    ],
)
def test_what_is_no_region_is_named(ctx: Context, regions: Any, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        region_prompts(ctx, CLIP, regions, "", 32)
