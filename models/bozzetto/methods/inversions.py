"""Edits of real pictures by way of their noise: DDIM inversion, DDIB, DiffEdit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from engine.diffusion.inversion import health
from engine.types import Conditioning, Heatmap, Latent, Trajectory
from models.bozzetto.bed import (
    SCALE,
    Bed,
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
    shown,
)
from models.bozzetto.judge import Reading, read
from models.bozzetto.methods.figures import Figure, Measured, mean

# Where the mask for an edit is cut, so that no rim of the old thing is left. The card grows its mask by a cell of 4
# pixels; cells here are of 8, and growing by one takes twice as much background as the true mask, this cut as much.
ROOM = 0.35
STYLES = ("flat", "ink", "pixel", "watercolor")
STYLE_WORDS = {"flat": "flat style", "ink": "ink drawing", "pixel": "pixel art", "watercolor": "watercolor"}


def _rms(latent: Latent, clean: Latent) -> Any:
    return (latent.samples - clean.samples).square().mean((1, 2, 3)).sqrt().numpy()


def _healthy(trajectory: Trajectory) -> list[bool]:
    """Say of each picture whether its noise looks like noise."""
    rows = range(trajectory.latents.shape[1])
    return [not health(replace(trajectory, latents=trajectory.latents[:, i : i + 1])).flags for i in rows]


def _same(a: Reading, b: Reading) -> bool:
    """Say whether two readings agree in the background and in the largest thing, its colour and its place."""
    x, y = (max(r.objects, key=lambda o: int(o.mask.sum()), default=None) for r in (a, b))
    if x is None or y is None:
        return x is y and a.background == b.background
    alike = (x.noun, x.colour, a.background) == (y.noun, y.colour, b.background)
    return alike and overlap(box_of(x.mask), box_of(y.mask)) >= 0.5


def ddim_inversion(bed: Bed, seeds: int) -> Measured:
    """A picture comes back from its noise; controls: not refined, other noise, a pull while inverting."""
    told = pairs(seeds, "swap")
    clean, texts = bed.encode(before(told)), bed.texts([p.captions[0] for p in told])
    plain, forward = bed.decode(clean), bed("basic_guider", bed.model, texts)

    def there_and_back(steps: int, refine: int) -> tuple[Trajectory, Latent]:
        made = bed("ddim_invert", bed.model, texts, clean, bed.sigmas(steps), refine=refine).trajectory
        return made, bed("replay", made, forward)

    (_, once), (_, twice), (made, refined) = (there_and_back(*how) for how in ((50, 0), (100, 0), (50, 3)))
    returned, exact, fresh = bed.decode(once), bed.decode(refined), bed.decode(bed.run(forward, bed.empty(seeds)))
    pulled = bed("ddim_invert", bed.model, texts, clean, bed.sigmas(50), negative=bed.text(""), guidance_scale=7.5)
    ratio = _rms(twice, clean) / _rms(once, clean)
    back, best, lost = (mean(map(decibels, made, plain)) for made in (returned, exact, fresh))
    own = read(plain)
    same, other = (mean(map(_same, own, read(made))) for made in (returned, fresh))
    figures = (
        Figure("dB of what comes back, refined three times (control: not refined)", best, 34.0, back, seeds),
        Figure("dB of what comes back (control: other noise)", back, 28.0, lost, seeds, "plain"),
        Figure("error falls as 1/N: ratio of 100 steps to 50 in .4 to .65 (control: 50 to 50)",
               mean((ratio > 0.4) & (ratio < 0.65)), 0.8, 0.0, seeds, "order"),
        Figure("noise looks like noise, refined (control: inverted with guidance 7.5)", mean(_healthy(made)),
               0.9, mean(_healthy(pulled.trajectory)), seeds, "health"),
        Figure("things, colours and places unchanged (control: other noise)", same, 0.98, other, seeds, "kept"),
    )  # fmt: skip
    return Measured(figures, {"picture": plain[0], "comes back": returned[0], "refined": exact[0], "other": fresh[0]})


def ddib(bed: Bed, seeds: int) -> Measured:
    """Another style by way of the shared noise, the thing kept in place; control: fresh noise."""
    told = pairs(seeds, "style")
    clean, source, target = bed.encode(before(told)), *(bed.texts([p.captions[k] for p in told]) for k in (0, 1))
    nouns, places = [p.before.spec.objects[0].noun for p in told], [p.before.masks[0] for p in told]
    made = bed("ddim_invert", bed.model, source, clean, bed.sigmas(30), refine=1).trajectory

    def into(texts: Conditioning) -> Pixels:
        return bed.decode(bed("ddib_translate", made, bed.model, texts, bed.text(""), 2.0))

    out, own = into(target), bed.decode(clean)
    fresh = bed.decode(bed.run(bed.guider(target, 2.0), bed.empty(seeds)))
    wanted = [p.after.spec.style for p in told]
    styled, before_it = (mean(r.style == s for r, s in zip(read(x), wanted, strict=True)) for x in (out, own))
    bare = [p.captions[0].replace("a 3d render of ", "").replace("a 3d picture of ", "").replace(", 3d render", "")
            for p in told]  # fmt: skip
    many = [into(bed.texts([f"{b}, {STYLE_WORDS[s]}" for b in bare])) for s in STYLES]
    again = [bed.sample([f"{b}, {STYLE_WORDS[s]}" for b in bare], 100 * k) for k, s in enumerate(STYLES)]
    figures = (
        Figure("new style (control: the picture before)", styled, 0.8, before_it, seeds),
        Figure("thing kept in its place (control: fresh noise)", mean(in_places(out, nouns, places)), 0.7,
               mean(in_places(fresh, nouns, places)), seeds, "place"),
        Figure("thing in one place in all of four styles, by pairs (control: fresh noises)", _agreement(many, nouns),
               0.7, _agreement(again, nouns), seeds, "domains"),
        _cycle(bed, min(seeds, 4), fresh),
    )  # fmt: skip
    return Measured(figures, {"picture": own[0], **{STYLE_WORDS[s]: x[0] for s, x in zip(STYLES, many, strict=True)}})


def _agreement(sets: Sequence[Pixels], nouns: Sequence[str]) -> float:
    """Return how often two pictures of a thing show it in one place, over all pairs of sets."""
    found = [[r.find(n) for r, n in zip(read(s), nouns, strict=True)] for s in sets]
    return mean(
        a is not None and b is not None and overlap(box_of(a.mask), box_of(b.mask)) >= 0.5
        for one, other in combinations(found, 2) for a, b in zip(one, other, strict=True)
    )  # fmt: skip


def _cycle(bed: Bed, n: int, fresh: Pixels) -> Figure:
    """To another style and back, at 100 steps without guidance."""
    told = pairs(n, "style")
    clean, source, target = bed.encode(before(told)), *(bed.texts([p.captions[k] for p in told]) for k in (0, 1))
    own, latent = bed.decode(clean), clean
    for a, b in ((source, target), (target, source)):
        made = bed("ddim_invert", bed.model, a, latent, bed.sigmas(100)).trajectory
        latent = bed("ddib_translate", made, bed.model, b)
    back = bed.decode(latent)
    return Figure("dB after the way to another style and back (control: fresh noise)", mean(map(decibels, back, own)),
                  26.0, mean(map(decibels, fresh[:n], own)), n, "cycle")  # fmt: skip


def diffedit(bed: Bed, seeds: int) -> Measured:
    """The mask is found from two prompts; controls: a threshold on the picture, SDEdit, the true mask."""
    told = pairs(seeds, "swap")
    truth, new = [p.before.masks[0] for p in told], [p.after.spec.objects[0].noun for p in told]
    clean, old_text, new_text = bed.encode(before(told)), *(bed.texts([p.captions[k] for p in told]) for k in (0, 1))
    own = bed.decode(clean)
    heat, once = (bed("noise_contrast", bed.model, clean, new_text, old_text, count=n) for n in (10, 1))
    off = (clean.samples - clean.samples.mean((2, 3), keepdim=True)).abs().mean(1)
    flat = Heatmap(off, clean.factor)
    cut = [bed("heatmap_to_mask", h, how, 0.5, 0.0, 0) for h, how in ((heat, "paper"), (once, "paper"), (flat, "otsu"))]
    room = bed("heatmap_to_mask", heat, "paper", ROOM, 0.5, 0)
    found, single, alone = (
        mean(overlap(m > 0.5, t) for m, t in zip(c.mask.values.numpy(), truth, strict=True)) for c in cut
    )  # fmt: skip
    made = bed("ddim_invert", bed.model, bed.text(""), clean, bed.sigmas(30, 0.8)).trajectory  # 3.2, step 2: no text
    oracle = bed("grow_mask", mask_value(truth), 4)
    edited, ideal = (
        bed.decode(bed("replay", made, bed.guider(new_text), bed("keep_trajectory", made, mask)))
        for mask in (room.mask, oracle)
    )  # fmt: skip
    sigmas = bed("sigmas_by_strength", bed.model, "simple", 20, 0.7)
    free = bed.decode(bed("sdedit", bed.model, new_text, bed.text(""), clean, sigmas, seed=0, cfg=SCALE))
    places = [(t, p.after.masks[0]) for t, p in zip(truth, told, strict=True)]  # the old thing's, the new one's
    done, best, loose, undone = (
        mean(any(in_place(r, n, p) for p in two) for r, n, two in zip(read(x), new, places, strict=True))
        for x in (edited, ideal, free, own)
    )
    kept, lost = (mean(backgrounds_db(x, own, truth)) for x in (edited, free))
    figures = (
        Figure("IoU of mask and truth (control: Otsu's threshold on the picture)", found, 0.5, alone, seeds,
               margin=0.15),
        Figure("IoU of mask and truth, ten noises (control: one)", found, 0.5, single, seeds, "noises", margin=0.05),
        Figure("new thing in place (control: before)", done, 0.8, undone, seeds, "edit"),
        Figure("share of the true mask's success (control: SDEdit's success)", done / max(best, 1e-9), 0.85, loose,
               seeds, "ceiling"),
        Figure("background kept, dB (control: SDEdit at .7)", kept, 30.0, lost, seeds, "background", margin=6.0),
    )  # fmt: skip
    pictures = {"picture": own[0], "map and mask": shown(room.image)[0], "edited": edited[0], "SDEdit": free[0]}
    return Measured(figures, pictures)
