"""Edits of real pictures under guidance: null-text, negative-prompt and direct inversion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from engine.types import Conditioning, Latent
from models.bozzetto.bed import (
    DRAWN,
    FIRST_SEED,
    IN_PLACE,
    LIKE,
    WORLD,
    Bed,
    Cells,
    Pixels,
    background_db,
    before,
    caption_of,
    decibels,
    in_places,
    overlap,
    pairs,
    prompt_of,
)
from models.bozzetto.judge import read
from models.bozzetto.methods.figures import Figure, Measured, mean
from models.bozzetto.methods.words import Pairs
from models.bozzetto.scenes import Scene, scene

REAL_SCALE = 5.0
LEVELS = 50
LEARNT = 4  # pictures that null text is learnt for: each takes a minute


class _Real:
    """Real pictures, inverted with captions that name their things `old`, and edited so that they name `new`."""

    def __init__(self, bed: Bed, pictures: Pixels, old: Sequence[str], new: Sequence[str]) -> None:
        self.bed, self.pair, self.sigmas = bed, Pairs(bed, old, new), bed.sigmas(LEVELS)
        clean: Latent = bed.encode(pictures)
        self.own = bed.decode(clean)
        self.made = bed("ddim_invert", bed.model, self.pair.sources, clean, self.sigmas)

    def back(self, negative: Conditioning | None) -> list[float]:
        """Return dB of what comes back under guidance."""
        guider = self.bed.guider(self.pair.sources, REAL_SCALE, negative)
        return list(map(decibels, self.bed.decode(self.bed("replay", self.made.trajectory, guider)), self.own))

    def swapped(self, *, direct: bool = True) -> Any:
        """Return the pair of the swap, with direct inversion and a local blend, or by inversion alone."""
        held = self.bed("direct_inversion", self.made.trajectory)
        return self.pair.sample(
            control=self.pair.swap(), latent=self.made.latent, sigmas=self.sigmas, scale=REAL_SCALE,
            blend=self.bed("combine_blends", held, self.pair.local(1)) if direct else None,
        )  # fmt: skip


def null_text(bed: Bed, seeds: int) -> Measured:
    """Real pictures under guidance: three ways to get them back, and a swap on them; control: plain inversion."""
    told = pairs(seeds, "swap")
    pictures, places = before(told), [p.before.masks[0] for p in told]
    old = [p.before.spec.objects[0].noun for p in told]
    new = [LIKE[noun] for noun in old]

    def captioned(nouns: Sequence[str]) -> list[str]:
        return [caption_of(p.before, n) for p, n in zip(told, nouns, strict=True)]

    right = _Real(bed, pictures, captioned(old), captioned(new))
    wrong = _Real(bed, pictures, captioned([_other(o, n) for o, n in zip(old, new, strict=True)]), captioned(new))
    plain, own_negative, of_wrong = right.back(None), right.back(right.pair.sources), wrong.back(wrong.pair.sources)
    few = min(seeds, LEARNT)
    learnt = _learnt(bed, pictures[:few], captioned(old))
    direct = right.swapped()
    swapped, control, astray = (bed.decode(r.edited) for r in (direct, right.swapped(direct=False), wrong.swapped()))
    done, without, misled = (mean(in_places(x, new, places)) for x in (swapped, control, astray))
    kept, lost = (mean(_kept(right.own, x, places, new)) for x in (swapped, control))
    figures = (
        Figure("dB of what comes back at guidance 5, null text (control: plain inversion)", mean(learnt), 28.0,
               mean(plain[:few]), few, why="ten corrections a step"),
        Figure("dB of what comes back, caption as negative prompt", mean(own_negative), 26.0, mean(plain), seeds,
               "negative"),
        Figure("dB of the source held by direct inversion", mean(map(decibels, bed.decode(direct.source), right.own)),
               59.0, mean(plain), seeds, "direct"),
        Figure("new thing in the old one's place, direct (control: plain inversion)", done, 0.7, without, seeds,
               "swap"),
        Figure("background kept in the swap, dB", kept, 24.0, lost, seeds, "background", margin=6.0),
        _bystanders(bed, seeds),
        Figure("dB of what comes back with a wrong caption as negative prompt", mean(of_wrong), 26.0, mean(plain),
               seeds, "wrong_caption"),
        Figure("new thing in the old one's place, direct (control: a wrong caption)", done, 0.7, misled, seeds,
               "caption", margin=0.2),
    )  # fmt: skip
    return Measured(figures, {"picture": right.own[0], "swapped, direct": swapped[0], "swapped, plain": control[0]})


def _other(noun: str, new: str) -> str:
    """Return a thing that is neither."""
    return next(n for n in DRAWN if n not in (noun, new))


def _learnt(bed: Bed, pictures: Pixels, captions: Sequence[str]) -> list[float]:
    """Return dB of what comes back with null text, learnt picture by picture."""
    found = []
    for picture, caption in zip(pictures, captions, strict=False):
        one, empty = _Real(bed, picture[None], [caption], [caption]), bed.text("")
        negative = bed("null_text_inversion", bed.model, one.made.trajectory, one.pair.sources, empty, scale=REAL_SCALE)
        found += one.back(negative.negative)
    return found


def _kept(own: Pixels, out: Pixels, places: Sequence[Cells], new: Sequence[str]) -> list[float]:
    things = [r.find(n) for r, n in zip(read(out), new, strict=True)]
    return [background_db(a, b, p, p if t is None else t.mask)
            for a, b, p, t in zip(own, out, places, things, strict=True)]  # fmt: skip


def _bystanders(bed: Bed, seeds: int) -> Figure:
    """Of two things in a real picture one is swapped; the other is to stay as it is."""
    told = [_two(FIRST_SEED + i) for i in range(seeds)]
    names = [_named(s) for s in told]
    old, new = ([prompt_of(f"{swap(a)} to the left of a {b}", s.spec.background)
                 for (a, b), s in zip(names, told, strict=True)] for swap in (str, LIKE.__getitem__))  # fmt: skip
    real = _Real(bed, np.stack([s.image for s in told]), old, new)

    def same(run: Any) -> float:
        found = [(a.find(n), b.find(n)) for a, b, (_, n) in
                 zip(read(real.own), read(bed.decode(run.edited)), names, strict=True)]  # fmt: skip
        return mean(b is not None and a.colour == b.colour and overlap(a.mask, b.mask) >= IN_PLACE
                    for a, b in found if a is not None)  # fmt: skip

    return Figure("another thing keeps its place and colour, direct (control: plain inversion)",
                  same(real.swapped()), 0.85, same(real.swapped(direct=False)), seeds, "others")  # fmt: skip


def _two(seed: int) -> Scene:
    """Return a scene of two things, of which the second is not what the first becomes."""
    world = replace(WORLD, two_objects=1.0, relations=("left",))
    found = (scene(seed + 1000 * k, world) for k in range(100))
    return next(s for s in found if LIKE[_named(s)[0]] != _named(s)[1])


def _named(told: Scene) -> tuple[str, str]:
    """Return the two things of a scene in the order of its caption."""
    first = told.spec.named_first
    return told.spec.objects[first].noun, told.spec.objects[1 - first].noun
