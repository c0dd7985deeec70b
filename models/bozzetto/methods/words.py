"""Edits by words and their attention: Prompt-to-Prompt, real pictures, paint-with-words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from engine.types import Latent, Noise, Sampler, TokenMap
from models.bozzetto.attention import localisation
from models.bozzetto.bed import (
    LIKE,
    SCALE,
    Bed,
    Cells,
    Pixels,
    background_db,
    before,
    caption_of,
    decibels,
    in_place,
    in_places,
    mask_value,
    pairs,
    prompt_of,
    rectangle,
    subjects,
    swaps,
)
from models.bozzetto.judge import read
from models.bozzetto.methods.figures import Figure, Measured, mean
from models.bozzetto.scenes import RESOLUTION

FACTORS = (-2.0, -1.0, 0.0, 0.5, 1.0, 2.0)
REAL_SCALE = 5.0
CROSS, ITSELF, SWAPPED = 0.8, 0.8, 0.2  # parts of the steps: words, places, and the word that is swapped
OUTLINE = 0.3  # where the swapped words look, places are free, or on the latent's own grid the old outline stays


class _Pairs:
    """Prompts and their edits, sampled in pairs; `tokens`: the one token map that serves all of them."""

    def __init__(self, bed: Bed, sources: Sequence[str], targets: Sequence[str], mode: str = "replace") -> None:
        self.bed, self.sources, self.targets = bed, bed.texts(sources), bed.texts(targets)
        maps = [bed("align_prompts", bed.clip, a, b, mode).tokens for a, b in zip(sources, targets, strict=True)]
        self.tokens: TokenMap = maps[0]
        if any(not m.mapping.equal(self.tokens.mapping) or not m.own.equal(self.tokens.own) for m in maps):
            raise ValueError("these prompts cannot share a batch: their tokens are aligned differently")
        self.words = [(m.source, m.target) for m in maps]

    def sample(self, *, control: Any = None, blend: Any = None, scale: float = SCALE, negative: Any = None,
               latent: Latent | None = None, sigmas: Any = None) -> Any:  # fmt: skip
        """Return the pair of batches; without a latent from noise."""
        bed = self.bed
        start = latent or bed.empty(len(self.sources.conds[0].tokens))
        return bed(
            "sample_pair", bed.guider(self.targets, scale, negative), self.sources, Sampler("ddim"),
            sigmas or bed.sigmas(), start, noise=None if latent else Noise(0), control=control, blend=blend,
        )  # fmt: skip

    def swap(self, index: int = 1) -> Any:
        """Keep the layout, and let the `index`-th words, which are swapped, look as themselves after a few steps.

        The pairs of a batch differ in their words, but not in their places: the map of the first serves all.
        """
        swapped = {self.words[0][1][index][0]: SWAPPED}
        return self.bed("inject_attention", self.tokens, CROSS, ITSELF, swapped, outline=OUTLINE)

    def local(self, index: int, **options: Any) -> Any:
        """Return a local blend of the `index`-th words, which differ by picture but not by place."""
        (old, _), (new, _) = self.words[0][0][index], self.words[0][1][index]
        return self.bed("local_blend", self.tokens, old, new, **options)


class _Seen:
    """Where the things were, where the new ones are, and how well all else was kept."""

    def __init__(self, pictures: tuple[Pixels, Pixels], old: Sequence[str], new: Sequence[str]) -> None:
        self.done: list[bool] = []
        self.kept: list[float] = []
        self.places: list[Cells | None] = []
        for a, b, x, y, o, n in zip(*pictures, read(pictures[0]), read(pictures[1]), old, new, strict=True):
            place, thing = x.find(o), y.find(n)
            self.places.append(None if place is None else place.mask)
            if place is not None:  # else the model did not draw what is to be edited
                self.done.append(in_place(y, n, place.mask))
                self.kept.append(background_db(a, b, place.mask, place.mask if thing is None else thing.mask))


def prompt_to_prompt(bed: Bed, seeds: int) -> Measured:
    """A word is swapped on generated pictures, the thing stays in place; control: the same noise, no injection."""
    told = swaps(seeds)
    old, new = [s.noun for s in told], [s.other for s in told]
    pair = _Pairs(bed, [s.prompts[0] for s in told], [s.prompts[1] for s in told])
    inject = pair.swap()
    runs = [pair.sample(**how) for how in (
        {"control": inject}, {"control": inject, "blend": pair.local(1)}, {})]  # fmt: skip
    pictures = [(bed.decode(r.source), bed.decode(r.edited)) for r in runs]
    plain, local, control = (_Seen(p, old, new) for p in pictures)
    n = len(plain.done)
    why = "few of the pictures show what is to be swapped" if n < seeds / 2 else ""
    figures = (
        Figure("new thing in the old one's place (control: no injection)", mean(plain.done), 0.8, mean(control.done),
               n, why=why),
        Figure("background kept, dB (control: no injection)", mean(plain.kept), 24.0, mean(control.kept), n,
               "background", margin=6.0),
        Figure("new thing in place with local blend", mean(local.done), 0.75, mean(control.done), n, "local"),
        Figure("background kept with local blend, dB", mean(local.kept), 32.0, mean(control.kept), n,
               "local_background", margin=6.0),
        *_refined(bed, seeds),
        _arrows(bed, min(seeds, 4)),
        *_looked(bed, runs[2], told, plain.places),
    )  # fmt: skip
    shown = {old[0]: pictures[0][0][0], new[0]: pictures[0][1][0], "local blend": pictures[1][1][0],
             "no injection": pictures[2][1][0]}  # fmt: skip
    return Measured(figures, shown)


def _refined(bed: Bed, seeds: int) -> tuple[Figure, ...]:
    told = subjects(seeds)
    prompts = [s.prompts[0] for s in told]
    pair = _Pairs(bed, prompts, [f"{p}, watercolor" for p in prompts], "refine")
    runs = (pair.sample(control=bed("inject_attention", pair.tokens, 0.6, 0.2)), pair.sample())
    pictures = [(bed.decode(r.source), bed.decode(r.edited)) for r in runs]
    nouns = [s.noun for s in told]
    kept, lost = (mean(_Seen(p, nouns, nouns).done) for p in pictures)
    styled, before_it = (mean(r.style == "watercolor" for r in read(x)) for x in (pictures[0][1], pictures[0][0]))
    return (
        Figure("added style (control: before)", styled, 0.8, before_it, seeds, "refine"),
        Figure("thing kept in place under a new style (control: no injection)", kept, 0.8, lost, seeds,
               "refine_place"),
    )  # fmt: skip


def _arrows(bed: Bed, n: int) -> Figure:
    """How red a red car is, as the word's factor rises; control: the factor of another word."""
    prompt = prompt_of("red car", "beach")
    pair = _Pairs(bed, [prompt] * n, [prompt] * n)
    keep = bed("inject_attention", pair.tokens, 1.0, 0.4)

    def order(word: str) -> float:
        redness = []
        for factor in FACTORS:
            turned = bed("reweight_words", bed.clip, prompt, {word: factor})
            out = bed.decode(pair.sample(control=bed("combine_attention", keep, turned)).edited).astype(float)
            redness.append((out[..., 0] - out[..., 1:].mean(-1)).mean((1, 2)))
        return mean(spearmanr(FACTORS, column).statistic for column in np.array(redness).T)

    return Figure("order of redness and the factor of 'red' (control: of 'beach')", order("red"), 0.8, order("beach"),
                  n, "arrows")  # fmt: skip


def _looked(bed: Bed, run: Any, told: Sequence[Any], places: Sequence[Cells | None]) -> tuple[Figure, ...]:
    """Where the thing's word looked, against what the judge sees; control: where the place's last word looked."""
    maps: dict[str, list[Any]] = {"thing": [], "place": []}
    truth = []
    for i, (s, place) in enumerate(zip(told, places, strict=True)):
        if place is None:
            continue
        truth.append(place)
        prompt = s.prompts[0]
        for key, word in (("thing", s.noun), ("place", prompt.split()[-1])):
            found = bed("attention_of_words", run.attention, bed.clip, prompt, word, row=i).heatmap
            maps[key].append(found.values[0].numpy())
    if not truth:
        return ()
    thing, other = (localisation(np.stack(m), np.stack(truth)) for m in (maps["thing"], maps["place"]))
    return (
        Figure("a noun's attention points at its thing (control: the place's word)", thing["pointing"], 0.8,
               other["pointing"], len(truth), "pointing"),
        Figure("IoU of a noun's attention and its thing", thing["pointing_iou"], 0.35, other["pointing_iou"],
               len(truth), "maps"),
    )  # fmt: skip


def null_text(bed: Bed, seeds: int) -> Measured:
    """Real pictures under guidance: three ways to get them back, and a swap on them; control: plain inversion."""
    told = pairs(seeds, "swap")
    old = [p.before.spec.objects[0].noun for p in told]
    new = [LIKE[noun] for noun in old]
    clean = bed.encode(before(told))
    captions = [[caption_of(p.before, n) for p, n in zip(told, side, strict=True)] for side in (old, new)]
    pair = _Pairs(bed, captions[0], captions[1])
    own, sigmas = bed.decode(clean), bed.sigmas(50)
    made = bed("ddim_invert", bed.model, pair.sources, clean, sigmas)
    few = min(seeds, 2)  # learning takes a minute a picture

    def back(negative: Any) -> float:
        out = bed.decode(bed("replay", made.trajectory, bed.guider(pair.sources, REAL_SCALE, negative)))
        return mean(map(decibels, out, own))

    learnt, wide = _learnt(bed, told[:few], old)
    plain, own_negative = back(None), back(bed("negative_prompt_inversion", pair.sources))
    inject = pair.swap()
    how = {"control": inject, "latent": made.latent, "sigmas": sigmas, "scale": REAL_SCALE}
    direct = pair.sample(blend=bed("combine_blends", bed("direct_inversion", made.trajectory), pair.local(1)), **how)
    simple = pair.sample(**how)
    swapped, control = (bed.decode(run.edited) for run in (direct, simple))
    places = [p.before.masks[0] for p in told]
    kept, lost = (mean(_kept(own, x, places, new)) for x in (swapped, control))
    figures = (
        Figure("dB of what comes back at guidance 5, null text (control: plain inversion)", learnt, 28.0, wide, few,
               why="ten corrections a step"),
        Figure("dB of what comes back, caption as negative prompt", own_negative, 26.0, plain, seeds, "negative"),
        Figure("dB of the source held by direct inversion", mean(map(decibels, bed.decode(direct.source), own)), 59.0,
               plain, seeds, "direct"),
        Figure("new thing in the old one's place, direct (control: plain inversion)",
               mean(in_places(swapped, new, places)), 0.7, mean(in_places(control, new, places)), seeds, "swap"),
        Figure("background kept in the swap, dB", kept, 24.0, lost, seeds, "background", margin=6.0),
    )  # fmt: skip
    return Measured(figures, {"picture": own[0], "swapped, direct": swapped[0], "swapped, plain": control[0]})


def _learnt(bed: Bed, told: Sequence[Any], nouns: Sequence[str]) -> tuple[float, float]:
    """Return dB with null text and with an empty prompt, for the same pictures."""
    texts = bed.texts([caption_of(p.before, n) for p, n in zip(told, nouns, strict=False)])
    clean = bed.encode(before(told))
    made = bed("ddim_invert", bed.model, texts, clean, bed.sigmas(50)).trajectory
    rows = bed.texts([""] * len(told))  # an embedding of its own for each picture
    found = bed("null_text_inversion", bed.model, made, texts, rows, scale=REAL_SCALE).negative
    outs = [bed.decode(bed("replay", made, bed.guider(texts, REAL_SCALE, n))) for n in (found, None)]
    own = bed.decode(clean)
    learnt, plain = (mean(map(decibels, out, own)) for out in outs)
    return learnt, plain


def _kept(own: Pixels, out: Pixels, places: Sequence[Cells], new: Sequence[str]) -> list[float]:
    things = [r.find(n) for r, n in zip(read(out), new, strict=True)]
    return [background_db(a, b, p, p if t is None else t.mask)
            for a, b, p, t in zip(own, out, places, things, strict=True)]  # fmt: skip


HALVES = (rectangle(0, 0, RESOLUTION // 2, RESOLUTION), rectangle(RESOLUTION // 2, 0, RESOLUTION // 2, RESOLUTION))


def paint_words(bed: Bed, seeds: int) -> Measured:
    """A word is painted left or right and its thing is there; control: the same noise, nothing painted."""
    told = subjects(seeds)
    nouns, places = [s.noun for s in told], [s.place for s in told]
    inside: list[bool] = []
    plain: list[bool] = []
    there: list[bool] = []
    picture: dict[str, Pixels] = {}
    for half, side in zip(HALVES, ("left", "right"), strict=True):
        for noun in sorted(set(nouns)):
            prompts = [prompt_of(n, p) for n, p in zip(nouns, places, strict=True) if n == noun]
            control = bed("paint_words", bed.clip, prompts[0], noun, mask_value([half]))
            guider, start = bed.guider(bed.texts(prompts)), bed.empty(len(prompts))
            for part, marks in ((control, inside), (None, plain)):
                out = bed("sample_edit", guider, Sampler("ddim"), bed.sigmas(), start, Noise(7), control=part).latent
                made = bed.decode(out)
                picture.setdefault(side if part else "unpainted", made[0])
                centres = [_centre_in(r.find(noun), half) for r in read(made)]
                marks += [c for c in centres if c is not None]
                there += [c is not None for c in centres] if part else []
    figures = (
        Figure("centre of the thing where it is painted (control: not painted)", mean(inside), 0.75, mean(plain),
               len(inside)),
        Figure("thing is there", mean(there), 0.9, None, len(there), "present"),
        *_two_painted(bed, seeds),
    )  # fmt: skip
    return Measured(figures, picture)


def _centre_in(thing: Any, place: Cells) -> bool | None:
    return None if thing is None else bool(place[int(thing.centre[1]), int(thing.centre[0])])


def _two_painted(bed: Bed, seeds: int) -> tuple[Figure, ...]:
    """Two things in one prompt, which the model can hardly draw, painted on the wrong sides of each other."""
    told = subjects(seeds)
    marks: dict[bool, list[bool]] = {True: [], False: []}
    for i, s in enumerate(told):
        prompt = prompt_of(f"{s.noun} and a {s.other}", s.place)
        first = bed("paint_words", bed.clip, prompt, s.noun, mask_value([HALVES[0]]))
        both = bed("paint_words", bed.clip, prompt, s.other, mask_value([HALVES[1]]), before=first)
        for painted in (True, False):
            out = bed("sample_edit", bed.guider(bed.text(prompt)), Sampler("ddim"), bed.sigmas(), bed.empty(),
                      Noise(i), control=both if painted else None).latent  # fmt: skip
            (reading,) = read(bed.decode(out))
            marks[painted] += [bool(_centre_in(reading.find(n), half))
                               for n, half in zip((s.noun, s.other), HALVES, strict=True)]  # fmt: skip
    return (
        Figure("two things, each found where it is painted (control: not painted)", mean(marks[True]), 0.75,
               mean(marks[False]), 2 * seeds, "two", why="the model hardly draws two things at once"),
    )  # fmt: skip
