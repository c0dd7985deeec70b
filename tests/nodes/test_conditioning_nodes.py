"""Conditioning nodes: exact results on small prompts."""

from __future__ import annotations

import pytest
import torch

from engine.errors import BadInput
from engine.types import Cond, Conditioning, Mask
from nodes.basics.conditioning import (
    average_conditioning,
    combine_conditioning,
    concat_conditioning,
    set_area,
    set_conditioning_mask,
    set_strength,
    set_time_range,
    zero_out,
)
from tests.nodes.support import close


def prompt(length: int = 3, value: float = 1.0, width: int = 2, pooled: bool = True) -> Conditioning:
    return Conditioning((Cond(torch.full((1, length, width), value), torch.full((1, 2), value) if pooled else None),))


def test_combining_keeps_every_prompt() -> None:
    a, b = prompt(), set_strength(prompt(), 0.5)
    assert combine_conditioning(a, b).conds == a.conds + b.conds


def test_averaging_pads_the_shorter_prompt() -> None:
    (mixed,) = average_conditioning(prompt(1, 1.0), prompt(2, 3.0), 0.25).conds
    assert mixed.tokens[0, :, 0].tolist() == [1.5, 0.75]
    assert mixed.pooled is not None
    assert mixed.pooled.tolist() == [[1.5, 1.5]]


def test_averaging_at_the_ends_gives_the_ends() -> None:
    a, b = set_area(prompt(3, 1.0)), prompt(3, 2.0)
    first, last = (average_conditioning(a, b, t).conds[0] for t in (0, 1))
    assert close(first.tokens, a.conds[0].tokens, 0)
    assert close(last.tokens, b.conds[0].tokens, 0)
    assert last.area == (0, 0, 0.5, 1)


def test_averaging_needs_prompts_that_fit() -> None:
    two, three = (Conditioning(prompt().conds * n) for n in (2, 3))
    assert len(average_conditioning(three, prompt()).conds) == 3
    with pytest.raises(BadInput, match="2 and 3 prompts"):
        average_conditioning(two, three)
    with pytest.raises(BadInput, match="different text encoders: 2 and 4"):
        average_conditioning(prompt(), prompt(width=4))


def test_concatenation_joins_the_words() -> None:
    (joined,) = concat_conditioning(prompt(3, 1.0), prompt(2, 5.0)).conds
    assert joined.tokens[0, :, 0].tolist() == [1, 1, 1, 5, 5]
    assert joined.pooled is not None
    assert joined.pooled.tolist() == [[1, 1]]
    with pytest.raises(BadInput, match="2 prompts"):
        concat_conditioning(prompt(), Conditioning(prompt().conds * 2))


def test_area_time_mask_and_strength() -> None:
    mask = Mask(torch.ones(1, 4, 4))
    cond = set_strength(set_conditioning_mask(set_time_range(set_area(prompt(), 0.75, 0, 0.5, 1), 0.2, 0.8), mask), 2)
    (one,) = cond.conds
    assert one.area == (0.75, 0, 0.25, 1)
    assert (one.start, one.end, one.strength) == (0.2, 0.8, 2)
    assert one.mask is mask.values


def test_empty_areas_times_and_many_masks_are_said() -> None:
    with pytest.raises(BadInput, match="is empty"):
        set_area(prompt(), x=1.0)
    with pytest.raises(BadInput, match="end must be greater"):
        set_time_range(prompt(), 0.5, 0.5)
    with pytest.raises(BadInput, match="one mask, got 2"):
        set_conditioning_mask(prompt(), Mask(torch.ones(2, 4, 4)))


def test_zeroing() -> None:
    (one,) = zero_out(set_strength(prompt(), 3)).conds
    assert one.tokens.sum() == 0
    assert one.pooled is not None
    assert one.pooled.sum() == 0
    assert one.strength == 3
    assert zero_out(prompt(pooled=False)).conds[0].pooled is None
