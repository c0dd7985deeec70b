"""SDEdit's figures: paint is what recolours a thing."""

from __future__ import annotations

from models.bozzetto.bed import pairs
from models.bozzetto.methods.guides import blobs
from models.bozzetto.scenes.vocabulary import COLOURS


def test_the_prompt_of_a_painted_thing_leaves_its_colour_to_the_paint():
    told = pairs(4, "colour")
    painted, prompts = blobs(told)
    assert not {word for p in prompts for word in p.split()} & set(COLOURS)
    for picture, p in zip(painted, told, strict=True):
        changed = (picture != p.before.image).any(2)
        assert not (changed & ~p.before.masks[0]).any()
        assert (picture[p.before.masks[0]] == COLOURS[p.after.spec.objects[0].colour]).all()
