"""The scenes that inversions are measured on: things off the centre, one of two things swapped, sets of points."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.bozzetto.bed import IN_PLACE, WORLD, box_of, overlap
from models.bozzetto.judge.read import Reading, Seen
from models.bozzetto.methods import inversions, points


def test_a_thing_in_the_middle_is_not_in_the_place_of_one_aside():
    for pair in inversions.aside(3, "style"):
        box = box_of(pair.before.masks[0])
        shift = 64 - round(float(np.where(box)[1].mean()))
        assert overlap(box, np.roll(box, shift, 1)) < IN_PLACE + 0.02  # of one that is moved by whole pixels
        assert pair.before.spec.objects[0].noun in WORLD.objects


def test_of_two_things_the_one_that_is_named_first_is_swapped():
    for pair in inversions.couples(4):
        k = pair.before.spec.named_first
        old, new = pair.before.spec.objects, pair.after.spec.objects
        assert old[k].noun != new[k].noun
        assert old[1 - k] == new[1 - k]
        assert new[k].noun != new[1 - k].noun
        assert pair.captions[0].index(old[k].noun) < pair.captions[0].index(old[1 - k].noun)
        assert pair.captions[1].index(new[k].noun) < pair.captions[1].index(new[1 - k].noun)


def test_sets_of_points_are_of_one_size_and_differ():
    found = points.sets(800)
    for x in found.values():
        assert x.shape == (800, 2)
        torch.testing.assert_close(x.mean(0), torch.zeros(2), rtol=0, atol=1e-5)
        assert x.std().item() == pytest.approx(1)
    assert points.sliced(found["moons"], found["moons"].flip(0)) == 0
    assert points.sliced(found["moons"], found["blobs"]) > 0.1


def seen(noun, colour, left):
    mask = np.zeros((128, 128), bool)
    mask[40:80, left : left + 40] = True
    return Seen(noun, colour, 1.0, (left, 40, left + 40, 80), (left + 20, 60), mask, np.zeros(64))


def test_a_reading_is_the_same_with_its_things_their_number_colours_and_places():
    def told(*things, background="beach"):
        return Reading("3d", background, None, things)

    one = told(seen("car", "red", 10))
    assert inversions._same(one, told(seen("car", "red", 15)))
    for other in (
        told(seen("car", "red", 60)), told(seen("car", "blue", 10)), told(seen("bus", "red", 10)), told(),
        told(seen("car", "red", 10), seen("car", "red", 80)), told(seen("car", "red", 10), background="snow"),
    ):  # fmt: skip
        assert not inversions._same(one, other)
    assert inversions._same(told(), told())
