"""Canvases of windows, regions and layers: MultiDiffusion and Collage Diffusion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from engine.types import Noise, Sampler
from models.bozzetto.bed import (
    FIRST_SEED,
    SCALE,
    STEPS,
    WORLD,
    Bed,
    Cells,
    Pixels,
    backgrounds_db,
    box_of,
    grown,
    image_value,
    in_place,
    mask_value,
    prompt_of,
    shown,
    subjects,
)
from models.bozzetto.judge import Reading, read
from models.bozzetto.judge.metrics import features, frechet
from models.bozzetto.methods.figures import Figure, Measured, mean
from models.bozzetto.scenes import RESOLUTION, Scene, render, sample
from models.bozzetto.scenes.spec import ObjectSpec, SceneSpec
from models.bozzetto.scenes.vocabulary import BACKGROUND_WORDS

SCENERY = ("beach", "forest", "snow", "desert")
WIDE = 3 * RESOLUTION
STRIDE, CELL = RESOLUTION // 4, 8
# Published is .4 on 64 x 64 cells. A thing that is a quarter as many cells wide shows at a quarter of that noise
# (Hoogeboom et al. 2023, arXiv 2301.11093, section 2.3), which here comes at .8 of the steps.
BOOTSTRAP = 0.7
DRAWN_SCENES = 200
LAYERS = ((2, 46), (66, 46))  # upper left corners of two layers
SIDE = 60  # the largest of two things in a picture (50 to 60): one whose size is not said is larger still (68 to 84)
# Strength of a held layer. Guidance moves what is free at so little noise and helps little there (Kynkaanniemi et al.
# 2024, arXiv 2404.07724): it ends where held layers are free.
HELD = 0.2


def multidiffusion(bed: Bed, seeds: int) -> Measured:
    """Wide canvases keep their background in every crop and show no seams; controls: one pass, separate tiles."""
    names = [SCENERY[i % len(SCENERY)] for i in range(seeds)]
    prompts = [prompt_of("tree", name) for name in names]
    plain, canvas = bed.guider(bed.texts(prompts)), bed.empty(seeds, WIDE)
    fused = bed("fuse_windows", plain, RESOLUTION, STRIDE, weight="ramp")
    wide, single = (bed.decode(bed.run(guider, canvas)) for guider in (fused, plain))
    tiles = np.concatenate([bed.sample(prompts, 1000 * (k + 1)) for k in range(WIDE // RESOLUTION)], 2)
    around = bed.run(bed("fuse_windows", plain, RESOLUTION, STRIDE, wrap=True, weight="ramp"), canvas)
    wrapped = np.roll(_wrapped(bed, around), RESOLUTION // 2, 2)  # the seam lies at half a picture
    flat = np.roll(wide, RESOLUTION // 2, 2)
    borders, ends = range(STRIDE, WIDE, STRIDE), [RESOLUTION // 2]
    figures = (
        Figure("background in every crop (control: the model on the whole canvas at once)", _scenery(wide, names), 0.9,
               _scenery(single, names), seeds),
        Figure("gradient at window borders over that at other borders of cells (control: separate tiles)",
               _seams(wide, borders), 1.05, _seams(tiles, range(RESOLUTION, WIDE, RESOLUTION)), seeds, "seams",
               margin=0.5, most=True),
        Figure("gradient where the ends meet, wrapped (control: not wrapped)", _seams(wrapped, ends), 1.05,
               _seams(flat, ends), seeds, "wrap", most=True),
        Figure("Frechet distance of crops, of that of single pictures (control: crops of one pass)",
               *_distances(wide, tiles, single, names), seeds, "frechet", most=True),
    )  # fmt: skip
    return Measured(figures, {"fused windows": wide[0], "separate tiles": tiles[0]})


def _wrapped(bed: Bed, latent: object) -> Pixels:
    return shown(bed("vae_decode_wrapped", latent, bed.vae))


def _scenery(pictures: Pixels, names: Sequence[str]) -> float:
    """Return the share of crops, half a picture apart, in which the judge reads the background."""
    lefts = range(0, pictures.shape[2] - RESOLUTION + 1, RESOLUTION // 2)
    crops = [read(pictures[:, :, x : x + RESOLUTION]) for x in lefts]
    return mean(r.background == name for crop in crops for r, name in zip(crop, names, strict=True))


def _seams(pictures: Pixels, borders: Sequence[int] | range) -> float:
    """Return the mean step of brightness across some columns, over that across the other borders of latent cells.

    A decoder steps at borders of cells more than within them; windows begin at such borders.
    """
    steps = np.abs(np.diff(pictures.astype(float).mean(3), axis=2)).mean((0, 1))
    others = [c for c in range(CELL, pictures.shape[2], CELL) if c not in borders]
    return float(steps[[b - 1 for b in borders]].mean() / steps[[c - 1 for c in others]].mean())


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

    The boxes are those of the things as they are drawn: no bus fills a box that is higher than wide. They are as large
    as two of them side by side can be, since prompts that say no size draw things that would fill more than that.
    """
    told = subjects(seeds)
    nouns, places = [(s.noun, s.other) for s in told], [s.place for s in told]
    boxes = [tuple(box_of(_thing(n, p, corner).masks[0]) for n, corner in zip(pair, LAYERS, strict=True))
             for pair, p in zip(nouns, places, strict=True)]  # fmt: skip
    parts = [bed.texts([prompt_of(pair[k], place) for pair, place in zip(nouns, places, strict=True)]).map(
        mask=mask_value([grown(pair[k], CELL) for pair in boxes]).values) for k in range(2)]  # fmt: skip
    behind = bed.texts([BACKGROUND_WORDS[place][0] for place in places])
    everything = bed("combine_conditioning", bed("combine_conditioning", *parts), behind)
    averaged = bed.guider(everything)
    grown_inside = bed("bootstrap_regions", averaged, bed.vae, BOOTSTRAP, 20, 0)
    made, loose = (bed.decode(bed.run(g, bed.empty(seeds))) for g in (grown_inside, averaged))
    plain = bed.sample([prompt_of(f"{a} to the left of a {b}", p) for (a, b), p in zip(nouns, places, strict=True)])
    (done, leaked, kept), (without, *_), (control, mixed, _) = (
        _boxes(read(x), nouns, boxes, places) for x in (made, loose, plain)
    )
    figures = (
        Figure("thing in its box (control: one prompt names both)", done, 0.75, control, 2 * seeds),
        Figure("thing in the other's box", leaked, 0.1, mixed, 2 * seeds, "leakage", most=True),
        Figure("thing in its box (control: no bootstrapping)", done, 0.75, without, 2 * seeds, "bootstrap",
               margin=0.15),
        Figure("background as told", kept, 0.85, None, seeds, "background"),
    )  # fmt: skip
    return Measured(figures, {f"{told[0].noun} | {told[0].other}": made[0], "no bootstrapping": loose[0],
                              "one prompt": plain[0]})  # fmt: skip


def _thing(noun: str, place: str, corner: tuple[int, int], seed: int = 0) -> Scene:
    """Return a scene of one thing with its square's upper left corner there."""
    return render(replace(_ground(place, seed), objects=(ObjectSpec(noun, None, SIDE, *corner),)))


def _ground(place: str, seed: int) -> SceneSpec:
    return replace(sample(FIRST_SEED + seed, WORLD), objects=(), background=place, background_colour=None)


def _boxes(
    readings: Sequence[Reading], nouns: Sequence[tuple[str, str]], boxes: Sequence[tuple[Cells, ...]],
    places: Sequence[str],
) -> tuple[float, float, float]:  # fmt: skip
    """Return how often things are in their box, in the other's, and how often the background is right."""
    own = [in_place(r, n, b) for r, pair, where in zip(readings, nouns, boxes, strict=True)
           for n, b in zip(pair, where, strict=True)]  # fmt: skip
    other = [in_place(r, n, b) for r, pair, where in zip(readings, nouns, boxes, strict=True)
             for n, b in zip(pair, reversed(where), strict=True)]  # fmt: skip
    return mean(own), mean(other), mean(r.background == p for r, p in zip(readings, places, strict=True))


class _Collage:
    """A background and two cut-outs on it that do not fit: too bright, hard edges.

    Which of them is on the left only the layers say: a prompt that says it too needs no collage for it.
    """

    def __init__(self, bed: Bed, seed: int) -> None:
        told = subjects(seed + 1)[seed]
        self.nouns, self.prompt = (told.noun, told.other), prompt_of(f"{told.noun} next to a {told.other}", told.place)
        corners = LAYERS if seed % 2 else LAYERS[::-1]
        things = [_thing(noun, told.place, corner, seed) for noun, corner in zip(self.nouns, corners, strict=True)]
        masks = [t.alphas[0] for t in things]
        layers = [np.clip(t.image.astype(int) + 64, 0, 255).astype(np.uint8) for t in things]
        behind, *over = (image_value(x[None]) for x in (render(_ground(told.place, seed)).image, *layers))
        self.composed = bed("compose_layers", behind, over, [mask_value([m]) for m in masks])
        self.masks: list[Cells] = masks


def collage(bed: Bed, seeds: int) -> Measured:
    """Cut-outs become one picture, each in its place; controls: the prompt alone, SDEdit, the autoencoder."""
    done, edited, prompted = (list[bool]() for _ in range(3))
    calm, rough, still, moved = (list[float]() for _ in range(4))
    pictures: dict[str, Pixels] = {}
    for i in range(seeds):
        one = _Collage(bed, i)
        text, guide = bed.text(one.prompt), bed("vae_encode", one.composed.image, bed.vae)
        look = bed("layer_attention", bed.clip, one.prompt, "\n".join(one.nouns), one.composed.visible)
        sigmas = bed("sigmas_by_strength", bed.model, "simple", STEPS, 0.7)
        how = {"guider": bed.guider(text), "sampler": Sampler("ddim"), "sigmas": sigmas, "latent": guide,
               "noise": Noise(i)}  # fmt: skip
        made = bed.decode(bed("sample_edit", control=look, **how).latent)
        free = bed.decode(bed("sdedit", bed.model, text, bed.text(""), guide, sigmas, seed=i, cfg=SCALE))
        strengths = bed("layer_strengths", one.composed.visible, [HELD, 0.9], HELD)
        held = bed("per_pixel_strength", guide, strengths)
        calmed = bed("cfg_guider", bed.model, text, bed.text(""), SCALE, end=1 - HELD)
        partly = bed.decode(bed("sample_edit", blend=held, control=look, **how | {"guider": calmed}).latent)
        own, plain = bed.decode(guide), bed.sample([one.prompt], i)
        for picture, marks in ((made, done), (free, edited), (plain, prompted)):
            (reading,) = read(picture)
            marks += [in_place(reading, n, m) for n, m in zip(one.nouns, one.masks, strict=True)]
        hard = _rim(shown(one.composed.image)[0], one.masks)
        calm.append(_rim(made[0], one.masks) / hard)
        rough.append(_rim(own[0], one.masks) / hard)
        still += backgrounds_db(partly, own, [~one.masks[0]])
        moved += backgrounds_db(partly, own, [~one.masks[1]])
        pictures = pictures or {"collage": own[0], "one picture": made[0], "left held": partly[0]}
    figures = (
        Figure("layer found in its place (control: the prompt alone)", mean(done), 0.8, mean(prompted), 2 * seeds,
               margin=0.5),
        Figure("layer found in its place (control: SDEdit)", mean(done), 0.8, mean(edited), 2 * seeds, "attention",
               margin=0.15),
        Figure("energy of gradients at edges of layers, of the collage's (control: decoder)", mean(calm), 0.6,
               mean(rough), seeds, "harmony", most=True),
        Figure("layer of strength .2 kept, dB (control: the layer of .9)", mean(still), 28.0, mean(moved), seeds,
               "held", why="a drawn scene too comes back below it from that much noise, without guidance"),
    )  # fmt: skip
    return Measured(figures, pictures)


def _rim(picture: Pixels, masks: Sequence[Cells]) -> float:
    """Return the mean energy (square) of the gradient on the borders of layers."""
    energy = np.square(np.gradient(picture.astype(float).mean(2))).sum(0)
    rim = np.any(np.stack([grown(m, 2) & ~_shrunk(m) for m in masks]), 0)
    return float(energy[rim].mean())


def _shrunk(mask: Cells) -> Cells:
    return ~grown(~mask, 2)
