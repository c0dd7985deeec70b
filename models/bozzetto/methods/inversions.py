"""Edits of real pictures by way of their noise: DDIM inversion, DDIB, DiffEdit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, count, islice, pairwise
from typing import Any

import numpy as np

from engine.diffusion.inversion import health
from engine.types import Conditioning, Heatmap, Latent, Mask, Trajectory
from models.bozzetto.bed import (
    FIRST_SEED,
    IN_PLACE,
    LIKE,
    SCALE,
    WORLD,
    Bed,
    Cells,
    Pixels,
    backgrounds_db,
    before,
    box_of,
    decibels,
    in_place,
    in_places,
    mask_value,
    overlap,
    pairs,
    rectangle,
    shown,
)
from models.bozzetto.judge import Reading, read
from models.bozzetto.judge.metrics import masked_psnr
from models.bozzetto.methods.figures import Figure, Measured, mean
from models.bozzetto.methods.points import point_sets
from models.bozzetto.scenes import RESOLUTION, World, held_out, render, sample
from models.bozzetto.scenes.captions import caption
from models.bozzetto.scenes.pairs import Pair, pair

# Where the mask for an edit is cut, so that no rim of the old thing is left. The card grows its mask by a cell of 4
# pixels; cells here are of 8, and growing by one takes twice as much background as the true mask, this cut as much.
ROOM = 0.35
PULL = 2.0  # guidance of bridges
STYLES = ("flat", "ink", "pixel", "watercolor")
STYLE_WORDS = {"flat": "flat style", "ink": "ink drawing", "pixel": "pixel art", "watercolor": "watercolor"}
COUPLES = replace(WORLD, two_objects=1.0, relations=("left", "right"))
# Things that the winter model was made with, not in the snow yet.
WARM = replace(WORLD, objects=("car", "house"), backgrounds=tuple(b for b in WORLD.backgrounds if b != "snow"))
WAY, GUIDANCE = 50, 5.0  # steps and guidance of DiffEdit
RATIOS = (0.4, 0.6, 0.8, 1.0)  # parts of the way to noise for DiffEdit
STRENGTHS = (0.5, 0.6, 0.7, 0.8)  # for SDEdit


def aside(n: int, kind: str, world: World = WORLD) -> list[Pair]:
    """Return held-out pairs whose thing is so far off the centre that fresh noise hardly puts one there."""
    drawn = (pair(FIRST_SEED + i, world, kind) for i in count())
    return list(islice((p for p in drawn if _off_centre(p.before.masks[0])), n))


def _off_centre(mask: Cells) -> bool:
    """Say whether a thing and the same one in the middle of its row are in two places."""
    box = box_of(mask)
    rows, columns = box.any(1), box.any(0)
    width = int(columns.sum())
    middle = rectangle((RESOLUTION - width) // 2, int(rows.argmax()), width, int(rows.sum()))
    return overlap(box, middle) < IN_PLACE


def couples(n: int) -> list[Pair]:
    """Return held-out scenes of two things, and the same with the first one swapped for one of about its shape."""
    drawn = (_couple(FIRST_SEED + i) for i in count())
    return list(islice((p for p in drawn if p is not None), n))


def _couple(seed: int) -> Pair | None:
    spec = sample(seed, COUPLES)
    old = spec.objects[spec.named_first]
    new = replace(old, noun=LIKE[old.noun], colour=None)
    after = replace(spec, objects=tuple(new if o is old else o for o in spec.objects))
    if held_out(after) or after.count > 1:
        return None
    first, second = (caption(s, np.random.default_rng((seed, 5)), full=True) for s in (spec, after))
    return Pair("swap", render(spec), render(after), "", (first, second))


def _rms(latent: Latent, clean: Latent) -> Any:
    return (latent.samples - clean.samples).square().mean((1, 2, 3)).sqrt().numpy()


def _healthy(trajectory: Trajectory) -> float:
    """Return the share of pictures whose noise looks like noise."""
    rows = range(trajectory.latents.shape[1])
    return mean(not health(replace(trajectory, latents=trajectory.latents[:, i : i + 1])).flags for i in rows)


def _same(a: Reading, b: Reading) -> bool:
    """Say whether two readings agree in the background, in all things and colours, and in the largest one's place."""
    x, y = (sorted(r.objects, key=lambda o: -int(o.mask.sum())) for r in (a, b))
    told = [(sorted((o.noun, o.colour) for o in r.objects), r.background) for r in (a, b)]
    return told[0] == told[1] and (not x or overlap(box_of(x[0].mask), box_of(y[0].mask)) >= IN_PLACE)


def _things(told: Sequence[Pair]) -> tuple[list[str], list[Cells]]:
    """Return the things of scenes of one each, and their places."""
    return [p.before.spec.objects[0].noun for p in told], [p.before.masks[0] for p in told]


def ddim_inversion(bed: Bed, seeds: int) -> Measured:
    """A picture comes back from its noise; controls: not refined, other noise, a pull while inverting."""
    told = pairs(seeds, "swap")
    clean, texts = bed.encode(before(told)), bed.texts([p.captions[0] for p in told])
    plain, forward = bed.decode(clean), bed("basic_guider", bed.model, texts)

    def there_and_back(steps: int, refine: int) -> tuple[Trajectory, Latent]:
        made = bed("ddim_invert", bed.model, texts, clean, bed.sigmas(steps), refine=refine).trajectory
        return made, bed("replay", made, forward)

    (first, once), (_, twice), (best, refined) = (there_and_back(*how) for how in ((50, 0), (100, 0), (50, 3)))
    returned, exact, fresh = bed.decode(once), bed.decode(refined), bed.decode(bed.run(forward, bed.empty(seeds)))
    pulled = bed("ddim_invert", bed.model, texts, clean, bed.sigmas(50), negative=bed.text(""), guidance_scale=7.5)
    ratio = _rms(twice, clean) / _rms(once, clean)
    back, more, lost = (mean(map(decibels, made, plain)) for made in (returned, exact, fresh))
    same, other = (mean(map(_same, read(plain), read(made))) for made in (returned, fresh))
    figures = (
        Figure("dB of what comes back, refined three times (control: not refined)", more, 34.0, back, seeds),
        Figure("dB of what comes back (control: other noise)", back, 28.0, lost, seeds, "plain"),
        Figure("error falls as 1/N: ratio of 100 steps to 50 in .4 to .65 (control: 50 to 50)",
               mean((ratio > 0.4) & (ratio < 0.65)), 0.8, 0.0, seeds, "order"),
        Figure("noise looks like noise (control: inverted with guidance 7.5)", _healthy(first), 0.9,
               _healthy(pulled.trajectory), seeds, "health",
               why="the error of the steps: deviations are .65 after 50 steps, .73 after 200, noise has 1"),
        Figure("noise looks like noise, refined three times (control: not refined)", _healthy(best), 0.9,
               _healthy(first), seeds, "health_refined", why="deviations are .83 to .93, and .9 is asked"),
        Figure("things, their number, colours and places unchanged (control: other noise)", same, 0.98, other, seeds,
               "kept"),
        _placed(bed, seeds),
    )  # fmt: skip
    return Measured(figures, {"picture": plain[0], "comes back": returned[0], "refined": exact[0], "other": fresh[0]})


def _placed(bed: Bed, seeds: int) -> Figure:
    """Things off the centre come back where they were; of other noise they mostly come elsewhere."""
    told = aside(seeds, "swap")
    texts = bed.texts([p.captions[0] for p in told])
    forward = bed("basic_guider", bed.model, texts)
    made = bed("ddim_invert", bed.model, texts, bed.encode(before(told)), bed.sigmas(50)).trajectory
    returned, fresh = (bed.decode(x) for x in (bed("replay", made, forward), bed.run(forward, bed.empty(seeds))))
    here, there = (mean(in_places(x, *_things(told))) for x in (returned, fresh))
    return Figure("thing off the centre in its place (control: other noise)", here, 0.98, there, seeds, "place",
                  margin=0.73)  # fmt: skip


def ddib(bed: Bed, seeds: int) -> Measured:
    """Another style by way of the shared noise, the thing kept in place; control: fresh noise."""
    told = aside(seeds, "style")
    clean, source, target = bed.encode(before(told)), *(bed.texts([p.captions[k] for p in told]) for k in (0, 1))
    nouns, places = _things(told)
    made = bed("ddim_invert", bed.model, source, clean, bed.sigmas(30), refine=1).trajectory

    def into(texts: Conditioning) -> Pixels:
        return bed.decode(bed("ddib_translate", made, bed.model, texts, bed.text(""), PULL))

    out, own = into(target), bed.decode(clean)
    fresh = bed.decode(bed.run(bed.guider(target, PULL), bed.empty(seeds)))
    wanted = [p.after.spec.style for p in told]
    styled, before_it = (mean(r.style == s for r, s in zip(read(x), wanted, strict=True)) for x in (out, own))
    bare = [p.captions[0].replace("a 3d render of ", "").replace("a 3d picture of ", "").replace(", 3d render", "")
            for p in told]  # fmt: skip
    many = [into(bed.texts([f"{b}, {STYLE_WORDS[s]}" for b in bare])) for s in STYLES]
    again = [bed.sample([f"{b}, {STYLE_WORDS[s]}" for b in bare], 100 * k) for k, s in enumerate(STYLES)]
    agreed, chance = (_agreement(x, nouns, places) for x in (many, again))
    figures = (
        Figure("new style (control: the picture before)", styled, 0.8, before_it, seeds),
        Figure("thing off the centre kept in its place (control: fresh noise)", mean(in_places(out, nouns, places)),
               0.7, mean(in_places(fresh, nouns, places)), seeds, "place", margin=0.45),
        Figure("thing in one place, the picture's, in all of four styles, by pairs (control: fresh noises)", agreed,
               0.7, chance, seeds, "domains", margin=0.45),
        _cycle(bed, clean, source, target, fresh),
        *_winter(bed, seeds),
        *point_sets(),
    )  # fmt: skip
    return Measured(figures, {"picture": own[0], **{STYLE_WORDS[s]: x[0] for s, x in zip(STYLES, many, strict=True)}})


def _agreement(sets: Sequence[Pixels], nouns: Sequence[str], places: Sequence[Cells]) -> float:
    """Return how often two pictures of a thing show it in one place, which is the given one, over all pairs of sets."""
    found = [[box_of(t.mask) if (t := r.find(n)) and in_place(r, n, p) else None
              for r, n, p in zip(read(x), nouns, places, strict=True)] for x in sets]  # fmt: skip
    return mean(
        a is not None and b is not None and overlap(a, b) >= IN_PLACE
        for one, other in combinations(found, 2) for a, b in zip(one, other, strict=True)
    )  # fmt: skip


def _cycle(bed: Bed, clean: Latent, source: Conditioning, target: Conditioning, fresh: Pixels) -> Figure:
    """To another style and back, at 100 steps without guidance."""
    own, latent = bed.decode(clean), clean
    for a, b in ((source, target), (target, source)):
        made = bed("ddim_invert", bed.model, a, latent, bed.sigmas(100)).trajectory
        latent = bed("ddib_translate", made, bed.model, b)
    return Figure("dB after the way to another style and back (control: fresh noise)",
                  mean(map(decibels, bed.decode(latent), own)), 26.0, mean(map(decibels, fresh, own)), len(own),
                  "cycle")  # fmt: skip


def _winter(bed: Bed, seeds: int) -> Iterator[Figure]:
    """By another model of the same autoencoder, which knows winter alone, with the same words."""
    told = aside(seeds, "swap", WARM)
    clean, texts = bed.encode(before(told)), bed.texts([p.captions[0] for p in told])
    model = bed("load_lora", bed.model, bed.clip, "bozzetto/winter.safetensors").model
    made = bed("ddim_invert", bed.model, texts, clean, bed.sigmas(30), refine=1).trajectory
    out = bed.decode(bed("ddib_translate", made, model, texts, bed.text(""), PULL))
    fresh = bed.decode(bed.run(replace(bed.guider(texts, PULL), model=model), bed.empty(seeds)))
    snow, sand = (mean(r.background == "snow" for r in read(x)) for x in (out, bed.decode(clean)))
    yield Figure("another model, of winter: snow (control: the picture before)", snow, 0.8, sand, seeds, "models")
    here, there = (mean(in_places(x, *_things(told))) for x in (out, fresh))
    yield Figure("another model: thing kept in its place (control: fresh noise)", here, 0.7, there, seeds,
                 "models_place", margin=0.45)  # fmt: skip


@dataclass(frozen=True)
class _Edited:
    """What edits of the first of two things achieved, against the pictures as the autoencoder gives them."""

    pictures: Pixels
    done: float  # share of new things in place
    whole: float  # dB, of the whole picture
    inside: float  # dB, where the old thing was
    outside: float  # dB, elsewhere


class _Swaps:
    """Pictures of two things, the first of which is to become another."""

    def __init__(self, bed: Bed, n: int) -> None:
        self.bed, told = bed, couples(n)
        first = [p.before.spec.named_first for p in told]
        self.clean = bed.encode(before(told))
        self.own = bed.decode(self.clean)
        self.old, self.new = (bed.texts([p.captions[k] for p in told]) for k in (0, 1))
        self.truth = [p.before.masks[k] for p, k in zip(told, first, strict=True)]
        self.other = [p.before.masks[1 - k] for p, k in zip(told, first, strict=True)]
        self.places = [(t, p.after.masks[k]) for t, p, k in zip(self.truth, told, first, strict=True)]
        self.nouns = [p.after.spec.objects[k].noun for p, k in zip(told, first, strict=True)]
        self.kept = [p.before.spec.objects[1 - k].noun for p, k in zip(told, first, strict=True)]

    def at(self, ratio: float, mask: Mask) -> _Edited:
        """Edit by DiffEdit from a part of the way to noise, inverted without a prompt (section 3.2, step 2)."""
        bed = self.bed
        made = bed("ddim_invert", bed.model, bed.text(""), self.clean, bed.sigmas(WAY, ratio)).trajectory
        return self._seen(bed("replay", made, bed.guider(self.new, GUIDANCE), bed("keep_trajectory", made, mask)))

    def by_sdedit(self, strength: float) -> _Edited:
        """Edit by SDEdit, which knows no mask."""
        bed = self.bed
        sigmas = bed("sigmas_by_strength", bed.model, "simple", 20, strength)
        return self._seen(bed("sdedit", bed.model, self.new, bed.text(""), self.clean, sigmas, seed=0, cfg=SCALE))

    def success(self, pictures: Pixels) -> float:
        """Return how often the new thing is where the old one was, or where it would have been drawn."""
        return mean(any(in_place(r, n, p) for p in two)
                    for r, n, two in zip(read(pictures), self.nouns, self.places, strict=True))  # fmt: skip

    def untouched(self, pictures: Pixels) -> float:
        """Return how often the other thing has its colour and place."""
        pairs = [(a.find(n), b.find(n)) for a, b, n in zip(read(self.own), read(pictures), self.kept, strict=True)]
        return mean(b is not None and a.colour == b.colour and overlap(box_of(a.mask), box_of(b.mask)) >= IN_PLACE
                    for a, b in pairs if a is not None)  # fmt: skip

    def _seen(self, latent: Latent) -> _Edited:
        x, own = self.bed.decode(latent), self.own
        inside = (masked_psnr(a, b, m) for a, b, m in zip(x, own, self.truth, strict=True))
        return _Edited(x, self.success(x), mean(map(decibels, x, own)), mean(inside),
                       mean(backgrounds_db(x, own, self.truth)))  # fmt: skip

    def covered(self, heat: Heatmap, method: str = "paper") -> tuple[float, float, float]:
        """Return a mask's overlap with the truth, the part of it that it covers, and the part of the other thing."""
        masks = self.bed("heatmap_to_mask", heat, method, 0.5, 0.0, 0).mask.values.numpy() > 0.5
        each = [(overlap(m, t), (m & t).sum() / t.sum(), (m & o).sum() / o.sum())
                for m, t, o in zip(masks, self.truth, self.other, strict=True)]  # fmt: skip
        return mean(e[0] for e in each), mean(e[1] for e in each), mean(e[2] for e in each)


def diffedit(bed: Bed, seeds: int) -> Measured:
    """The mask is found from two prompts; controls: a threshold on the picture, SDEdit, the true mask."""
    swaps = _Swaps(bed, seeds)
    clean = swaps.clean
    heat, once = (bed("noise_contrast", bed.model, clean, swaps.new, swaps.old, count=n) for n in (10, 1))
    off = (clean.samples - clean.samples.mean((2, 3), keepdim=True)).abs().mean(1)
    found, recall, spilled = swaps.covered(heat)
    single, alone = swaps.covered(once)[0], swaps.covered(Heatmap(off, clean.factor), "otsu")[0]
    room = bed("heatmap_to_mask", heat, "paper", ROOM, 0.5, 0)
    walks = {r: swaps.at(r, room.mask) for r in RATIOS}
    edited, ideal = walks[0.8], swaps.at(0.8, bed("grow_mask", mask_value(swaps.truth), 4))
    free = {s: swaps.by_sdedit(s) for s in STRENGTHS}
    # SDEdit of the same success: of what is as good the most like the picture, or else what is best.
    rival = max(free.values(), key=lambda x: (min(x.done, edited.done), x.outside))
    figures = (
        Figure("IoU of mask and truth (control: Otsu's threshold on the picture)", found, 0.5, alone, seeds,
               margin=0.15),
        Figure("IoU of mask and truth, ten noises (control: one)", found, 0.5, single, seeds, "noises", margin=0.05,
               why="a map is the mean of 16 channels here, of 4 in Stable Diffusion: one noise says more"),
        Figure("part of the true mask that is found (control: of the other thing)", recall, 0.8, spilled, seeds,
               "recall"),
        Figure("part of the other thing that is masked", spilled, 0.1, None, seeds, "others", most=True),
        Figure("new thing in place (control: before)", edited.done, 0.8, swaps.success(swaps.own), seeds, "edit"),
        Figure("other thing keeps colour and place (control: SDEdit of the same success)",
               swaps.untouched(edited.pictures), 0.9, swaps.untouched(rival.pictures), seeds, "untouched"),
        Figure("share of the true mask's success (control: SDEdit's success)", edited.done / max(ideal.done, 1e-9),
               0.85, rival.done, seeds, "ceiling"),
        Figure("background kept, dB (control: SDEdit of the same success)", edited.outside, 30.0, rival.outside, seeds,
               "background", margin=6.0),
        *_sweep(list(walks.values()), list(free.values()), seeds),
        _warned(bed, heat, seeds),
    )  # fmt: skip
    pictures = {"picture": swaps.own[0], "map and mask": shown(room.image)[0], "edited": edited.pictures[0],
                "SDEdit": rival.pictures[0]}  # fmt: skip
    return Measured(figures, pictures)


def _sweep(walks: Sequence[_Edited], free: Sequence[_Edited], n: int) -> Iterator[Figure]:
    """More of the way to noise changes more; and at no strength is SDEdit better in both."""
    ordered = mean(a.done <= b.done and a.inside >= b.inside for a, b in pairwise(walks))
    yield Figure("from .4 to 1 of the way to noise: steps with no fewer new things and no more of the old", ordered,
                 1.0, None, n, "sweep")  # fmt: skip
    beaten = mean(any(w.done >= f.done and w.whole >= f.whole for w in walks) for f in free)
    yield Figure("SDEdit's strengths .5 to .8 that are bettered in success and likeness to the picture", beaten, 1.0,
                 None, n, "curve")  # fmt: skip


def _warned(bed: Bed, heat: Heatmap, n: int) -> Figure:
    """A change of style has no place, and the report of the mask says so."""
    told = pairs(n, "style")
    texts = (bed.texts([p.captions[k] for p in told]) for k in (1, 0))
    style = bed("noise_contrast", bed.model, bed.encode(before(told)), *texts, count=10)
    warned, wrongly = (
        mean("Careful" in bed("heatmap_to_mask", Heatmap(v[None], h.factor)).report for v in h.values)
        for h in (style, heat)
    )
    return Figure("change of style told to have no place (control: of swaps)", warned, 0.8, wrongly, n, "style",
                  why="flat backgrounds hardly change with the style here, things do: the true change has a place too"
                  )  # fmt: skip
