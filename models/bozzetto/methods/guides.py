"""Edits that begin from a noised guide: SDEdit and Blended Latent Diffusion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from engine.types import Latent, Noise, Sampler
from models.bozzetto.bed import (
    FIRST_SEED,
    MARGIN,
    SCALE,
    STEPS,
    WORLD,
    Bed,
    Cells,
    Pixels,
    background_db,
    backgrounds_db,
    before,
    box_of,
    grown,
    image_value,
    in_cells,
    in_place,
    mask_value,
    pairs,
    prompt_of,
    repeated,
    shown,
    subjects,
)
from models.bozzetto.judge import Reading, read
from models.bozzetto.methods.figures import Figure, Measured, mean
from models.bozzetto.scenes import Scene, render, sample
from models.bozzetto.scenes.holdout import COLOUR_PAIRS
from models.bozzetto.scenes.pairs import Pair
from models.bozzetto.scenes.spec import ObjectSpec
from models.bozzetto.scenes.vocabulary import BACKGROUND_WORDS, COLOURS, START_COLOURS, TINTABLE

STARTS = (0.1, 0.3, 0.5, 0.7, 0.9)  # parts of the noise levels
BRUSH, FEW = 23, 6  # the authors' strokes: a median filter and colours
RECOLOUR = 0.6  # where an edit begins whose prompt says what it makes
PASTED = 0.3  # where one of a collage begins
BRIGHT, RIM = 64, 2  # of a cut-out: levels of 8 bits, pixels of its old ground that it keeps
ROOM = 6  # pixels around what is edited

GUIDANCE = 6.0  # Blended's authors take 5 to 7.5
ENCODER = "bozzetto/encoder.safetensors"  # ranks; it is not the judge
EACH, SOME = 8, 4  # samples of a scene that are ranked
FITTED = 2  # fitting takes half a minute a picture
SIDE, LEFTS, TOP = 64, (2, 62), 44  # of things that are added, in pixels
CELL = 8  # pixels, the margin around masks: a cell, as 4 pixels are on the cards' bed, and so far the decoder sees
THIN = 3  # pixels of a stroke
FEATHER = 4.0  # pixels
NARROW = "things are seen, but narrower than their box: the model draws one thing large and in the middle"


def _named(thing: ObjectSpec, place: str) -> str:
    """Return a prompt that says a thing's colour, if it has one."""
    return prompt_of(f"{thing.colour} {thing.noun}" if thing.colour else thing.noun, place)


def _coloured(reading: Reading, thing: ObjectSpec) -> bool:
    """Say whether a thing is there, in its colour if it has one."""
    seen = reading.find(thing.noun)
    return seen is not None and thing.colour in (None, seen.colour)


def _right(pictures: Pixels, things: Sequence[ObjectSpec], places: Sequence[Cells]) -> list[bool]:
    """Say of each picture whether its thing is in its place and in its colour."""
    return [in_place(r, t.noun, p) and _coloured(r, t) for r, t, p in zip(read(pictures), things, places, strict=True)]


def _rim(picture: Pixels, mask: Cells) -> float:
    """Return the energy (mean square) of the gradient on the border of a mask."""
    energy = np.square(np.gradient(picture.astype(float).mean(2))).sum(0)
    return float(energy[grown(mask, 2) & grown(~mask, 2)].mean())


def _from(bed: Bed, guide: Latent, prompts: Sequence[str], start: float) -> Pixels:
    sigmas = bed("sigmas_by_strength", bed.model, "simple", STEPS, start)
    texts = bed.texts(prompts)
    return bed.decode(bed("sdedit", bed.model, texts, bed.text(""), guide, sigmas, seed=0, cfg=SCALE))


def sdedit(bed: Bed, seeds: int) -> Measured:
    """Strokes become a picture, a collage is made one, a painted blob recolours a thing."""
    parts = [part(bed, seeds) for part in (_strokes, _composites, _recolour)]
    pictures = {name: picture for part in parts for name, picture in part.pictures.items()}
    return Measured(tuple(f for part in parts for f in part.figures), pictures)


def _strokes(bed: Bed, seeds: int) -> Measured:
    told = pairs(seeds, "swap")
    things, places = [p.before.spec.objects[0] for p in told], [p.before.masks[0] for p in told]
    strokes = shown(bed("simulate_strokes", image_value(before(told)), BRUSH, FEW))
    guide, prompts = bed.encode(strokes), [p.captions[0] for p in told]
    made = [_from(bed, guide, prompts, start) for start in STARTS]
    far = [float(np.sqrt(np.square(x.astype(float) - strokes).mean((1, 2, 3))).mean()) for x in made]
    real = [_realism(x, things) for x in made]
    free, faithful = STARTS.index(0.5), STARTS.index(0.1)
    figures = (
        Figure("thing of the strokes in its place and colour, at .5 (control: in the strokes)",
               mean(_right(made[free], things, places)), 0.8, mean(_right(strokes, things, places)), seeds),
        Figure("realism, the judge's certainty of the thing, at .5 (control: at .1)", real[free], 0.2, real[faithful],
               seeds, "realism", margin=0.2),
        Figure("rank correlation of .1 to .9 with distance to the strokes and with realism, the lesser",
               min(map(_rising, (far, real))), 0.9, None, seeds, "order"),
    )  # fmt: skip
    return Measured(figures, {"strokes": strokes[0], ".3": made[1][0], ".5": made[free][0], ".7": made[3][0]})


def _rising(values: Sequence[float]) -> float:
    """Return Spearman's rank correlation of values with their order."""
    n, off = len(values), np.argsort(np.argsort(values)) - np.arange(len(values))
    return 1 - 6 * int(np.square(off).sum()) / (n * (n**2 - 1))


def _realism(pictures: Pixels, things: Sequence[ObjectSpec]) -> float:
    """Return how certain the judge is of things, 0 where it does not see them."""
    return mean(max((o.certainty for o in r.objects if o.noun == t.noun), default=0.0)
                for r, t in zip(read(pictures), things, strict=True))  # fmt: skip


def _composites(bed: Bed, seeds: int) -> Measured:
    """Cut-outs, too bright and with a rim of their old ground, on other grounds."""
    told = pairs(seeds, "swap")
    grounds = [replace(sample(FIRST_SEED + seeds + i, WORLD), objects=()) for i in range(seeds)]
    things, cuts = [p.before.spec.objects[0] for p in told], [grown(p.before.masks[0], RIM) for p in told]
    bright = np.clip(before(told).astype(int) + BRIGHT, 0, 255).astype(np.uint8)
    pasted = np.where(np.stack(cuts)[..., None], bright, np.stack([render(g).image for g in grounds]))
    wide = mask_value([grown(c, ROOM) for c in cuts])
    guide = bed("set_latent_mask", bed.encode(pasted), wide)
    made = _from(bed, guide, [_named(t, g.background) for t, g in zip(things, grounds, strict=True)], PASTED)
    made = shown(bed("composite_images", image_value(pasted), image_value(made), wide))

    def energy(pictures: Pixels) -> float:
        return mean(_rim(x, c) / _rim(own, c) for x, own, c in zip(pictures, pasted, cuts, strict=True))

    kept = mean(r.find(t.noun) is not None for r, t in zip(read(made), things, strict=True))
    figures = (
        Figure("energy of gradients at edges of cut-outs, of the collage's (control: decoder)", energy(made), 0.5,
               energy(bed.decode(guide)), seeds, "composite", most=True),
        Figure("thing of the cut-out still there", kept, 0.9, None, seeds, "class"),
    )  # fmt: skip
    return Measured(figures, {"collage": pasted[0], "made one": made[0]})


def _recolour(bed: Bed, seeds: int) -> Measured:
    told = pairs(seeds, "colour")
    pictures, painted, wide = before(told), blobs(told), [grown(p.before.masks[0], ROOM) for p in told]
    things = [p.after.spec.objects[0] for p in told]
    prompts = [_named(t, p.after.spec.background) for t, p in zip(things, told, strict=True)]
    guide = bed.encode(painted)
    unmasked, edited, unpainted = (
        _from(bed, g, prompts, RECOLOUR) for g in (guide, *(bed("set_latent_mask", x, mask_value(wide))
                                                            for x in (guide, bed.encode(pictures))))
    )  # fmt: skip

    def right(made: Pixels) -> float:
        return mean(map(_coloured, read(made), things))

    ceiling = backgrounds_db(bed.decode(bed.encode(pictures)), pictures, wide)
    kept, lost = (
        mean(np.subtract(backgrounds_db(made, pictures, wide), ceiling)) for made in (edited, unmasked)
    )  # fmt: skip
    figures = (
        Figure("thing in the painted colour (control: nothing painted, the same prompt)", right(edited), 0.8,
               right(unpainted), seeds, "colour"),
        Figure("background kept, dB against the autoencoder's own (control: no mask)", kept, -0.5, lost, seeds,
               "background", margin=8.0),
    )  # fmt: skip
    return Measured(figures, {"painted": painted[0], "masked edit": edited[0]})


def blobs(told: Sequence[Pair]) -> Pixels:
    """Return pictures with the new colour painted flat over the thing."""
    painted = before(told)
    for picture, p in zip(painted, told, strict=True):
        picture[p.before.masks[0]] = COLOURS[str(p.after.spec.objects[0].colour)]
    return painted


def blended(bed: Bed, seeds: int) -> Measured:
    """Things are added in empty boxes and along thin strokes, replaced and removed; control: not blended."""
    parts = [part(bed, seeds) for part in (_added, _replaced, _removed)]
    pictures = {name: picture for part in parts for name, picture in part.pictures.items()}
    fitted = _fitted(bed, min(seeds, FITTED))
    return Measured((*(f for part in parts for f in part.figures), *fitted), pictures)


def _edited(
    bed: Bed, clean: Latent, prompts: Sequence[str], masks: Sequence[Cells] | None, strength: float = 1.0,
    dilations: int = 0,
) -> Pixels:  # fmt: skip
    """Edit inside masks, some pictures for each prompt and mask; without masks nothing is kept."""
    times = len(clean.samples) // len(prompts)
    texts, kept = repeated(bed.texts(prompts), times), None
    if masks is not None:
        kept = bed("keep_outside", clean, mask_value([m for m in masks for _ in range(times)]), dilations=dilations)
    made = bed("sample_edit", bed.guider(texts, GUIDANCE), Sampler("ddim"), bed.sigmas(STEPS, strength), clean,
               Noise(0), blend=kept)  # fmt: skip
    return bed.decode(made.latent)


def _pasted(bed: Bed, pictures: Pixels, made: Pixels, masks: Sequence[Cells]) -> Pixels:
    """Paste edits into the pictures; the border is soft and lies inside, so that the background stays to the bit."""
    soft = bed("feather_mask", mask_value(masks), FEATHER, "inside")
    return shown(bed("composite_images", image_value(pictures), image_value(made), soft))


def _scenes(seeds: int) -> list[Scene]:
    """Return scenes with a thing aside, half of them on each side, in one of the colours that it may have."""
    out = []
    for i, (p, s) in enumerate(zip(pairs(seeds, "swap"), subjects(seeds), strict=True)):
        free = [c for c in START_COLOURS if (s.other, c) not in COLOUR_PAIRS]
        colour = free[i % len(free)] if s.other in TINTABLE else None
        thing = ObjectSpec(s.other, colour, SIDE, LEFTS[i % 2], TOP)
        out.append(render(replace(p.before.spec, objects=(thing,), background=s.place, background_colour=None)))
    return out


def _added(bed: Bed, seeds: int) -> Measured:
    drawn = _scenes(seeds)
    things, boxes = [d.spec.objects[0] for d in drawn], [box_of(d.masks[0]) for d in drawn]
    prompts = [_named(t, d.spec.background) for t, d in zip(things, drawn, strict=True)]
    empty = np.stack([render(replace(d.spec, objects=())).image for d in drawn])
    clean, masks = bed.encode(empty), [in_cells(b) for b in boxes]
    many = replace(clean, samples=clean.samples.repeat_interleave(EACH, 0))
    every, plain = _edited(bed, many, prompts, masks), _edited(bed, clean, prompts, None)
    right = np.array(_right(every, _each(things), _each(boxes)))
    firsts = {n: _firsts(bed, every, prompts, boxes, n) for n in (SOME, EACH)}
    best = every[firsts[EACH]]
    ceiling, kept, lost = (backgrounds_db(x, empty, [grown(m, CELL - MARGIN) for m in masks])
                           for x in (bed.decode(clean), best, plain))  # fmt: skip
    seams = [_seam(_pasted(bed, empty, x, masks), drawn, masks) for x in (best, plain)]
    scattered = mean(_right(plain, things, boxes))
    figures = (
        Figure("added thing in its box and colour, best of four by the dual encoder", mean(right[firsts[SOME]]), 0.8,
               scattered, len(firsts[SOME]), why=NARROW),
        Figure("added thing, a single sample", mean(right), 0.65, scattered, len(right), "single", why=NARROW),
        Figure("thing in the box without blending", scattered, 0.3, None, seeds, "control", most=True),
        Figure("success of the first-ranked of eight (control: of any)", mean(right[firsts[EACH]]), 0.1, mean(right),
               seeds, "ranking", margin=0.1),
        Figure("background kept, dB against the autoencoder's own", mean(np.subtract(kept, ceiling)), -0.5,
               mean(np.subtract(lost, ceiling)), seeds, "background"),
        Figure("energy of gradients at the mask's border, off from the drawn picture's (control: a sample pasted)",
               seams[0], 0.2, seams[1], seeds, "seam", most=True),
        _thin(bed, clean, prompts, drawn),
    )  # fmt: skip
    return Measured(figures, {"empty scene": empty[0], "added": best[0]})


def _each(values: Sequence[Any]) -> list[Any]:
    return [v for v in values for _ in range(EACH)]


def _firsts(bed: Bed, every: Pixels, prompts: Sequence[str], boxes: Sequence[Cells], n: int) -> list[int]:
    """Return which picture of each `n` (of EACH of a scene) fits its prompt best in its box."""
    encoder, out = bed("load_dual_encoder", ENCODER), []
    for start in range(0, len(every), n):
        i = start // EACH
        some = image_value(every[start : start + n])
        out.append(start + int(bed("rank_images", encoder, some, prompts[i], mask_value([boxes[i]])).best))
    return out


def _seam(pictures: Pixels, drawn: Sequence[Scene], masks: Sequence[Cells]) -> float:
    """Return by which share the energy at the borders of masks is off from that of the drawn scenes."""
    own, there = (sum(map(_rim, x, masks)) for x in ([d.image for d in drawn], pictures))
    return abs(there / own - 1)


def _thin(bed: Bed, clean: Latent, prompts: Sequence[str], drawn: Sequence[Scene]) -> Figure:
    """Masks of one stroke across the box."""
    strokes = [_stroke(box_of(d.masks[0])) for d in drawn]
    found = [mean(map(_coloured, read(_edited(bed, clean, prompts, strokes, dilations=n)),
                      [d.spec.objects[0] for d in drawn])) for n in (2, 0)]  # fmt: skip
    return Figure(
        "thing along a stroke of 3 pixels, D = 2 (control: D = 0)",
        found[0],
        0.2,
        found[1],
        len(drawn),
        "thin",
        margin=0.2,
        why="a cell is 8 pixels: a stroke ends as a row of cells, which shows hardly a thing at either",
    )


def _stroke(box: Cells) -> Cells:
    """Return a straight stroke from the lower left to the upper right corner of a box."""
    ys, xs = np.where(box)
    ends = (int(xs.min()), int(ys.max())), (int(xs.max()), int(ys.min()))
    drawn = cv2.line(np.zeros(box.shape, np.uint8), *ends, 1, THIN)
    return drawn.astype(bool)


def _replaced(bed: Bed, seeds: int) -> Measured:
    """Success is the new thing in the old one's place and the rest within 1 dB of the autoencoder's."""
    told = pairs(seeds, "swap")
    pictures, masks = before(told), [grown(p.before.masks[0] | p.after.masks[0]) for p in told]
    things, places = [p.after.spec.objects[0] for p in told], [p.after.masks[0] for p in told]
    clean, prompts = bed.encode(pictures), [p.captions[1] for p in told]
    made, plain = (_edited(bed, clean, prompts, m, 0.9) for m in (masks, None))
    outside = [grown(in_cells(m), CELL - MARGIN) for m in masks]
    ceiling = np.array(backgrounds_db(bed.decode(clean), pictures, outside))

    def done(x: Pixels) -> float:
        kept = np.array(backgrounds_db(x, pictures, outside)) >= ceiling - 1
        return mean(kept & np.array(_right(x, things, places)))

    figure = Figure("new thing in the old one's place and the rest kept", done(made), 0.75, done(plain), seeds,
                    "replace")  # fmt: skip
    return Measured((figure,), {"scene": pictures[0], "replaced": made[0]})


def _removed(bed: Bed, seeds: int) -> Measured:
    told = pairs(seeds, "swap")
    pictures, masks = before(told), [grown(box_of(p.before.masks[0]), CELL) for p in told]
    prompts = [BACKGROUND_WORDS[p.before.spec.background][0] for p in told]
    made = _pasted(bed, pictures, _edited(bed, bed.encode(pictures), prompts, masks), masks)
    silent, full = (mean(not r.objects for r in read(x)) for x in (made, pictures))
    figure = Figure("no thing seen after the prompt of the empty place", silent, 0.8, full, seeds, "remove",
                    why="the model was taught no scene without a thing, and makes one")  # fmt: skip
    return Measured((figure,), {"removed": made[0]})


def _fitted(bed: Bed, n: int) -> tuple[Figure, Figure]:
    """A decoder fitted to edits whose inside is known: drawn scenes with the new thing."""
    gained, grew = [], []
    for p in pairs(n, "swap"):
        mask, latent = grown(p.before.masks[0] | p.after.masks[0]), bed.encode(p.after.image[None])
        fitted = bed("decode_refitted", latent, bed.vae, image_value(p.before.image[None]), mask_value([mask])).image
        (own,), (new,) = bed.decode(latent), shown(fitted)
        gained.append(background_db(new, p.before.image, mask) - background_db(own, p.before.image, mask))
        grew.append(_error(new, p.after.image, mask) / _error(own, p.after.image, mask) - 1)
    return (
        Figure("background by a fitted decoder, dB above the autoencoder's", mean(gained), 6.0, 0.0, n, "refit"),
        Figure("growth of the error inside by fitting", mean(grew), 0.1, None, n, "inside", most=True),
    )


def _error(a: Pixels, b: Pixels, mask: Cells) -> float:
    return float(np.square(a[mask].astype(float) - b[mask]).mean())
