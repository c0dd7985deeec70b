"""What each editing method achieves on the embedded model, next to the same without it, with the bar of its card.

`evaluations` and `seconds` are per picture and count method and control together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from engine.diffusion.inversion import psnr
from engine.errors import BadInput
from engine.types import Image, Latent, Noise, Sampler
from models.bozzetto.bed import (
    FIRST_SEED,
    Bed,
    Cells,
    Figure,
    Pixels,
    background_db,
    grown,
    in_place,
    mask_value,
    opened,
    overlap,
    pairs,
    seen,
    timed,
)
from models.bozzetto.scenes import RESOLUTION
from models.bozzetto.scenes.vocabulary import BACKGROUND_WORDS, START_OBJECTS, article

SEEDS = 20
SCALE = 3.0


def mean(values: list[Any]) -> float:
    """Return the mean, 0 of nothing."""
    return float(np.mean(values)) if values else 0.0


def _lists(count: int) -> tuple[list[Any], ...]:
    return tuple([] for _ in range(count))


def sdedit(bed: Bed, seeds: int) -> Figure:
    """Strokes of known scenes become pictures in which the thing is found in its place; control: hardly any noise."""
    found: dict[float, list[bool]] = {0.5: [], 0.1: []}
    for i, p in enumerate(pairs(seeds, "swap")):
        picture = Image(torch.from_numpy(p.before.image.astype(np.float32) / 255)[None])
        strokes = bed("simulate_strokes", picture, 15, 6)
        guide = bed("vae_encode", strokes, bed.vae)
        prompt, noun = bed.text(p.captions[0]), p.before.spec.objects[0].noun
        for t0, marks in found.items():
            sigmas = bed("sigmas_by_strength", bed.model, "simple", 25, t0)
            out = bed("sdedit", bed.model, prompt, bed.text(""), guide, sigmas, seed=i, cfg=SCALE)
            marks.append(in_place(seen(bed.decode(out)[0]), noun, p.before.masks[0]))
    return Figure("thing found in its place", mean(found[0.5]), 0.8, mean(found[0.1]), seeds)


def blended(bed: Bed, seeds: int) -> Figure:
    """A thing is replaced inside a mask, best of four by the model's own ranking; control: no blending."""
    done, control, random_pick, db = _lists(4)
    for i, p in enumerate(pairs(seeds, "swap")):
        place: Cells = grown(p.before.masks[0] | p.after.masks[0])
        clean, mask = bed.encode(p.before.image), mask_value(place)
        prompt, noun = bed.text(p.captions[1]), p.after.spec.objects[0].noun
        four = bed("repeat_latent", clean, 4)
        blend = bed("keep_outside", clean, mask)
        for kept, marks in ((blend, done), (None, control)):
            out = bed(
                "sample_edit", bed.guider(prompt, SCALE), Sampler("ddim"), bed.sigmas(20, 0.9), four, Noise(i * 10),
                blend=kept,
            ).latent  # fmt: skip
            ranked = bed("rank_latents", bed.model, out, prompt, bed.text(""), mask, samples=6).latent
            best = bed.decode(ranked)[0]
            marks.append(in_place(seen(best), noun, p.after.masks[0]))
            if kept is not None:
                random_pick.append(in_place(seen(bed.decode(out)[0]), noun, p.after.masks[0]))
                db.append(background_db(best, bed.decode(clean)[0], place))
    more = {"unranked": mean(random_pick), "background_db": mean(db)}
    return Figure("new thing in place", mean(done), 0.75, mean(control), seeds, more)


def ddim_inversion(bed: Bed, seeds: int) -> Figure:
    """A picture comes back from its noise, refined three times; control: not refined."""
    refined: dict[int, list[float]] = {3: [], 0: []}
    for p in pairs(seeds, "swap"):
        clean, prompt = bed.encode(p.before.image), bed.text(p.captions[0])
        plain = bed("vae_decode", clean, bed.vae).pixels
        for rounds, marks in refined.items():
            made = bed("ddim_invert", bed.model, prompt, clean, bed.sigmas(50), refine=rounds)
            back = bed("replay", made.trajectory, bed("basic_guider", bed.model, prompt))
            marks.append(psnr(plain, bed("vae_decode", back, bed.vae).pixels))
    return Figure("dB of what comes back", mean(refined[3]), 34.0, mean(refined[0]), seeds)


def ddib(bed: Bed, seeds: int) -> Figure:
    """Another style by way of the shared noise, the thing kept in place; control: fresh noise."""
    done, control, styled = _lists(3)
    for i, p in enumerate(pairs(seeds, "style")):
        clean, noun, style = bed.encode(p.before.image), p.before.spec.objects[0].noun, p.after.spec.style
        made = bed("ddim_invert", bed.model, bed.text(p.captions[0]), clean, bed.sigmas(30), refine=1).trajectory
        target = bed.text(p.captions[1])
        out = bed("ddib_translate", made, bed.model, target, bed.text(""), 2.0)
        other = bed.sample(target, 100 + i, scale=2.0)
        for latent, marks in ((out, done), (other, control)):
            reading = seen(bed.decode(latent)[0])
            marks.append(reading.style == style and in_place(reading, noun, p.before.masks[0]))
            if latent is out:
                styled.append(reading.style == style)
    return Figure("new style, thing in place", mean(done), 0.7, mean(control), seeds, {"style": mean(styled)})


def diffedit(bed: Bed, seeds: int) -> Figure:
    """The mask found from two prompts against the truth; control: a threshold on the picture alone."""
    found, control, edited, db = _lists(4)
    for p in pairs(seeds, "swap"):
        clean, (before, after) = bed.encode(p.before.image), (bed.text(c) for c in p.captions)
        heat = bed("noise_contrast", bed.model, clean, after, before)
        mask = bed("heatmap_to_mask", heat, "paper", 0.5, 0.5, 1).mask
        truth: Cells = p.before.masks[0]
        found.append(overlap(mask.values[0].numpy() > 0.5, truth))
        off = clean.samples - clean.samples.mean((2, 3), keepdim=True)
        plain = type(heat)(off.abs().mean(1), heat.factor)
        alone = bed("heatmap_to_mask", plain, "otsu", 0.5, 0.5, 1).mask
        control.append(overlap(alone.values[0].numpy() > 0.5, truth))
        made = bed("ddim_invert", bed.model, before, clean, bed.sigmas(30, 0.8)).trajectory
        blend = bed("keep_trajectory", made, mask)
        out = bed.decode(bed("replay", made, bed.guider(after, SCALE), blend))[0]
        edited.append(in_place(seen(out), p.after.spec.objects[0].noun, truth))
        db.append(background_db(out, bed.decode(clean)[0], truth))
    more = {"edited": mean(edited), "background_db": mean(db), "over_control": mean(found) - mean(control)}
    return Figure("IoU of mask and truth", mean(found), 0.5, mean(control), seeds, more)


def _swap(i: int) -> tuple[str, str, str, str]:
    """Return prompts and nouns of a swap."""
    random = np.random.default_rng((FIRST_SEED, i))
    a, b = random.choice(START_OBJECTS, 2, replace=False)
    place = str(random.choice([w[0] for w in BACKGROUND_WORDS.values()]))
    return f"{article(a)} {place}", f"{article(b)} {place}", str(a), str(b)


def prompt_to_prompt(bed: Bed, seeds: int) -> Figure:
    """A word is swapped on generated pictures, the thing stays in place; control: the same noise, no injection."""
    done, control, db, db_control = _lists(4)
    for i in range(seeds):
        source, target, old, new = _swap(i)
        tokens = bed("align_prompts", bed.clip, source, target, "replace").tokens
        local = bed("local_blend", tokens, old, new)
        inject = bed("inject_attention", tokens, 0.8, 0.4)
        guider = bed.guider(bed.text(target), SCALE)
        for control_, blend, marks, kept in ((inject, local, done, db), (None, None, control, db_control)):
            pair = bed(
                "sample_pair", guider, bed.text(source), Sampler("ddim"), bed.sigmas(25), bed.empty(), noise=Noise(i),
                control=control_, blend=blend,
            )  # fmt: skip
            before, after = (bed.decode(part)[0] for part in (pair.source, pair.edited))
            place = seen(before).find(old)
            if place is None:
                continue  # the model did not draw what is to be swapped
            reading = seen(after)
            marks.append(in_place(reading, new, place.mask))
            thing = reading.find(new)
            kept.append(background_db(before, after, place.mask, place.mask if thing is None else thing.mask))
    more = {"background_db": mean(db), "background_over_control": mean(db) - mean(db_control)}
    return Figure("new thing in place", mean(done), 0.8, mean(control), len(done), more)


def null_text(bed: Bed, seeds: int) -> Figure:
    """A real picture under guidance comes back with its caption as negative prompt; control: an empty one."""
    done, control = _lists(2)
    for p in pairs(seeds, "swap"):
        clean, prompt = bed.encode(p.before.image), bed.text(p.captions[0])
        plain = bed("vae_decode", clean, bed.vae).pixels
        made = bed("ddim_invert", bed.model, prompt, clean, bed.sigmas(50)).trajectory
        for negative, marks in ((prompt, done), (bed.text(""), control)):
            back = bed("replay", made, bed.guider(prompt, 5.0, negative))
            marks.append(psnr(plain, bed("vae_decode", back, bed.vae).pixels))
    return Figure("dB of what comes back", mean(done), 26.0, mean(control), seeds)


def regions(bed: Bed, seeds: int) -> Figure:
    """Two things in two boxes; control: one prompt that names both."""
    done, control = _lists(2)
    h = RESOLUTION
    boxes: list[Cells] = []
    for left in (4, 68):
        box = np.zeros((h, h), bool)
        box[40:112, left : left + 56] = True
        boxes.append(box)
    for i in range(seeds):
        a, b = (str(n) for n in np.random.default_rng((FIRST_SEED, i)).choice(START_OBJECTS, 2, replace=False))
        parts = [bed.text(f"{article(n)} on a beach").map(mask=mask_value(box).values) for n, box in zip((a, b), boxes,
                 strict=True)]  # fmt: skip
        both = bed("combine_conditioning", parts[0], parts[1])
        everything = bed("combine_conditioning", both, bed.text("on a beach"))
        guider = bed("bootstrap_regions", bed.guider(everything, SCALE), bed.vae, 0.4, 20, i)
        out = bed("sample_custom", guider, Sampler("ddim"), bed.sigmas(25), bed.empty(), Noise(i)).latent
        plain = bed.sample(bed.text(f"{article(a)} to the left of {article(b)} on a beach"), i)
        for latent, marks in ((out, done), (plain, control)):
            reading = seen(bed.decode(latent)[0])
            marks += [in_place(reading, n, box) for n, box in zip((a, b), boxes, strict=True)]
    return Figure("thing in its box", mean(done), 0.75, mean(control), seeds)


def diffusion_classifier(bed: Bed, seeds: int) -> Figure:
    """Ten nouns, one picture: the right one is named; control: chance."""
    right, fast = _lists(2)
    for i, p in enumerate(pairs(seeds, "swap")):
        noun = p.before.spec.objects[0].noun
        others = [n for n in START_OBJECTS if n != noun]
        names = [noun, *np.random.default_rng((FIRST_SEED, i)).choice(others, 9, replace=False)]
        clean: Latent = bed.encode(p.before.image)
        for looks, keep, last, marks in ((8, 4, 24, right), (4, 1, 4, fast)):
            out = bed("rank_captions", bed.model, bed.clip, clean, "\n".join(names), "a {}", looks=looks, keep=keep,
                      last_looks=last)  # fmt: skip
            marks.append(out.best[0] == noun)
    return Figure("right of ten", mean(right), 0.8, 0.1, seeds, {"four_looks": mean(fast)})


def time_editing(bed: Bed, seeds: int) -> Figure:
    """A colour left unsaid becomes the one that was taught; control: before. `others_kept`: another thing's colour."""
    done, control, kept = _lists(3)
    jobs = [("car", "blue"), ("apple", "green"), ("cat", "black"), ("house", "yellow"), ("balloon", "purple")]
    for k, (noun, colour) in enumerate(jobs):
        out = bed(
            "time_edit_model", bed.model, bed.clip, f"a {noun}".replace("a a", "an a"), f"a {colour} {noun}",
            0.003, relative=True, preserve="a tree on a beach\na fish in the water\na cake in a room",
        )  # fmt: skip
        plain, other = bed.text(f"{article(noun)} on a beach"), bed.text("a red hat on a beach")
        for i in range(max(1, seeds // len(jobs))):
            edited = Bed(bed.ctx, bed.nodes, out.model, bed.clip, bed.vae)
            for place, prompt, wanted, of, marks in (
                (edited, plain, colour, noun, done), (bed, plain, colour, noun, control),
                (edited, other, "red", "hat", kept),
            ):  # fmt: skip
                thing = seen(bed.decode(place.sample(prompt, 10 * k + i))[0]).find(of)
                marks.append(thing is not None and thing.colour == wanted)
    return Figure("unsaid colour as taught", mean(done), 0.8, mean(control), len(done), {"others_kept": mean(kept)})


def panorama(bed: Bed, seeds: int) -> Figure:
    """Wide canvases keep their background in every crop; control: the plain model on the same canvas."""
    done, control = _lists(2)
    for i in range(max(1, seeds // 4)):
        name = ("beach", "forest", "snow", "desert")[i % 4]
        plain = bed.guider(bed.text(f"a tree {BACKGROUND_WORDS[name][0]}"), SCALE)
        fused = bed("fuse_windows", plain, RESOLUTION, RESOLUTION // 4)
        canvas = bed.empty(1, 3 * RESOLUTION)
        for guider, marks in ((fused, done), (plain, control)):
            out = bed("sample_custom", guider, Sampler("ddim"), bed.sigmas(20), canvas, Noise(i)).latent
            whole: Pixels = bed.decode(out)[0]
            crops = (whole[:, x : x + RESOLUTION] for x in range(0, whole.shape[1] - RESOLUTION + 1, RESOLUTION // 2))
            marks += [seen(np.ascontiguousarray(c)).background == name for c in crops]
    return Figure("background in every crop", mean(done), 0.9, mean(control), max(1, seeds // 4))


METHODS: Mapping[str, Callable[[Bed, int], Figure]] = {
    "sdedit": sdedit, "blended": blended, "ddim_inversion": ddim_inversion, "ddib": ddib, "diffedit": diffedit,
    "prompt_to_prompt": prompt_to_prompt, "null_text": null_text, "multidiffusion": panorama, "regions": regions,
    "diffusion_classifier": diffusion_classifier, "time_editing": time_editing,
}  # fmt: skip


def run(method: str | None = None, seeds: int = SEEDS) -> dict[str, Any]:
    """Measure one method or all."""
    if method is not None and method not in METHODS:
        raise BadInput(f"There is no method {method!r} to measure. Try {', '.join(METHODS)}.")
    chosen = METHODS if method is None else {method: METHODS[method]}
    with opened() as bed:
        return {name: timed(measure, bed, seeds) for name, measure in chosen.items()}


def table(figures: Mapping[str, Any]) -> Iterator[str]:
    """Yield a row per method, as Markdown."""
    yield "| method | metric | value | bar | met | without it | n | seconds | evaluations | more |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    known = {"metric", "value", "bar", "met", "control", "n", "seconds", "evaluations"}
    for name, f in figures.items():
        more = ", ".join(f"{k} {v:g}" for k, v in f.items() if k not in known)
        yield (
            f"| {name} | {f['metric']} | {f['value']:.3g} | {f['bar']:g} | {'yes' if f['met'] else 'NO'} | "
            f"{f['control']:.3g} | {f['n']} | {f['seconds']:.3g} | {f['evaluations']} | {more} |"
        )
