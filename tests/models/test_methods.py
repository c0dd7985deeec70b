"""What a figure of `bench methods` says, and the page that is made of it."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from engine.errors import BadInput
from models.bozzetto import methods
from models.bozzetto.bed import (
    DRAWN,
    LIKE,
    background_db,
    box_of,
    caption_of,
    grown,
    in_place,
    overlap,
    pairs,
    rectangle,
    subjects,
)
from models.bozzetto.judge.read import Reading, Seen
from models.bozzetto.methods.canvas import STRIDE, WIDE, _seams
from models.bozzetto.methods.collages import TOLD, _Collage
from models.bozzetto.methods.figures import Figure, mean
from models.bozzetto.methods.looks import TINTED
from models.bozzetto.methods.marks import _area
from models.bozzetto.methods.page import page, rows, strip
from models.bozzetto.methods.painting import COLOURED
from models.bozzetto.methods.real import _named, _two
from models.bozzetto.scenes.holdout import COLOUR_PAIRS
from models.bozzetto.scenes.vocabulary import START_COLOURS, START_OBJECTS, TINTABLE
from tests.house.source import ROOT


def figure(value, control=0.5, **more):
    return Figure("share", value, 0.8, control, 8, **more)


@pytest.mark.parametrize(
    ("made", "met"),
    [
        (figure(0.8), True),
        (figure(0.79), False),
        (figure(0.9, margin=0.2), True),
        (figure(0.9, 0.75, margin=0.2), False),  # the bar alone is not enough
        (figure(0.9, None, margin=0.2), False),
        (figure(0.7, most=True), True),
        (figure(0.7, 0.75, most=True, margin=0.1), False),
        (figure(math.nan), False),
    ],
)
def test_a_bar_is_met_with_its_margin_or_not_at_all(made, met):
    assert made.met is met
    assert json.loads(json.dumps(made.as_json()))["met"] is met


def test_reasons_are_given_for_what_falls_short_alone():
    assert "why" not in figure(0.9, why="weak").as_json()
    assert figure(0.1, why="weak").as_json()["why"] == "weak"


def test_a_mean_leaves_out_what_could_not_be_measured():
    assert mean([1.0, math.nan, 0.0]) == 0.5
    assert math.isnan(mean([math.nan]))
    assert figure(math.nan).as_json()["value"] is None


def test_the_page_shows_every_figure_and_its_picture():
    cost = {"seconds": 1.0, "evaluations": 40}
    figures = {"one": figure(0.9).as_json() | cost, "one.two": figure(0.1, why="weak").as_json() | cost}
    kept = {"one": {"figures": figures, "pictures": "methods/one.webp", "shown": ["before", "after"]}}
    text = "\n".join(page(kept))
    assert text.startswith("1 of 2 figures meet their bar.")
    assert "![before, after](methods/one.webp)" in text
    assert "**NO** (weak)" in text
    assert len(list(rows(figures))) == 4


def test_what_is_kept_is_of_methods_that_there_are():
    kept = json.loads((ROOT / "docs" / "methods.json").read_text("utf-8"))
    assert set(kept) <= set(methods.METHODS)
    for name, method in kept.items():
        picture = ROOT / "docs" / method["pictures"]
        assert picture.stat().st_size <= 15_000
        assert all(key.partition(".")[0] == name for key in method["figures"])


def test_an_unknown_method_names_the_known():
    with pytest.raises(BadInput, match="sdedit"):
        methods.run("sdedti")


def test_prompts_of_a_batch_have_their_words_in_one_place():
    prompts = [p.split() for s in subjects(40) for p in s.prompts]
    assert {len(p) for p in prompts} == {5}
    assert {p[1] for p in prompts} == set(DRAWN) <= set(START_OBJECTS)
    assert all(s.noun != s.other for s in subjects(40))
    scenes = pairs(3, "swap")
    assert all(len(caption_of(p.before).split()) == 5 for p in scenes)
    assert all(len(p.before.spec.objects) == 1 for p in scenes)


def test_colours_that_are_to_be_kept_are_ones_that_training_sees():
    assert set(TINTED) <= set(DRAWN) & set(TINTABLE)
    assert set(TINTED.values()) <= set(START_COLOURS)
    coloured = {tuple(words.split()[::-1]) for two in (*COLOURED, *TOLD) for words in two}
    assert {noun for noun, _ in coloured} <= set(DRAWN) & set(TINTABLE)
    assert {colour for _, colour in coloured} <= set(START_COLOURS)
    assert not (coloured | set(TINTED.items())) & COLOUR_PAIRS


def test_of_two_real_things_the_left_one_is_named_first_and_never_becomes_the_other():
    for scene in map(_two, range(4)):
        first, second = _named(scene)
        assert LIKE[first] != second
        across = {o.noun: np.where(m)[1].mean() for o, m in zip(scene.spec.objects, scene.masks, strict=True)}
        assert across[first] < across[second]


def test_seams_are_told_from_what_is_drawn():
    drawn = np.random.default_rng(0).integers(0, 200, (1, 4, WIDE, 3))
    pair = [drawn, np.roll(drawn, STRIDE // 2, 2)]
    assert _seams(*pair, STRIDE) == pytest.approx(1)
    checked = 50 * (np.arange(WIDE) // STRIDE % 2)[:, None]
    assert _seams(*(np.sort(p, 2) + checked for p in pair), STRIDE) > 1.5


def test_a_collage_alone_says_what_is_on_the_left():
    told = [_Collage(lambda *_: None, seed) for seed in (0, 1)]
    sides = [[int(np.where(mask)[1].mean() > 64) for mask in one.masks] for one in told]
    assert sides == [[1, 0], [0, 1]]
    assert not any(word in one.prompt.split() for one in told for word in ("left", "right"))


def test_places_are_compared_by_their_boxes():
    left, right = rectangle(0, 0, 64, 128), rectangle(64, 0, 64, 128)
    assert overlap(left, right) == 0
    ring = left & ~rectangle(8, 8, 48, 112)
    assert np.array_equal(box_of(ring), left)
    thing = Seen("cat", "red", 1.0, (0, 0, 64, 128), (32, 64), ring, np.zeros(64))
    reading = Reading("3d", "beach", None, (thing,))
    assert in_place(reading, "cat", left)
    assert not in_place(reading, "cat", right)
    assert not in_place(reading, "dog", left)
    assert not box_of(np.zeros_like(left)).any()


def test_background_is_what_lies_outside_the_grown_mask():
    a = np.zeros((128, 128, 3), np.uint8)
    b, mask = a.copy(), rectangle(32, 32, 32, 32)
    b[grown(mask)] = 255
    assert background_db(a, b, mask) == 60
    b[0, 0] = 255
    assert 30 < background_db(a, b, mask) < 50
    assert math.isnan(background_db(a, b, np.ones_like(mask)))


def test_the_area_under_the_curve():
    assert _area([1, 2], [3, 4]) == 1
    assert _area([3, 4], [1, 2]) == 0
    assert _area([1, 1], [1, 1]) == 0.5


def test_a_strip_lays_pictures_side_by_side():
    wide = strip({"a": np.zeros((128, 128, 3), np.uint8), "b": np.ones((128, 384, 3), np.uint8)})
    assert wide.size == (512, 128)
