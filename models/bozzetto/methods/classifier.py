"""Diffusion Classifier: what is in a picture, by the model's own errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from engine.types import Latent
from models.bozzetto.bed import DRAWN, FIRST_SEED, WORLD, Bed
from models.bozzetto.methods.figures import Figure, Measured, mean
from models.bozzetto.scenes import Scene, scene
from models.bozzetto.scenes.vocabulary import START_COLOURS

TEN = (*DRAWN, "tree", "balloon", "boat")
TEMPLATE = "a {}"


def diffusion_classifier(bed: Bed, seeds: int) -> Measured:
    """Ten nouns, one picture: the right one is named; control: chance, and all looks for all nouns."""
    n = 2 * seeds
    scenes = [scene(FIRST_SEED + i, replace(WORLD, objects=TEN)) for i in range(n)]
    clean = bed.encode(np.stack([s.image for s in scenes]))
    nouns = [s.spec.objects[0].noun for s in scenes]
    pruned, calls = _named(bed, clean, TEN, looks=8, keep=3, last=24)
    few, _ = _named(bed, clean, TEN, looks=4, keep=1, last=4)
    whole = max(1, seeds // 2)
    full, every = _named(bed, Latent(clean.samples[:whole], clean.factor), TEN, looks=32, keep=10, last=32)
    painted = [s for s in (scene(FIRST_SEED + 10_000 + i, replace(WORLD, tinted=1.0)) for i in range(8 * seeds))
               if s.spec.objects[0].colour][:seeds]  # fmt: skip
    coloured = _coloured(bed, painted)
    figures = (
        Figure("right of ten nouns (control: chance)", mean(map(_same, pruned, nouns)), 0.8, 0.1, n),
        Figure("right of ten nouns, four looks (control: chance)", mean(map(_same, few, nouns)), 0.6, 0.1, n, "four"),
        Figure("pruned says what all looks say (control: four looks do)", mean(map(_same, pruned, full)), 0.95,
               mean(map(_same, few, full)), whole, "pruned"),
        Figure("looks of all, pruned", calls / n / (every / whole), 0.4, 1.0, n, "calls", most=True),
        Figure("right of nine colours (control: chance)", coloured, 0.85, 1 / len(START_COLOURS), len(painted),
               "colour"),
    )  # fmt: skip
    return Measured(figures, {f"{said}": s.image for s, said in list(zip(scenes, pruned, strict=True))[:4]})


def _same(a: str, b: str) -> bool:
    return a == b


def _named(bed: Bed, latent: Latent, names: Sequence[str], *, looks: int, keep: int, last: int,
           template: str = TEMPLATE) -> tuple[list[str], int]:  # fmt: skip
    """Return the best name of each picture and the looks of all."""
    start = bed.rows
    out = bed("rank_captions", bed.model, bed.clip, latent, "\n".join(names), template, looks=looks, keep=keep,
              last_looks=last)  # fmt: skip
    return list(out.best), bed.rows - start


def _coloured(bed: Bed, scenes: Sequence[Scene]) -> float:
    right = []
    for one in scenes:
        thing = one.spec.objects[0]
        best, _ = _named(bed, bed.encode(one.image[None]), START_COLOURS, looks=8, keep=4, last=24,
                         template=f"a {{}} {thing.noun}")  # fmt: skip
        right.append(best[0] == thing.colour)
    return mean(right)
