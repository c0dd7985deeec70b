"""Imagic: a real picture changed by a sentence, after learning prompt and weights from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from engine.types import Noise
from models.bozzetto.bed import FIRST_SEED, SCALE, STEPS, WORLD, Bed, Pixels, decibels, in_place
from models.bozzetto.encoder import embed_images, embed_texts
from models.bozzetto.judge import Reading, read
from models.bozzetto.judge.metrics import feature_distance
from models.bozzetto.methods.figures import Figure, Measured, mean
from models.bozzetto.methods.looks import GROWN
from models.bozzetto.scenes import Scene, scene
from models.bozzetto.scenes.captions import caption
from models.bozzetto.scenes.pairs import pair

AMOUNTS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1)
STRENGTHS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # of SDEdit
PROMPT, WEIGHTS = (100, 0.01), (200, 0.0005)  # steps and rates of learning
GUIDANCE = 5.0  # at 3 tuned weights leave a new colour pale
OTHERS = 5  # learning takes three minutes a picture: only every so-many-th seed is used


@dataclass(frozen=True)
class Wish:
    """A picture, what it shall become, and the thing's colour then; without one it shall be larger."""

    before: Scene
    target: str
    colour: str | None = None

    def done(self, now: Reading, then: Reading) -> bool:
        """Say whether a picture shows what was wished."""
        thing, old = (r.find(self.noun) for r in (now, then))
        if self.colour:
            return thing is not None and thing.colour == self.colour
        return bool(thing and old and thing.mask.sum() >= GROWN * old.mask.sum())

    def kept(self, now: Reading, then: Reading) -> bool:
        """Say whether the rest is as it was: background, and place of what is recoloured or colour of what grows."""
        thing, old = (r.find(self.noun) for r in (now, then))
        same = (
            in_place(now, self.noun, self.before.masks[0])
            if self.colour
            else thing and old and thing.colour == old.colour
        )
        return bool(same and now.background == then.background)

    @property
    def noun(self) -> str:
        """The thing."""
        return self.before.spec.objects[0].noun


def imagic(bed: Bed, seeds: int) -> Measured:
    """Recoloured things and one that grows; controls: before, the prompt alone, weights not tuned, SDEdit."""
    n = max(2, seeds // OTHERS)
    painted = [pair(FIRST_SEED + i, WORLD, "colour") for i in range(n - 1)]
    wishes = [*(Wish(p.before, p.captions[1], p.after.spec.objects[0].colour) for p in painted), _larger()]
    found = [_fulfilled(bed, w) for w in wishes]
    likeness, shown = np.stack([f[0] for f in found]), {k: np.stack([f[1][k] for f in found]) for k in found[0][1]}
    then = read(shown["own"])

    def marks(ask: Callable[[Wish, Reading, Reading], bool], name: str) -> list[bool]:
        return [ask(w, now, old) for w, now, old in zip(wishes, read(shown[name]), then, strict=True)]

    done, before = (marks(Wish.done, k) for k in ("made", "own"))
    back, untuned = (mean(map(decibels, shown[k], shown["own"])) for k in ("back", "untuned"))
    away, guided = (float(feature_distance(shown[k], shown["own"]).mean()) for k in ("made", "guided"))
    rising = float(spearmanr(AMOUNTS, likeness.mean(0)).statistic)
    figures = (
        Figure("thing in the new colour (control: before)", mean(done[:-1]), 0.8, mean(before[:-1]), n - 1),
        Figure("thing half as large again (control: before)", mean(done[-1:]), 0.6, mean(before[-1:]), 1, "larger"),
        Figure("thing and background kept", mean(marks(Wish.kept, "made")), 0.7, None, n, "kept"),
        Figure("the same by the prompt alone", mean(marks(Wish.kept, "alone")), 0.3, None, n, "alone", most=True,
               why="the sentence names the place, and the model draws things where scenes have them"),
        Figure("dB of the picture by the learnt prompt (control: weights not tuned)", back, 26.0, untuned, n,
               "back", margin=4.0),
        Figure("rank correlation of amount and likeness to the target", rising, 0.8, None, n, "curve"),
        Figure("distance from the picture, of that of SDEdit as like the target", away / guided, 0.8, 1.0, n, "sdedit",
               most=True, why="two of the three are recoloured, which SDEdit does well"),
    )  # fmt: skip
    names = {"picture": "own", "learnt": "back", wishes[0].target: "made", "by SDEdit": "guided", "alone": "alone"}
    return Measured(figures, {name: shown[k][0] for name, k in names.items()})


def _larger() -> Wish:
    """Return a small thing that shall be large."""
    small = next(
        s
        for s in (scene(FIRST_SEED + i, WORLD) for i in count())
        if (s.spec.size, s.spec.position) == ("small", "centre")
    )
    return Wish(small, caption(replace(small.spec, size="large"), np.random.default_rng(0), full=True))


def _fulfilled(bed: Bed, wish: Wish) -> tuple[NDArray[np.float32], dict[str, Pixels]]:
    """Return the likeness to the target of each amount's picture, and the pictures that are compared."""
    clean, target = bed.encode(wish.before.image[None]), bed.text(wish.target)
    prompt = bed("optimise_embedding", bed.model, clean, target, *PROMPT).conditioning
    tuned = bed("finetune_on_picture", bed.model, clean, prompt, *WEIGHTS, scope="full").model

    def made(model: Any, text: Any, scale: float) -> Pixels:
        picture: Pixels = bed.decode(bed.run(replace(bed.guider(text, scale), model=model), bed.empty(), Noise(3)))[0]
        return picture

    def guided(strength: float) -> Pixels:
        sigmas, empty = bed.sigmas(STEPS, strength), bed.text("")
        picture: Pixels = bed.decode(bed("sdedit", bed.model, target, empty, clean, sigmas, seed=3, cfg=SCALE))[0]
        return picture

    def alike(pictures: Pixels) -> NDArray[np.float32]:
        likeness: NDArray[np.float32] = embed_images(pictures) @ embed_texts([wish.target])[0]
        return likeness

    ways = np.stack([made(tuned, bed("between_prompts", prompt, target, a), GUIDANCE) for a in AMOUNTS])
    others = np.stack([guided(s) for s in STRENGTHS])
    likeness, theirs = alike(ways), alike(others)
    enough = theirs >= likeness.max()
    return likeness, {
        "own": bed.decode(clean)[0], "made": ways[likeness.argmax()], "back": made(tuned, prompt, 1.0),
        "untuned": made(bed.model, prompt, 1.0), "alone": made(bed.model, target, SCALE),
        "guided": others[enough.argmax() if enough.any() else theirs.argmax()],
    }  # fmt: skip
