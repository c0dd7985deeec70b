"""Canvases of windows and regions: MultiDiffusion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.diffusion.noise import NoiseSource
from engine.types import Latent, Sampler
from models.bozzetto.bed import (
    FIRST_SEED,
    WORLD,
    Bed,
    Pixels,
    box_of,
    grown,
    in_place,
    mask_value,
    prompt_of,
    shown,
    subjects,
)
from models.bozzetto.judge import Reading, read
from models.bozzetto.judge.metrics import features, frechet
from models.bozzetto.methods.figures import Figure, Measured, mean
from models.bozzetto.scenes import RESOLUTION, render, sample
from models.bozzetto.scenes.spec import ObjectSpec, SceneSpec
from models.bozzetto.scenes.vocabulary import BACKGROUND_WORDS, article

SCENERY = ("beach", "forest", "snow", "desert")
WIDE = 3 * RESOLUTION
STRIDE, CELL = RESOLUTION // 4, 8
# Published is .4 on 64 x 64 cells. A thing that is a quarter as many cells wide shows at a quarter of that noise
# (Hoogeboom et al. 2023, arXiv 2301.11093, section 2.3), which here comes at .8 of the steps.
BOOTSTRAP = 0.7
DRAWN_SCENES = 200
SMALL = (44, 55)  # sides of what captions call small, in pixels
STANDS = (94, 125)  # rows on which things stand


def multidiffusion(bed: Bed, seeds: int) -> Measured:
    """Wide canvases keep their background in every crop and show no seams; controls: one pass, separate tiles."""
    names = [SCENERY[i % len(SCENERY)] for i in range(seeds)]
    prompts = [prompt_of("tree", name) for name in names]
    plain = bed.guider(bed.texts(prompts))
    fused = bed("fuse_windows", plain, RESOLUTION, STRIDE, weight="ramp")
    joined = bed("fuse_windows", plain, RESOLUTION, STRIDE, wrap=True, weight="ramp")
    wide, moved = (bed.decode(_sampled(bed, fused, _noise(bed, seeds, shift))) for shift in (0, STRIDE // 2))
    tiles, moved_tiles = (_tiled(bed, prompts, _noise(bed, seeds, shift)) for shift in (0, RESOLUTION // 2))
    single = bed.decode(_sampled(bed, plain, _noise(bed, seeds)))
    around = _sampled(bed, joined, _noise(bed, seeds))
    wrapped = np.roll(shown(bed("vae_decode_wrapped", around, bed.vae)), RESOLUTION // 2, 2)
    flat = np.roll(wide, RESOLUTION // 2, 2)  # in both the ends meet at half a picture
    figures = (
        Figure("background in every crop (control: the model on the whole canvas at once)", _scenery(wide, names), 0.9,
               _scenery(single, names), seeds),
        Figure("gradient at window borders over that half-way between, where as much is drawn (control: separate "
               "tiles)", _seams(wide, moved, STRIDE), 1.05, _seams(tiles, moved_tiles, RESOLUTION), seeds, "seams",
               margin=0.5, most=True, why="a canvas gives .75 to 1.2; eight other canvases .99"),
        Figure("gradient where the ends meet, wrapped, over that at other borders of cells (control: not wrapped)",
               _ends(wrapped), 1.05, _ends(flat), seeds, "wrap", most=True),
        Figure("Frechet distance of crops, of that of single pictures (control: crops of one pass)",
               *_distances(wide, tiles, single, names), seeds, "frechet", most=True),
    )  # fmt: skip
    return Measured(figures, {"fused windows": wide[0], "separate tiles": tiles[0]})


def _noise(bed: Bed, seeds: int, shift: int = 0) -> Latent:
    """Return canvases at the first level, of one noise field each, rolled to the right by so many pixels."""
    canvas = bed.empty(seeds, WIDE)
    drawn = NoiseSource.of(0, seeds).initial(canvas.samples).roll(shift // CELL, -1)
    return replace(canvas, samples=float(bed.sigmas().values[0]) * drawn)


def _sampled(bed: Bed, guider: Any, noisy: Latent) -> Latent:
    made: Latent = bed("sample_custom", guider, Sampler("ddim"), bed.sigmas(), noisy).latent
    return made


def _tiled(bed: Bed, prompts: Sequence[str], noisy: Latent) -> Pixels:
    """Return what the model makes of each third of the canvases by itself."""
    thirds = replace(noisy, samples=torch.cat(noisy.samples.chunk(WIDE // RESOLUTION, -1)))
    made = bed.decode(_sampled(bed, bed.guider(bed.texts([*prompts] * (WIDE // RESOLUTION))), thirds))
    return np.concatenate(np.split(made, WIDE // RESOLUTION), 2)


def _scenery(pictures: Pixels, names: Sequence[str]) -> float:
    """Return the share of crops, half a picture apart, in which the judge reads the background."""
    lefts = range(0, pictures.shape[2] - RESOLUTION + 1, RESOLUTION // 2)
    crops = [read(pictures[:, :, x : x + RESOLUTION]) for x in lefts]
    return mean(r.background == name for crop in crops for r, name in zip(crop, names, strict=True))


def _seams(pictures: Pixels, moved: Pixels, stride: int) -> float:
    """Return the mean step of brightness across borders, over that half-way between them.

    `moved` is made of the same noise rolled by half a stride: what lies at a border in one lies half-way between two in
    the other. So both sums are over the same places of what is drawn, and only borders tell them apart.
    """
    borders = np.arange(stride, WIDE, stride)
    first, second = _steps(pictures), _steps(moved)
    at = first[borders].mean() + second[borders].mean()
    return float(at / (first[borders - stride // 2].mean() + second[borders + stride // 2].mean()))


def _ends(pictures: Pixels) -> float:
    """Return the mean step of brightness where the ends meet, at half a picture, over that at other borders of cells.

    A decoder steps at borders of cells more than within them.
    """
    steps, ends = _steps(pictures), RESOLUTION // 2
    others = [c for c in range(CELL, WIDE, CELL) if c != ends]
    return float(steps[ends] / steps[others].mean())


def _steps(pictures: Pixels) -> NDArray[np.float64]:
    """Return the mean step of brightness from the column before to each column (W,)."""
    steps: NDArray[np.float64] = np.abs(np.diff(pictures.astype(float).mean(3), axis=2)).mean((0, 1))
    return np.concatenate([[0.0], steps])


def _distances(wide: Pixels, tiles: Pixels, single: Pixels, names: Sequence[str]) -> tuple[float, float, float]:
    """Return the Frechet distance to drawn scenes of the same places, of crops over that of pictures; bar, control."""
    crops, usual, once = (np.concatenate(np.split(x, WIDE // RESOLUTION, 2)) for x in (wide, tiles, single))
    worlds = [replace(WORLD, objects=("tree",), backgrounds=(name,)) for name in names]
    drawn = [sample(FIRST_SEED + i, worlds[i % len(worlds)]) for i in range(DRAWN_SCENES)]
    real = features(np.stack([render(s).image for s in drawn]))
    own = frechet(features(usual), real)
    return frechet(features(crops), real) / own, 1.5, frechet(features(once), real) / own


def regions(bed: Bed, seeds: int) -> Measured:
    """Two things in two boxes; controls: one prompt that names both, and no bootstrapping.

    A region's prompt names its thing alone, as published ones do: what lies around is the background's.
    """
    told = [_Boxes(i) for i in range(seeds)]
    parts = [bed.texts([article(f"small {one.nouns[k]}") for one in told]).map(
        mask=mask_value([grown(one.boxes[k], CELL) for one in told]).values) for k in range(2)]  # fmt: skip
    behind = bed.texts([BACKGROUND_WORDS[one.place][0] for one in told])
    averaged = bed.guider(bed("combine_conditioning", bed("combine_conditioning", *parts), behind))
    grown_inside = bed("bootstrap_regions", averaged, bed.vae, BOOTSTRAP, 20, 0)
    made, loose = (bed.decode(bed.run(g, bed.empty(seeds))) for g in (grown_inside, averaged))
    plain = bed.sample([prompt_of(f"{one.nouns[0]} next to a {one.nouns[1]}", one.place) for one in told])
    (done, leaked, kept), (without, *_), (control, *_) = (_placed(read(x), told) for x in (made, loose, plain))
    why = "small things come out larger than their boxes, or lower"
    figures = (
        Figure("thing in its box (control: one prompt names both)", done, 0.75, control, 2 * seeds, why=why),
        Figure("thing in its box, of one prompt that names both", control, 0.25, None, 2 * seeds, "plain", most=True),
        Figure("thing in the other's box", leaked, 0.1, None, 2 * seeds, "leakage", most=True),
        Figure("thing in its box (control: no bootstrapping)", done, 0.75, without, 2 * seeds, "bootstrap",
               margin=0.15, why=why),
        Figure("background as told", kept, 0.85, None, seeds, "background"),
    )  # fmt: skip
    return Measured(figures, {f"{told[0].nouns[0]} | {told[0].nouns[1]}": made[0], "no bootstrapping": loose[0],
                              "one prompt": plain[0]})  # fmt: skip


class _Boxes:
    """Two boxes beside each other, anywhere where such things stand; which thing is on the left is left to chance.

    They are as large as what prompts call small, and as high or wide as their things: no bus fills a box that is higher
    than wide.
    """

    def __init__(self, seed: int) -> None:
        told, chance = subjects(seed + 1)[seed], np.random.default_rng(seed)
        self.nouns, self.place, empty = (told.noun, told.other), told.place, ground(told.place, seed)
        sides = chance.integers(*SMALL, 2)
        left = int(chance.integers(1, RESOLUTION - 1 - sides.sum()))
        lefts = [left, int(chance.integers(left + sides[0], RESOLUTION - sides[1]))]
        spots = [(int(s), x, int(chance.integers(*STANDS)) - int(s)) for s, x in zip(sides, lefts, strict=True)]
        self.boxes = [
            box_of(render(replace(empty, objects=(ObjectSpec(noun, None, *spot),))).masks[0])
            for noun, spot in zip(self.nouns, chance.permutation(spots).tolist(), strict=True)
        ]


def ground(place: str, seed: int) -> SceneSpec:
    """Return a scene of a place with nothing in it."""
    return replace(sample(FIRST_SEED + seed, WORLD), objects=(), background=place, background_colour=None)


def _placed(readings: Sequence[Reading], told: Sequence[_Boxes]) -> tuple[float, float, float]:
    """Return how often things are in their box, in the other's, and how often the background is right."""
    pairs = list(zip(readings, told, strict=True))
    own = [in_place(r, n, b) for r, one in pairs for n, b in zip(one.nouns, one.boxes, strict=True)]
    other = [in_place(r, n, b) for r, one in pairs for n, b in zip(one.nouns, reversed(one.boxes), strict=True)]
    return mean(own), mean(other), mean(r.background == one.place for r, one in pairs)
