"""Conditioning: several prompts together, and where, when and how strongly each holds."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import torch
import torch.nn.functional as F

from engine.errors import BadInput
from engine.node import Range, node
from engine.types import Cond, Conditioning, Mask
from nodes.basics._pixels import Fraction, match_batches

Strength = Annotated[float, Range(-10, 10, 0.05)]


@node(category="conditioning")
def combine_conditioning(a: Conditioning, b: Conditioning) -> Conditioning:
    """Let two conditionings hold together: the model is asked for each, and the answers are averaged.

    Args:
        a: First conditioning.
        b: Second conditioning.
    """
    return Conditioning(a.conds + b.conds)


@node(category="conditioning")
def average_conditioning(a: Conditioning, b: Conditioning, amount: Fraction = 0.5) -> Conditioning:
    """Mix two prompts into one between them: a at 0, b at 1. The model is asked once.

    Args:
        a: First conditioning; areas, masks and times are its own.
        b: Second conditioning, of one prompt or of as many as the first.
        amount: Share of b.
    """
    others = b.conds * len(a.conds) if len(b.conds) == 1 else b.conds
    if len(others) != len(a.conds):
        raise BadInput(f"These hold {len(a.conds)} and {len(b.conds)} prompts; give equally many, or one as b.")
    return Conditioning(tuple(_average(x, y, amount) for x, y in zip(a.conds, others, strict=True)))


@node(category="conditioning")
def concat_conditioning(a: Conditioning, b: Conditioning) -> Conditioning:
    """Join two prompts to one long one, so that the model reads both at once.

    Args:
        a: First conditioning; all else than its words stays as it is.
        b: The words to add, of one prompt.
    """
    if len(b.conds) != 1:
        raise BadInput(f"b holds {len(b.conds)} prompts; give one.", field="b")
    words = b.conds[0].tokens
    for cond in a.conds:
        _check_same(cond, b.conds[0])
    return Conditioning(tuple(replace(c, tokens=torch.cat(match_batches(c.tokens, words), 1)) for c in a.conds))


@node(category="conditioning")
def set_area(
    conditioning: Conditioning, x: Fraction = 0.0, y: Fraction = 0.0, width: Fraction = 0.5, height: Fraction = 1.0
) -> Conditioning:
    """Let a prompt hold in a rectangle of the picture only.

    Args:
        conditioning: The prompt.
        x: Left edge as a fraction of the width.
        y: Upper edge as a fraction of the height.
        width: Width as a fraction.
        height: Height as a fraction.
    """
    width, height = min(width, 1 - x), min(height, 1 - y)
    if width <= 0 or height <= 0:
        raise BadInput(f"The area at ({x:g}, {y:g}) is empty; make it wider and higher, or move it left and up.")
    return conditioning.map(area=(x, y, width, height))


@node(category="conditioning")
def set_conditioning_mask(conditioning: Conditioning, mask: Mask) -> Conditioning:
    """Let a prompt hold where a mask says.

    Args:
        conditioning: The prompt.
        mask: One mask of any size; it is scaled to the picture.
    """
    if len(mask.values) != 1:
        raise BadInput(f"A prompt takes one mask, got {len(mask.values)}; select one of them.", field="mask")
    return conditioning.map(mask=mask.values)


@node(category="conditioning")
def set_time_range(conditioning: Conditioning, start: Fraction = 0.0, end: Fraction = 1.0) -> Conditioning:
    """Let a prompt hold during a part of sampling only.

    Args:
        conditioning: The prompt.
        start: Where it begins; 0 is pure noise.
        end: Where it ends; 1 is the finished picture.
    """
    if start >= end:
        raise BadInput(f"The range from {start:g} to {end:g} is empty; end must be greater than start.", field="end")
    return conditioning.map(start=start, end=end)


@node(category="conditioning")
def set_strength(conditioning: Conditioning, strength: Strength = 1.0) -> Conditioning:
    """Set how strongly a prompt counts next to the others it is combined with.

    Args:
        conditioning: The prompt.
        strength: Its weight in the average; with the guider "composed", negative pushes the prompt away.
    """
    return conditioning.map(strength=strength)


@node(category="conditioning")
def zero_out(conditioning: Conditioning) -> Conditioning:
    """Replace a prompt's meaning by zeros: an empty negative that some models want.

    Args:
        conditioning: The prompt.
    """
    return Conditioning(tuple(_zeroed(c) for c in conditioning.conds))


def _zeroed(cond: Cond) -> Cond:
    pooled = None if cond.pooled is None else torch.zeros_like(cond.pooled)
    return replace(cond, tokens=torch.zeros_like(cond.tokens), pooled=pooled)


def _average(a: Cond, b: Cond, amount: float) -> Cond:
    _check_same(a, b)
    length = max(a.tokens.shape[1], b.tokens.shape[1])
    first, second = (F.pad(t, (0, 0, 0, length - t.shape[1])) for t in (a.tokens, b.tokens))  # (B, length, D)
    x, y = match_batches(first, second)
    pooled = a.pooled
    if a.pooled is not None and b.pooled is not None:
        p, q = match_batches(a.pooled, b.pooled)
        pooled = p.lerp(q, amount)
    return replace(a, tokens=x.lerp(y, amount), pooled=pooled)


def _check_same(a: Cond, b: Cond) -> None:
    wide = a.tokens.shape[-1], b.tokens.shape[-1]
    if wide[0] != wide[1]:
        raise BadInput(f"These prompts are of different text encoders: {wide[0]} and {wide[1]} numbers per token.")
