"""Diffusion Classifier: what is in a picture, by the model's own errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count, islice
from typing import NamedTuple

import numpy as np

from engine.types import Noise
from models.bozzetto.bed import DRAWN, FIRST_SEED, WORLD, Bed, repeated
from models.bozzetto.judge import Reading, read
from models.bozzetto.methods.figures import Figure, Measured, mean
from models.bozzetto.scenes import Scene, SceneSpec, World, scene
from models.bozzetto.scenes.captions import caption
from models.bozzetto.scenes.holdout import COLOUR_PAIRS
from models.bozzetto.scenes.vocabulary import COUNTS, RELATION_WORDS, START_COLOURS, article, plural

TEN = (*DRAWN, "tree", "balloon", "boat")
SIDES = ("left", "right", "above", "below")
PAINTED = ("car", "house", "tulip", "cake")  # in any colour
TWO = replace(WORLD, objects=PAINTED, two_objects=1.0, relations=SIDES, tinted=1.0)
DRAWS = 4  # of which the best is kept


class Asked(NamedTuple):
    """A picture, what may be said of it, and which of that is true."""

    scene: Scene
    captions: tuple[str, ...]
    right: int


def diffusion_classifier(bed: Bed, seeds: int) -> Measured:
    """Ten nouns, nine colours, three counts, four places, two bindings; samples sorted by how they fit their prompt."""
    n, half = 2 * seeds, seeds
    nouns = [_noun(s) for s in islice(_scenes(replace(WORLD, objects=TEN)), n)]
    pruned, calls = _right(bed, nouns, looks=8, keep=3, last=24)
    few, _ = _right(bed, nouns, looks=4, keep=1, last=4)
    full, every = _right(bed, nouns[:half], looks=32, keep=10, last=32)
    painted = (_coloured(s) for s in _scenes(replace(WORLD, tinted=1.0)) if s.spec.objects[0].colour)
    colours, numbers, sides, bindings = (
        _share(_right(bed, asked, looks=8, keep=4, last=24)[0], asked)
        for asked in (list(islice(each, n)) for each in (painted, _numbers(), _sides(), _bindings()))
    )
    best, any_of_four = _sorted(bed, list(islice(_bindings(), seeds)))
    agree, agree_few = (mean(a == b for a, b in zip(said, full, strict=False)) for said in (pruned, few))
    figures = (
        Figure("right of ten nouns (control: chance)", _share(pruned, nouns), 0.85, 0.1, n),
        Figure("right of ten nouns, four looks (control: chance)", _share(few, nouns), 0.6, 0.1, n, "four"),
        Figure("pruned says what all looks say (control: four looks do)", agree, 0.95, agree_few, half, "pruned"),
        Figure("looks of all, pruned", calls / n / (every / half), 0.4, 1.0, n, "calls", most=True),
        Figure("right of nine colours (control: chance)", colours, 0.85, 1 / len(START_COLOURS), n, "colour"),
        Figure("right of one, two, three (control: chance)", numbers, 0.6, 1 / 3, n, "count"),
        Figure("right of left, right, above, below (control: chance)", sides, 0.7, 0.25, n, "place"),
        Figure("which of two things has which colour (control: chance)", bindings, 0.75, 0.5, n, "binding"),
        Figure("colours right in the best of four (control: in any of them)", best, min(1.0, any_of_four + 0.03),
               any_of_four, seeds, "sorted"),
    )  # fmt: skip
    shown = {one.captions[said]: one.scene.image for one, said in zip(nouns[:4], pruned[:4], strict=True)}
    return Measured(figures, shown)


def _scenes(world: World) -> Iterator[Scene]:
    return (scene(FIRST_SEED + i, world) for i in count())


def _noun(one: Scene) -> Asked:
    return Asked(one, tuple(map(article, TEN)), TEN.index(one.spec.objects[0].noun))


def _coloured(one: Scene) -> Asked:
    thing = one.spec.objects[0]
    return Asked(
        one, tuple(article(f"{c} {thing.noun}") for c in START_COLOURS), START_COLOURS.index(thing.colour or "")
    )


def _numbers() -> Iterator[Asked]:
    """Yield pictures of one thing, and of two or three of a kind, in turn."""
    one, several = _scenes(WORLD), _scenes(replace(WORLD, several=1.0))
    for i in count():
        s = next(several if i % 3 else one)
        noun = s.spec.objects[0].noun
        yield Asked(s, (article(noun), *(f"{COUNTS[k]} {plural(noun)}" for k in (2, 3))), s.spec.count - 1)


def _sides() -> Iterator[Asked]:
    for s in _scenes(TWO):
        first, second = (s.spec.objects[i].noun for i in (s.spec.named_first, 1 - s.spec.named_first))
        said = tuple(f"{article(first)} {RELATION_WORDS[side][-1]} {article(second)}" for side in SIDES)
        yield Asked(s, said, SIDES.index(s.spec.relation or ""))


def _bindings() -> Iterator[Asked]:
    """Yield two things of two colours, told as they are and with the colours exchanged; training knows both."""
    for s in _scenes(TWO):
        a, b = s.spec.objects
        other = (replace(a, colour=b.colour), replace(b, colour=a.colour))
        known = a.colour and b.colour and not any((o.noun, o.colour) in COLOUR_PAIRS for o in other)
        if known and a.colour != b.colour:
            told = [caption(x, np.random.default_rng(0), full=True) for x in (s.spec, replace(s.spec, objects=other))]
            yield Asked(s, tuple(told), 0)


def _share(said: Sequence[int], asked: Sequence[Asked]) -> float:
    return mean(a == one.right for a, one in zip(said, asked, strict=True))


def _right(bed: Bed, asked: Sequence[Asked], *, looks: int, keep: int, last: int) -> tuple[list[int], int]:
    """Return which caption of each picture is found, and the looks of all."""
    start, found = bed.rows, []
    for one in asked:
        latent = bed.encode(one.scene.image[None])
        (best,) = bed("rank_captions", bed.model, bed.clip, latent, "\n".join(one.captions), looks=looks, keep=keep,
                      last_looks=last).best  # fmt: skip
        found.append(one.captions.index(best))
    return found, bed.rows - start


def _sorted(bed: Bed, asked: Sequence[Asked]) -> tuple[float, float]:
    """Return the share of colours as told in the best of some samples of each prompt, and in all of them.

    They are made without guidance: with it, all show their colours.
    """
    shares = []
    for i, one in enumerate(asked):
        prompt, other = (bed.text(text) for text in one.captions)
        made = bed.run(bed.guider(repeated(prompt, DRAWS), 1.0), bed.empty(DRAWS), Noise(50 * i))
        ranked = bed("rank_latents", bed.model, made, prompt, other).latent
        shares.append([_as_told(r, one.scene.spec) for r in read(bed.decode(ranked))])
    return mean(s[0] for s in shares), mean(v for s in shares for v in s)


def _as_told(reading: Reading, spec: SceneSpec) -> float:
    seen = [(o, reading.find(o.noun)) for o in spec.objects]
    return mean(found is not None and found.colour == o.colour for o, found in seen)
