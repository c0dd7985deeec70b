"""Paint-with-words: one thing, and two things against the order in which the model places them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from engine.types import AttentionControl, Noise, Sampler
from models.bozzetto.bed import (
    FIRST_SEED,
    WORLD,
    Bed,
    Cells,
    Pixels,
    mask_value,
    prompt_of,
    rectangle,
    subjects,
)
from models.bozzetto.judge import Reading, read
from models.bozzetto.judge.metrics import features, frechet
from models.bozzetto.methods.figures import Figure, Measured, mean
from models.bozzetto.scenes import RESOLUTION, scene

LEFT = rectangle(0, 0, RESOLUTION // 2, RESOLUTION)
RIGHT = rectangle(RESOLUTION // 2, 0, RESOLUTION // 2, RESOLUTION)
DRAWN_SCENES = 200
# Two things of the list that take colours, each in one that training shows.
COLOURED = (("red car", "blue house"), ("green house", "purple tulip"), ("pink tulip", "yellow car"),
            ("blue car", "red tulip"), ("white house", "pink cake"), ("yellow cake", "green car"))  # fmt: skip


def paint_words(bed: Bed, seeds: int) -> Measured:
    """A word is painted left or right and its thing is there; control: the same noise, nothing painted."""
    told = subjects(seeds)
    nouns, prompts = [s.noun for s in told], [s.prompts[0] for s in told]
    painted: list[bool | None] = []
    plain: list[bool | None] = []
    picture: dict[str, Pixels] = {"unpainted": (free := _sampled(bed, prompts, None))[0]}
    for side, half in (("left", LEFT), ("right", RIGHT)):
        # The thing is the second word of every prompt, so that the first prompt's control serves all.
        control = bed("paint_words", bed.clip, prompts[0], nouns[0], mask_value([half]))
        made = _sampled(bed, prompts, control)
        picture[side] = made[0]
        painted += [_centre_in(r, n, half) for r, n in zip(read(made), nouns, strict=True)]
        plain += [_centre_in(r, n, half) for r, n in zip(read(free), nouns, strict=True)]
    inside, usual = ([m for m in marks if m is not None] for marks in (painted, plain))
    two = _two_painted(bed, seeds)
    figures = (
        Figure("centre of the thing where it is painted (control: not painted)", mean(inside), 0.75, mean(usual),
               len(inside)),
        Figure("thing is there", len(inside) / len(painted), 0.9, None, len(painted), "present"),
        *two.figures,
    )  # fmt: skip
    return Measured(figures, {**picture, **two.pictures})


def _sampled(bed: Bed, prompts: Sequence[str], control: AttentionControl | None) -> Pixels:
    guider, start = bed.guider(bed.texts(prompts)), bed.empty(len(prompts))
    made = bed("sample_edit", guider, Sampler("ddim"), bed.sigmas(), start, Noise(7), control=control)
    return bed.decode(made.latent)


def _centre_in(reading: Reading, noun: str, place: Cells) -> bool | None:
    thing = reading.find(noun)
    return None if thing is None else bool(place[int(thing.centre[1]), int(thing.centre[0])])


def _two_painted(bed: Bed, seeds: int) -> Measured:
    """Two coloured things, the first one painted on the right: unpainted the model draws it on the left."""
    told = [(*COLOURED[i % len(COLOURED)], s.place) for i, s in enumerate(subjects(seeds))]
    prompts = [prompt_of(f"{a} and a {b}", place) for a, b, place in told]
    control = None
    for words, half in zip(told[0][:2], (RIGHT, LEFT), strict=True):  # every word is one token in one place
        control = bed("paint_words", bed.clip, prompts[0], words, mask_value([half]), before=control)
    made, plain = _sampled(bed, prompts, control), _sampled(bed, prompts, None)
    found, usual = (_Two(read(x), told) for x in (made, plain))
    drawn = features(np.stack([scene(FIRST_SEED + i, replace(WORLD, two_objects=1.0)).image
                               for i in range(DRAWN_SCENES)]))  # fmt: skip
    far, near = (frechet(features(x), drawn) for x in (made, plain))
    n = 2 * seeds
    figures = (
        Figure("two things, the first painted on the right, each where it is painted (control: not painted)",
               mean(found.placed), 0.75, mean(usual.placed), n, "two"),
        Figure("both things are there", mean(found.present), 0.9, mean(usual.present), n, "two_present"),
        Figure("things with the other's colour, at most .8 of the control (control: not painted)", mean(found.leaked),
               0.8 * mean(usual.leaked), mean(usual.leaked), n, "leakage", most=True),
        Figure("Frechet distance to drawn scenes, of that of pictures not painted", far / near, 1.1, 1.0, seeds,
               "frechet", most=True),
    )  # fmt: skip
    return Measured(figures, {f"{told[0][1]} | {told[0][0]}": made[0], "not painted": plain[0]})


class _Two:
    """Of each of two things: whether it is where it is painted, is there, and has the other one's colour."""

    def __init__(self, readings: Sequence[Reading], told: Sequence[tuple[str, str, Any]]) -> None:
        self.placed: list[bool] = []
        self.present: list[bool] = []
        self.leaked: list[bool] = []
        for reading, (a, b, _) in zip(readings, told, strict=True):
            for own, other, half in ((a, b, RIGHT), (b, a, LEFT)):
                noun, (colour, _) = own.split()[1], other.split()
                thing = reading.find(noun)
                self.placed.append(bool(_centre_in(reading, noun, half)))
                self.present.append(thing is not None)
                self.leaked.append(thing is not None and thing.colour == colour)
