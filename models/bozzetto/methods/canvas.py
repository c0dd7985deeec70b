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
    grown,
    image_value,
    in_place,
    mask_value,
    prompt_of,
    rectangle,
    shown,
    subjects,
)
from models.bozzetto.judge import Reading, read
from models.bozzetto.methods.figures import Figure, Measured, mean
from models.bozzetto.scenes import RESOLUTION, Scene, render, sample
from models.bozzetto.scenes.spec import ObjectSpec
from models.bozzetto.scenes.vocabulary import BACKGROUND_WORDS

SCENERY = ("beach", "forest", "snow", "desert")
WIDE = 3 * RESOLUTION
BOXES = (rectangle(4, 40, 56, 72), rectangle(68, 40, 56, 72))
LAYERS = ((4, 52), (70, 52))  # upper left corners of two layers
SIDE = 54


def multidiffusion(bed: Bed, seeds: int) -> Measured:
    """Wide canvases keep their background in every crop and show no seams; controls: one pass, separate tiles."""
    n = max(1, seeds // 2)
    names = [SCENERY[i % len(SCENERY)] for i in range(n)]
    prompts = [prompt_of("tree", name) for name in names]
    plain, canvas = bed.guider(bed.texts(prompts)), bed.empty(n, WIDE)
    fused = bed("fuse_windows", plain, RESOLUTION, RESOLUTION // 4)
    wide, single = (bed.decode(bed.run(guider, canvas)) for guider in (fused, plain))
    tiles = np.concatenate([bed.sample(prompts, 1000 * (k + 1)) for k in range(WIDE // RESOLUTION)], 2)
    borders = range(RESOLUTION, WIDE, RESOLUTION)
    around = bed.run(bed("fuse_windows", plain, RESOLUTION, RESOLUTION // 4, wrap=True), canvas)
    wrapped = np.roll(_wrapped(bed, around), RESOLUTION // 2, 2)  # the seam lies at half a picture
    flat = np.roll(wide, RESOLUTION // 2, 2)
    figures = (
        Figure("background in every crop (control: the model on the whole canvas at once)", _scenery(wide, names), 0.9,
               _scenery(single, names), n),
        Figure("gradient at window borders over that elsewhere (control: separate tiles)", _seams(wide, borders), 1.05,
               _seams(tiles, borders), n, "seams", most=True),
        Figure("gradient where the ends meet, wrapped (control: not wrapped)", _seams(wrapped, [RESOLUTION // 2]),
               1.05, _seams(flat, [RESOLUTION // 2]), n, "wrap", most=True),
    )  # fmt: skip
    return Measured(figures, {"fused windows": wide[0], "separate tiles": tiles[0]})


def _wrapped(bed: Bed, latent: object) -> Pixels:
    image = bed("vae_decode_wrapped", latent, bed.vae)
    pixels: Pixels = (image.pixels.clamp(0, 1) * 255).round().byte().numpy()
    return pixels


def _scenery(pictures: Pixels, names: Sequence[str]) -> float:
    """Return the share of crops, half a picture apart, in which the judge reads the background."""
    lefts = range(0, pictures.shape[2] - RESOLUTION + 1, RESOLUTION // 2)
    crops = [read(pictures[:, :, x : x + RESOLUTION]) for x in lefts]
    return mean(r.background == name for crop in crops for r, name in zip(crop, names, strict=True))


def _seams(pictures: Pixels, borders: Sequence[int] | range) -> float:
    """Return the mean step of brightness across some columns, over that across all."""
    steps = np.abs(np.diff(pictures.astype(float).mean(3), axis=2)).mean((0, 1))
    return float(steps[[b - 1 for b in borders]].mean() / steps.mean())


def regions(bed: Bed, seeds: int) -> Measured:
    """Two things in two boxes; controls: one prompt that names both, and no bootstrapping."""
    told = subjects(seeds)
    nouns = [(s.noun, s.other) for s in told]
    parts = [bed.texts([prompt_of(pair[k], s.place) for pair, s in zip(nouns, told, strict=True)]).map(
        mask=mask_value([box]).values) for k, box in enumerate(BOXES)]  # fmt: skip
    behind = bed.texts([BACKGROUND_WORDS[s.place][0] for s in told])
    everything = bed("combine_conditioning", bed("combine_conditioning", *parts), behind)
    averaged = bed.guider(everything)
    grown_inside = bed("bootstrap_regions", averaged, bed.vae, 0.4, 20, 0)
    made, loose = (bed.decode(bed.run(g, bed.empty(seeds))) for g in (grown_inside, averaged))
    plain = bed.sample([f"{prompt_of(f'{a} to the left of a {b}', s.place)}" for (a, b), s in
                        zip(nouns, told, strict=True)])  # fmt: skip
    (done, leaked, kept), (without, *_), (control, mixed, _) = (
        _boxes(read(x), nouns, [s.place for s in told]) for x in (made, loose, plain)
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


def _boxes(
    readings: Sequence[Reading], nouns: Sequence[tuple[str, str]], places: Sequence[str]
) -> tuple[float, float, float]:
    """Return how often things are in their box, in the other's, and how often the background is right."""
    own = [in_place(r, n, b) for r, pair in zip(readings, nouns, strict=True)
           for n, b in zip(pair, BOXES, strict=True)]  # fmt: skip
    other = [in_place(r, n, b) for r, pair in zip(readings, nouns, strict=True)
             for n, b in zip(pair, reversed(BOXES), strict=True)]  # fmt: skip
    return mean(own), mean(other), mean(r.background == p for r, p in zip(readings, places, strict=True))


class _Collage:
    """A background and two cut-outs on it that do not fit: too bright, hard edges."""

    def __init__(self, bed: Bed, seed: int) -> None:
        told = subjects(seed + 1)[seed]
        self.nouns, self.prompt = (told.noun, told.other), prompt_of(f"{told.noun} left of a {told.other}", told.place)
        ground = replace(sample(FIRST_SEED + seed, WORLD), objects=(), background=told.place, background_colour=None)
        things: list[Scene] = [
            render(replace(ground, objects=(ObjectSpec(noun, None, SIDE, x, y),)))
            for noun, (x, y) in zip(self.nouns, LAYERS, strict=True)
        ]
        masks = [t.alphas[0] for t in things]
        layers = [np.clip(t.image.astype(int) + 64, 0, 255).astype(np.uint8) for t in things]
        self.composed = bed(
            "compose_layers", image_value(render(ground).image[None]), [image_value(x[None]) for x in layers],
            [mask_value([m]) for m in masks],
        )  # fmt: skip
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
        strengths = bed("layer_strengths", one.composed.visible, [0.2, 0.9], 0.2)
        held = bed("per_pixel_strength", guide, strengths)
        partly = bed.decode(bed("sample_edit", blend=held, control=look, **how).latent)
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
        Figure("edges of layers, of the collage's (control: decoder)", mean(calm), 0.6, mean(rough), seeds, "harmony",
               most=True),
        Figure("layer of strength .2 kept, dB (control: the layer of .9)", mean(still), 28.0, mean(moved), seeds,
               "held"),
    )  # fmt: skip
    return Measured(figures, pictures)


def _rim(picture: Pixels, masks: Sequence[Cells]) -> float:
    """Return the mean gradient on the borders of layers."""
    grey = picture.astype(float).mean(2)
    gradient = np.hypot(*np.gradient(grey))
    rim = np.any(np.stack([grown(m, 2) & ~_shrunk(m) for m in masks]), 0)
    return float(gradient[rim].mean())


def _shrunk(mask: Cells) -> Cells:
    return ~grown(~mask, 2)
