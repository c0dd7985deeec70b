"""What TIME, Imagic and the classifier are asked on the embedded model."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from models.bozzetto.judge.read import Reading, Seen
from models.bozzetto.methods import weights
from models.bozzetto.methods.classifier import SIDES, _bindings, _numbers, _sides
from models.bozzetto.methods.imagic import Wish, _larger
from models.bozzetto.methods.weights import ASSUMPTIONS, COLOURS, KEPT, OWN, SAID, Assumption
from models.bozzetto.scenes.holdout import COLOUR_PAIRS


def seen(noun, colour, side):
    mask = np.zeros((128, 128), bool)
    mask[:side, :side] = True
    return Seen(noun, colour, 1.0, (0, 0, side, side), (side / 2, side / 2), mask, np.zeros(64))


def reading(*things, background="beach"):
    return Reading("3d", background, None, things)


def test_twenty_assumptions_that_training_allows_and_nothing_else_tells():
    assert len(set(ASSUMPTIONS)) == 20
    assert all(set(one.noun.split()) < set(one.target.split()) for one in ASSUMPTIONS)
    assert not {(one.noun, one.value) for one in ASSUMPTIONS} & COLOUR_PAIRS
    assert not any(noun in prompt.split() for noun in COLOURS for prompt in KEPT)
    assert SAID["colour"] not in OWN


@pytest.mark.parametrize(("half", "at_least"), [(-1.0, 1), (0.3, 2), (-2.2, 2)])
def test_the_hold_that_halves_a_default_is_found_from_both_sides(monkeypatch, half, at_least):
    """More is shown the weaker the hold: all at ten times less than at `half`, nothing at ten times more."""
    monkeypatch.setattr(Assumption, "taught", lambda self, bed, hold: np.log10(hold))
    monkeypatch.setattr(weights, "_made", lambda bed, prompts, seed, at: np.clip(0.5 + 0.5 * (half - at), 0, 1))
    monkeypatch.setattr(
        weights,
        "read",
        lambda share: [reading(seen("car", "green" if i < 10 * share else "red", 9)) for i in range(10)],
    )
    shares = weights._shares(None, Assumption("car", "colour", "green"))
    assert 0.4 <= shares[-1] <= 0.6
    assert len(shares) >= at_least


def test_what_is_asked_of_pictures_is_told_by_one_of_the_captions():
    for asked in (*islice(_numbers(), 6), *islice(_sides(), 6), *islice(_bindings(), 6)):
        objects = asked.scene.spec.objects
        right = asked.captions[asked.right]
        assert len(set(asked.captions)) == len(asked.captions)
        assert all(o.noun[:3] in right for o in objects)
        if len({o.noun for o in objects}) == 1:
            assert ("a", "two", "three")[len(objects) - 1] == right.split()[0]
        elif len(asked.captions) == len(SIDES):
            first, second = (objects[i].noun for i in (asked.scene.spec.named_first, 1 - asked.scene.spec.named_first))
            assert right.index(first) < right.index(asked.scene.spec.relation) < right.index(second)
        else:
            assert all(f"{o.colour} {o.noun}" in right for o in objects)
            assert not any(f"{o.colour} {o.noun}" in asked.captions[1] for o in objects)


def test_a_wish_is_for_a_colour_or_for_size():
    wish = _larger()
    noun, colour = wish.noun, "red"
    small, large, other = (seen(noun, c, side) for c, side in ((colour, 40), (colour, 60), ("blue", 60)))
    then = reading(small)
    assert wish.done(reading(large), then)
    assert not wish.done(then, then)
    assert wish.kept(reading(large), then)
    assert not wish.kept(reading(other), then)
    assert not wish.kept(reading(large, background="snow"), then)
    red = Wish(wish.before, wish.target, "red")
    assert red.done(reading(large), then)
    assert not red.done(reading(other), then)
    assert not red.kept(then, then)  # it is not where it was in the scene
