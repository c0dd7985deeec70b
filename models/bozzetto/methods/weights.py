"""Methods that change the model, or change models on the way: TIME and experts by noise level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.types import Noise, Sampler, Sigmas
from models.bozzetto.bed import PLACES, SCALE, STEPS, Bed, Pixels, prompt_of, subjects
from models.bozzetto.judge import read
from models.bozzetto.methods.figures import Figure, Measured, mean
from models.bozzetto.scenes.vocabulary import article

TAUGHT = (("car", "green"), ("tulip", "blue"), ("house", "purple"), ("cake", "yellow"))  # what is left unsaid
# Prompts that are to stay as they are, none of a thing that is taught or asked about.
KEPT = "\n".join((
    "a bus in a city", "a penguin in the snow", "a cactus in a desert", "a red hat on a beach", "a dog in a field",
    "a fish in the water", "a boat on the water", "a rocket in the sky", "a castle at night", "a tree in a forest",
    "a mushroom in a forest", "a chair in a room", "a teapot in a room", "an umbrella on a beach",
    "a balloon at sunset", "a rabbit in the snow",
))  # fmt: skip
SAID = ("blue", "white", "black", "pink", "green")  # colours that are kept where they are said; red is asked for
HOLD = 0.1  # at 0.003 the projections change by twice their size, and other things are lost
ASKED = ("taught", "taught before", "elsewhere", "elsewhere before", "others", "said", "said before")
# Parts of the steps of Karras et al. 2022, in whose terms eDiff-I is told: 70 % of them end at sigma .47, 70 % of the
# noise levels at .94, where a thing of a few cells is not settled yet.
EARLY, LATE = 0.1, 0.7


def time_editing(bed: Bed, seeds: int) -> Measured:
    """A colour left unsaid becomes the one that was taught; control: the same prompts before the edit."""
    each = max(1, seeds // len(TAUGHT))
    marks: dict[str, list[bool]] = {k: [] for k in ASKED}
    pictures: dict[str, Pixels] = {}
    for k, (noun, colour) in enumerate(TAUGHT):
        kept = "\n".join([KEPT, *(article(f"{c} {noun}") for c in SAID if c != colour)])
        edit = bed("time_edit_model", bed.model, bed.clip, article(noun), article(f"{colour} {noun}"), HOLD,
                   relative=True, preserve=kept)  # fmt: skip
        other = TAUGHT[(k + 1) % len(TAUGHT)][0]
        prompts = [prompt_of(noun, "beach"), prompt_of(f"large {noun}", "snow"), prompt_of(other, "beach"),
                   prompt_of(f"red {noun}", "beach")]  # fmt: skip
        many = [p for p in prompts for _ in range(each)]
        after, before = (bed.sample(many, 50 * k, model=model) for model in (edit.model, bed.model))
        names = [n for n in (noun, noun, other, noun) for _ in range(each)]
        now, then = (_colours(x, names) for x in (after, before))
        a, b, c = each, 2 * each, 3 * each
        marks["taught"] += [x == colour for x in now[:a]]
        marks["taught before"] += [x == colour for x in then[:a]]
        marks["elsewhere"] += [x == colour for x in now[a:b]]
        marks["elsewhere before"] += [x == colour for x in then[a:b]]
        marks["others"] += [x == y for x, y in zip(now[b:c], then[b:c], strict=True) if y]
        marks["said"] += [x == "red" for x in now[c:]]
        marks["said before"] += [x == "red" for x in then[c:]]
        pictures |= {f"{noun}, before": before[0], f"{noun}: {colour}": after[0]} if k < 2 else {}
    got = {k: mean(v) for k, v in marks.items()}
    n = each * len(TAUGHT)
    figures = (
        Figure("unsaid colour as taught (control: before)", got["taught"], 0.8, got["taught before"], n),
        Figure("the same in another prompt (control: before)", got["elsewhere"], 0.6, got["elsewhere before"], n,
               "general"),
        Figure("other things keep their colour", got["others"], 0.8, None, len(marks["others"]), "specific"),
        Figure("a colour that is said is drawn (control: before)", got["said"], 0.8, got["said before"], n, "said"),
    )  # fmt: skip
    return Measured(figures, pictures)


def _colours(pictures: Pixels, nouns: Sequence[str]) -> list[str | None]:
    things = [r.find(n) for r, n in zip(read(pictures), nouns, strict=True)]
    return [None if t is None else t.colour for t in things]


def expert_router(bed: Bed, seeds: int) -> Measured:
    """What decides when: a prompt that is switched early or late; a winter model for the noisy or the clean half."""
    told = subjects(seeds)
    first, second = (bed.texts([s.prompts[k] for s in told]) for k in (0, 1))
    sigmas: Sigmas = bed("sigmas", bed.model, "karras", STEPS, 1.0)
    how: dict[str, Any] = {"sampler": Sampler("ddim"), "sigmas": sigmas, "latent": bed.empty(seeds), "noise": Noise(0)}
    part, border = (_part(bed, sigmas, at) for at in (EARLY, LATE))

    def switched(at: float) -> Pixels:
        parts = [bed("set_time_range", c, *span) for c, span in ((first, (0.0, at)), (second, (at, 1.0)))]
        guider = bed.guider(bed("combine_conditioning", *parts))
        return bed.decode(bed("sample_custom", guider, **how).latent)

    late, early = switched(border), switched(part)
    stays, taken = _found(late, [s.noun for s in told]), _found(early, [s.other for s in told])
    winter = bed("load_lora", bed.model, bed.clip, "bozzetto/winter.safetensors").model
    prompts = bed.texts([prompt_of(s.noun, PLACES[0]) for s in told])

    def routed(noisy: object, clean: object) -> Pixels:
        guider = bed("cfg_guider", noisy, prompts, bed.text(""), SCALE)
        return bed.decode(bed("sample_experts", guider, [clean], [1 - border], **how))

    snowy, sandy, same = routed(winter, bed.model), routed(bed.model, winter), routed(bed.model, bed.model)
    snow, sand = (mean(r.background == "snow" for r in read(x)) for x in (snowy, sandy))
    alone = bed.decode(bed("sample_custom", bed.guider(prompts), **how).latent)
    figures = (
        Figure("thing of the first prompt, switched after 70 % of steps (control: after 10 %)", stays, 0.9,
               _found(early, [s.noun for s in told]), seeds),
        Figure("thing of the second prompt, switched after 10 % (control: after 70 %)", taken, 0.9,
               _found(late, [s.other for s in told]), seeds, "early"),
        Figure("snow by a winter expert for the noisy part (control: for the clean part)", snow, 0.9, sand, seeds,
               "winter"),
        Figure("two equal experts are one model, to the bit", float(np.array_equal(same, alone)), 1.0, None, seeds,
               "equal"),
    )  # fmt: skip
    return Measured(figures, {told[0].prompts[0]: late[0], told[0].prompts[1]: early[0], "winter, noisy": snowy[0],
                              "winter, clean": sandy[0]})  # fmt: skip


def _part(bed: Bed, sigmas: Sigmas, steps: float) -> float:
    """Return the part of the noise levels that lies behind after a part of the steps.

    It ends half a level before the next step's own, so that this step is the first of what follows.
    """
    with bed.ctx.models.use(bed.model) as network:
        after = float(sigmas.values[round(steps * (len(sigmas.values) - 1))])
        part: float = network.levels.percent(after) - 0.5 / network.levels.count
        return part


def _found(pictures: Pixels, nouns: Sequence[str]) -> float:
    return mean(r.find(n) is not None for r, n in zip(read(pictures), nouns, strict=True))
