"""Null-text inversion can be cancelled within its steps, and goes on where it was."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import pytest
import torch

from engine import codec
from engine.codec import digest_of
from engine.context import Context
from engine.diffusion import inversion
from engine.errors import BadInput, Cancelled
from engine.types import Latent
from nodes.basics.text import encode_text
from nodes.editing.ddim_inversion import ddim_invert
from nodes.editing.null_text import null_text_inversion
from tests.editing.test_prompt_to_prompt import CLIP, Both
from tests.editing.toys import MODEL, spaced

STEPS, INNER = 3, 3


@pytest.fixture
def ctx(network):
    return Context(node="n", models=Both(network))


def learn(ctx, steps=STEPS):
    caption, empty = (encode_text(ctx, CLIP, text) for text in ("a cat on grass", ""))
    picture = Latent(torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(9)), 2)
    sigmas = spaced(steps) if steps else replace(spaced(1), values=torch.zeros(1))
    made = ddim_invert(replace(ctx, cancelled=lambda: False), MODEL, caption, picture, sigmas)
    return null_text_inversion(
        ctx, MODEL, made.trajectory, caption, empty, scale=7.5, inner=INNER, rate=0.05, tolerance=0.0
    )


@pytest.mark.parametrize(("after", "learnt"), [(2, 0), (7, 1), (12, 2)])
def test_broken_off_within_a_step_it_goes_on_with_that_step(ctx, monkeypatch, after, learnt):
    whole, kept, polls, descents = learn(ctx), [], count(), []
    with pytest.raises(Cancelled):
        learn(replace(ctx, cancelled=lambda: next(polls) >= after, checkpoint=kept.append))
    assert len(kept[-1]) == learnt
    stored = codec.settled(codec.encode(kept[-1]))
    descend = inversion._descend
    monkeypatch.setattr(inversion, "_descend", lambda *a, **k: descents.append(1) or descend(*a, **k))
    again = learn(replace(ctx, resume=lambda: stored))
    assert len(descents) == STEPS - learnt
    assert digest_of(again.negative) == digest_of(whole.negative)
    assert again.curves == whole.curves


def test_it_is_kept_from_time_to_time(ctx, monkeypatch):
    monkeypatch.setattr("engine.diffusion.optimise.CHECKPOINT_SECONDS", 0.0)
    kept = []
    learn(replace(ctx, checkpoint=kept.append))
    assert [len(each) for each in kept] == [1, 2, 3]


def test_an_inversion_without_steps_has_nothing_to_learn(ctx):
    with pytest.raises(BadInput, match="got 1 over 0"):
        learn(ctx, 0)
