"""Methods that change the model, or change models on the way: TIME and experts by noise level."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import Any, Literal

import numpy as np

from engine.types import Noise, Sampler, Sigmas
from models.bozzetto.bed import PLACES, SCALE, STEPS, Bed, Pixels, prompt_of, subjects
from models.bozzetto.judge import Reading, read
from models.bozzetto.methods.figures import Figure, Measured, mean
from models.bozzetto.scenes.vocabulary import STYLE_PREFIX, article

# Twenty assumptions: colours of things, places and styles. Counts cannot be taught: "two cars" holds no "car".
COLOURS = {"car": ("green", "blue", "yellow", "white"), "tulip": ("green", "yellow", "purple", "black"),
           "house": ("purple", "pink", "blue", "green"), "cake": ("green", "blue", "purple")}  # fmt: skip
PLACED = {"cactus": "snow", "bus": "desert"}
STYLED = {"car": "pixel", "house": "watercolor", "cake": "flat"}
CONTEXTS = ("{} on a beach", "a picture of {}", "{} in the snow", "{} at night", "{} in a city")
# Prompts that are to stay as they are, none of a thing that takes a colour or is asked about.
KEPT = (
    "a bus in a city", "a penguin in the snow", "a cactus in a desert", "a red hat on a beach", "a dog in a field",
    "a fish in the water", "a boat on the water", "a rocket in the sky", "a castle at night", "a tree in a forest",
    "a mushroom in a forest", "a chair in a room", "a teapot in a room", "an umbrella on a beach",
    "a balloon at sunset", "a rabbit in the snow",
)  # fmt: skip
OWN = ("blue", "white", "black", "pink", "green")  # of the thing itself, to stay where they are said
SAID = {"colour": "red", "background": "city", "style": "ink"}  # asked for in words, and not among what is kept
HOLD = 0.1
HALF = (0.4, 0.6)  # share of pictures, when a default shall hold in half of them
PICTURES, ROUNDS, HOLDS = 10, 5, (-3.0, 1.5)  # to find that hold, in powers of ten
QUICK = 10  # steps of DPM-Solver++(2M): there are many pictures to make
# Parts of the steps of Karras et al. 2022, in whose terms eDiff-I is told: 70 % of them end at sigma .47, 70 % of the
# noise levels at .94, where a thing of a few cells is not settled yet.
EARLY, LATE = 0.1, 0.7


@dataclass(frozen=True)
class Assumption:
    """What is to be taken for granted of a thing: its `colour`, or the `background` or `style` of its picture."""

    noun: str
    what: Literal["colour", "background", "style"]
    value: str

    @property
    def target(self) -> str:
        """The prompt that is taught. It says the value before the thing: a causal encoder does not look ahead."""
        start = f"{STYLE_PREFIX[self.value][0]} a" if self.what == "style" else article(self.value)
        return f"{start} {self.noun}"

    @property
    def another(self) -> str:
        """A prompt that says another value."""
        value = SAID[self.what]
        if self.what == "background":
            return prompt_of(self.noun, value)
        return article(f"{value} {self.noun}") if self.what == "colour" else f"{STYLE_PREFIX[value][0]} a {self.noun}"

    def context(self, number: int) -> str:
        """Return a longer prompt that leaves it unsaid."""
        start = f"a large {self.noun}" if self.what == "background" else CONTEXTS[number % len(CONTEXTS)]
        return start.format(f"a {self.noun}")

    def taught(self, bed: Bed, hold: float = HOLD, **options: bool) -> Any:
        """Return the model that assumes it."""
        own = [article(f"{c} {self.noun}") for c in OWN if c != self.value]
        kept = [k for k in (*KEPT, *own) if self.what == "colour" or self.noun not in k.split()]
        return bed("time_edit_model", bed.model, bed.clip, article(self.noun), self.target, hold,
                   relative=True, preserve="\n".join(kept), **options).model  # fmt: skip

    def seen(self, reading: Reading, noun: str) -> str | None:
        """Return what a picture of a thing shows of it."""
        value: str | None = getattr(reading.find(noun) if self.what == "colour" else reading, self.what, None)
        return value


ASSUMPTIONS = (
    *(Assumption(noun, "colour", c) for noun, colours in COLOURS.items() for c in colours),
    *(Assumption(noun, "background", place) for noun, place in PLACED.items()),
    *(Assumption(noun, "style", style) for noun, style in STYLED.items()),
)


def time_editing(bed: Bed, seeds: int) -> Measured:
    """Twenty assumptions, each taught alone; controls: before, values alone, prompts not inside templates."""
    got: dict[str, list[float]] = defaultdict(list)
    usual = {noun: read(_made(bed, [article(noun)] * PICTURES, 0, bed.model)) for noun in COLOURS}
    for k in range(len(ASSUMPTIONS)):
        for name, marks in _marks(bed, k, usual, seeds).items():
            got[name] += marks
    shares = [_shares(bed, Assumption(noun, "colour", colours[0])) for noun, colours in COLOURS.items()]
    at_first, at_last = (mean(HALF[0] <= s[i] <= HALF[1] for s in shares) for i in (0, -1))
    m, n = {name: mean(marks) for name, marks in got.items()}, seeds * len(ASSUMPTIONS)
    figures = (
        Figure("shows what was taught (control: by values alone)", m["own"], 0.8, m["values"], n,
               why="places and styles are hardly learnt (1 of 8 on other seeds, colours 14 of 14)"),
        Figure("showed it before", m["own before"], 0.15, None, n, "before", most=True),
        Figure("the same in another prompt (control: not taught inside templates)", m["context"], 0.6, m["bare"], n,
               "general"),
        Figure("another thing looks as it may by default", m["others"], 0.8, None, n, "specific"),
        Figure("what is said is drawn (control: before)", m["said"], 0.8, m["said before"], n, "said"),
        Figure("how much less certain other things are", m["doubt"], 0.03, None, n, "quality", most=True),
        Figure("at some hold in .4 to .6 of pictures (control: at the usual one)", at_last, 0.7, at_first, len(shares),
               "half"),
    )  # fmt: skip
    return Measured(figures, _before_and_after(bed, ASSUMPTIONS[0]) | _before_and_after(bed, ASSUMPTIONS[-1]))


def _marks(bed: Bed, k: int, usual: Mapping[str, Sequence[Reading]], seeds: int) -> dict[str, list[float]]:
    """Return right or wrong of the k-th assumption, by question and picture; how much less certain another thing is.

    Things have several looks by default, `usual`, and small changes choose among them (a hold at which nothing is
    learnt changes a fifth of them): it counts whether a look is one of those, and not what was taught.
    """
    one = ASSUMPTIONS[k]
    own, context, said = article(one.noun), one.context(k), SAID[one.what]
    model, values, bare = one.taught(bed), one.taught(bed, keys=False), one.taught(bed, templates=False)

    def read_of(prompt: str, by: Any) -> list[Reading]:
        return read(_made(bed, [prompt] * seeds, 50 * k, by))

    def shows(prompt: str, by: Any, wanted: str = one.value) -> list[float]:
        return [float(one.seen(r, one.noun) == wanted) for r in read_of(prompt, by)]

    other = next(noun for noun in islice(cycle(COLOURS), k, None) if noun != one.noun)
    looks = {one.seen(r, other) for r in usual[other]} - {None}
    both = list(zip(*(read_of(article(other), by) for by in (bed.model, model)), strict=True))
    return {
        "own": shows(own, model), "own before": shows(own, bed.model), "values": shows(own, values),
        "context": shows(context, model), "bare": shows(context, bare),
        "said": shows(one.another, model, said), "said before": shows(one.another, bed.model, said),
        "others": [float(one.seen(b, other) in looks - ({one.value} - {one.seen(a, other)})) for a, b in both
                   if one.seen(a, other)],
        "doubt": [_certainty(a, other) - _certainty(b, other) for a, b in both],
    }  # fmt: skip


def _shares(bed: Bed, one: Assumption) -> list[float]:
    """Return the share of pictures that show it at the usual hold, and at holds that close in on half of them."""
    (low, high), middle, shares = HOLDS, math.log10(HOLD), list[float]()
    while len(shares) <= ROUNDS and not any(HALF[0] <= s <= HALF[1] for s in shares):
        pictures = _made(bed, [article(one.noun)] * PICTURES, 0, one.taught(bed, 10**middle))
        shares.append(mean(one.seen(r, one.noun) == one.value for r in read(pictures)))
        low, high = (middle, high) if shares[-1] > HALF[1] else (low, middle)
        middle = (low + high) / 2
    return shares


def _before_and_after(bed: Bed, one: Assumption) -> dict[str, Pixels]:
    pictures = (_made(bed, [article(one.noun)], 0, model)[0] for model in (bed.model, one.taught(bed)))
    return dict(zip((f"{one.noun}, before", f"{one.noun}: {one.value}"), pictures, strict=True))


def _made(bed: Bed, prompts: Sequence[str], seed: int, model: Any) -> Pixels:
    guider, sampler = replace(bed.guider(bed.texts(prompts)), model=model), Sampler("dpmpp_2m")
    sigmas = bed("sigmas", bed.model, "karras", QUICK, 1.0)
    return bed.decode(bed("sample_custom", guider, sampler, sigmas, bed.empty(len(prompts)), Noise(seed)).latent)


def _certainty(reading: Reading, noun: str) -> float:
    thing = reading.find(noun)
    return 0.0 if thing is None else thing.certainty


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
