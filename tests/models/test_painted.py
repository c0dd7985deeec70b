"""SDEdit's figures: what is painted."""

from __future__ import annotations

from models.bozzetto.bed import pairs
from models.bozzetto.methods.guides import blobs
from models.bozzetto.scenes.vocabulary import COLOURS


def test_paint_covers_the_thing_and_nothing_else():
    told = pairs(4, "colour")
    for picture, p in zip(blobs(told), told, strict=True):
        changed = (picture != p.before.image).any(2)
        assert not (changed & ~p.before.masks[0]).any()
        assert (picture[p.before.masks[0]] == COLOURS[p.after.spec.objects[0].colour]).all()
