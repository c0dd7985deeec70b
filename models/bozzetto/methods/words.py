"""Edits by words and their attention: Prompt-to-Prompt on generated pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from engine.types import Latent, Noise, Sampler, TokenMap
from models.bozzetto.attention import localisation
from models.bozzetto.bed import (
    IN_PLACE,
    SCALE,
    Bed,
    Cells,
    Pixels,
    background_db,
    in_place,
    overlap,
    prompt_of,
    subjects,
    swaps,
)
from models.bozzetto.judge import Reading, read
from models.bozzetto.methods.figures import Figure, Measured, mean
from models.bozzetto.methods.looks import TINTED

FACTORS = (-2.0, -1.0, 0.0, 0.5, 1.0, 2.0)
PARTS = (0.0, 0.4, 0.8, 1.0)
CROSS, ITSELF, SWAPPED = 0.8, 0.8, 0.2  # parts of the steps: words, places, and the word that is swapped
OUTLINE = 0.3  # where the swapped words look, places are free, or on the latent's own grid the old outline stays


class Pairs:
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


class Seen:
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
    pair = Pairs(bed, [s.prompts[0] for s in told], [s.prompts[1] for s in told])
    inject = pair.swap()
    runs = [pair.sample(**how) for how in (
        {"control": inject}, {"control": inject, "blend": pair.local(1)}, {})]  # fmt: skip
    pictures = [(bed.decode(r.source), bed.decode(r.edited)) for r in runs]
    plain, local, control = (Seen(p, old, new) for p in pictures)
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
        _bystanders(bed, seeds),
        *_refined(bed, seeds),
        *_arrows(bed, min(seeds, 4)),
        *_sweep(bed, min(seeds, 8)),
        *_looked(bed, runs[2], told, plain.places),
    )  # fmt: skip
    shown = {old[0]: pictures[0][0][0], new[0]: pictures[0][1][0], "local blend": pictures[1][1][0],
             "no injection": pictures[2][1][0]}  # fmt: skip
    return Measured(figures, shown)


def _bystanders(bed: Bed, seeds: int) -> Figure:
    """Of two things one is swapped; the other one's place and colour, which no word says, are to stay."""
    told = swaps(seeds)
    free = [[noun for noun in TINTED if noun not in (s.noun, s.other)] for s in told]
    others = [nouns[i % len(nouns)] for i, nouns in enumerate(free)]
    old, new = ([prompt_of(f"{noun} and a {other}", s.place) for (noun, s), other in zip(named, others, strict=True)]
                for named in ([(s.noun, s) for s in told], [(s.other, s) for s in told]))  # fmt: skip
    pair = Pairs(bed, old, new)
    runs = (pair.sample(control=pair.swap()), pair.sample())

    def same(run: Any) -> list[bool]:
        readings = zip(*(read(bed.decode(x)) for x in (run.source, run.edited)), others, strict=True)
        found = [(a.find(n), b.find(n)) for a, b, n in readings]
        return [b is not None and a.colour == b.colour and overlap(a.mask, b.mask) >= IN_PLACE
                for a, b in found if a is not None]  # fmt: skip

    kept, lost = (same(run) for run in runs)
    return Figure("another thing keeps its place and its unsaid colour (control: no injection)", mean(kept), 0.85,
                  mean(lost), len(kept), "others", margin=0.35,
                  why="houses keep their outlines, .95 alike, but some are read as orange that were red")  # fmt: skip


def _refined(bed: Bed, seeds: int) -> tuple[Figure, ...]:
    """A style is added, day in a field becomes night: the picture follows, the thing stays."""
    told = subjects(seeds)
    nouns, prompts = [s.noun for s in told], [s.prompts[0] for s in told]
    field, night = ([prompt_of(noun, place) for noun in nouns] for place in ("field", "night"))
    painted = [f"{p}, watercolor" for p in prompts]
    style = _changed(bed, nouns, prompts, painted, (0.6, 0.2), lambda r: r.style == "watercolor")
    dark = _changed(bed, nouns, field, night, (CROSS, 0.4), lambda r: r.background == "night")
    figures = []
    for row, what, (done, before, kept, lost) in (("refine", "added style", style), ("night", "night for day", dark)):
        place = f"{what}: the thing keeps its place (control: no injection)"
        figures += [Figure(f"{what} (control: before)", done, 0.8, before, seeds, row),
                    Figure(place, kept, 0.8, lost, seeds, f"{row}_place")]  # fmt: skip
    return tuple(figures)


def _changed(
    bed: Bed, nouns: Sequence[str], old: Sequence[str], new: Sequence[str], parts: tuple[float, float],
    wanted: Callable[[Reading], bool],
) -> tuple[float, float, float, float]:  # fmt: skip
    """Return how often it is as the refined prompt wants, after and before, and the thing in place, with and without.

    `parts`: of the steps, with the original's attention to words and of places.
    """
    pair = Pairs(bed, old, new, "refine")
    runs = (pair.sample(control=bed("inject_attention", pair.tokens, *parts)), pair.sample())
    pictures = [(bed.decode(r.source), bed.decode(r.edited)) for r in runs]
    kept, lost = (mean(Seen(p, nouns, nouns).done) for p in pictures)
    before, done = (mean(map(wanted, read(x))) for x in pictures[0])
    return done, before, kept, lost


def _sweep(bed: Bed, n: int) -> tuple[Figure, ...]:
    """The longer all words look where the original's looked, the more is kept and the less is swapped."""
    told = swaps(n)
    old, new = [s.noun for s in told], [s.other for s in told]
    pair = Pairs(bed, [s.prompts[0] for s in told], [s.prompts[1] for s in told])
    kept, done = [], []
    for part in PARTS:
        out = pair.sample(control=bed("inject_attention", pair.tokens, part, 0.4))
        seen = Seen((bed.decode(out.source), bed.decode(out.edited)), old, new)
        kept.append(mean(seen.kept))
        done.append(mean(seen.done))
    return (
        Figure("order of the background kept and the part of the steps with the original's attention",
               spearmanr(PARTS, kept).statistic, 0.8, None, n, "sweep_background"),
        Figure("success with the original's attention in all steps, of that in none", done[-1] / max(done[0], 1e-9),
               0.95, None, n, "sweep_success", most=True),
    )  # fmt: skip


def _arrows(bed: Bed, n: int) -> tuple[Figure, ...]:
    """How red a red car is, as the word's factor rises, in one place; control: the factor of another word."""
    prompt = prompt_of("red car", "beach")
    pair = Pairs(bed, [prompt] * n, [prompt] * n)
    keep = bed("inject_attention", pair.tokens, 1.0, 0.4)

    def turned(word: str) -> list[Pixels]:
        controls = [bed("reweight_words", bed.clip, prompt, {word: factor}) for factor in FACTORS]
        return [bed.decode(pair.sample(control=bed("combine_attention", keep, c)).edited) for c in controls]

    def order(pictures: Sequence[Pixels]) -> float:
        redness = [(p[..., 0] - p[..., 1:].mean(-1)).mean((1, 2)) for p in np.asarray(pictures, float)]
        return mean(spearmanr(FACTORS, column).statistic for column in np.array(redness).T)

    red, beach = turned("red"), turned("beach")
    usual = [r.find("car") for r in read(red[FACTORS.index(1.0)])]
    places = [0.0 if b is None else overlap(a.mask, b.mask)
              for p in red for a, b in zip(usual, [r.find("car") for r in read(p)], strict=True) if a]  # fmt: skip
    return (
        Figure("order of redness and the factor of 'red' (control: of 'beach')", order(red), 0.8, order(beach), n,
               "arrows"),
        Figure("IoU of the car with the car of factor 1", mean(places), 0.6, None, n, "arrows_place"),
    )  # fmt: skip


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
