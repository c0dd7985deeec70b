"""Imagic: a real picture changed by a sentence, after learning prompt and weights from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.types import Latent, Noise
from models.bozzetto.bed import Bed, Pixels, before, decibels, in_place, pairs
from models.bozzetto.encoder import embed_images, embed_texts
from models.bozzetto.judge import read
from models.bozzetto.methods.figures import Figure, Measured, mean
from models.bozzetto.scenes.pairs import Pair

AMOUNTS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1)
OTHERS = 4  # learning takes a minute a picture: only every so-many-th seed is used


def imagic(bed: Bed, seeds: int) -> Measured:
    """Recoloured things, the amount chosen by the dual encoder; controls: before, no tuning, the prompt alone."""
    told = pairs(max(1, seeds // OTHERS), "colour")
    own = bed.decode(bed.encode(before(told)))
    runs = [_learnt(bed, p) for p in told]
    made, back, untuned = (np.concatenate([r[k] for r in runs]) for k in range(3))
    alone = bed.sample([p.captions[1] for p in told])
    coloured, control = (mean(map(_recoloured, x, told)) for x in (made, own))
    kept, fresh = (mean(map(_kept, x, own, told)) for x in (made, alone))
    returned, without = (mean(map(decibels, x, own)) for x in (back, untuned))
    n = len(told)
    figures = (
        Figure("thing in the new colour (control: before)", coloured, 0.8, control, n),
        Figure("thing in its place before its background (control: the prompt alone)", kept, 0.7, fresh, n, "kept"),
        Figure("dB of the picture by the learnt prompt (control: weights not tuned)", returned, 26.0, without, n,
               "back", margin=4.0),
    )  # fmt: skip
    return Measured(figures, {"picture": own[0], "learnt": back[0], told[0].instruction: made[0], "alone": alone[0]})


def _learnt(bed: Bed, told: Pair) -> tuple[Pixels, Pixels, Pixels]:
    """Return the edit, and the picture by the learnt prompt with and without tuned weights."""
    clean, target = bed.encode(told.before.image[None]), bed.text(told.captions[1])
    prompt = bed("optimise_embedding", bed.model, clean, target, 100, 0.005).conditioning
    tuned = bed("finetune_on_picture", bed.model, clean, prompt, 250, 0.0005, scope="full").model

    def made(model: Any, text: Any, scale: float) -> Latent:
        return bed.run(replace(bed.guider(text, scale), model=model), bed.empty(), Noise(3), steps=25)

    ways = np.concatenate([bed.decode(made(tuned, bed("between_prompts", prompt, target, a), 3.0)) for a in AMOUNTS])
    old, new = (embed_images(ways) @ embed_texts(list(told.captions)).T).T
    at = amount(old, new)
    back, untuned = (made(model, prompt, 1.0) for model in (tuned, bed.model))
    return ways[at : at + 1], bed.decode(back), bed.decode(untuned)


def amount(old: NDArray[np.float32], new: NDArray[np.float32]) -> int:
    """Return the least amount at which a picture is nearer to the new caption than to the old, by their likeness.

    Likeness to the new one alone grows with the amount, until nothing of the picture is left. Where none is nearer, the
    one that comes nearest.
    """
    nearer = new > old
    return int(nearer.argmax() if nearer.any() else (new - old).argmax())


def _recoloured(picture: Pixels, told: Pair) -> bool:
    wanted = told.after.spec.objects[0]
    found = read(picture[None])[0].find(wanted.noun)
    return found is not None and found.colour == wanted.colour


def _kept(picture: Pixels, own: Pixels, told: Pair) -> bool:
    now, then = read(picture[None])[0], read(own[None])[0]
    return now.background == then.background and in_place(now, told.before.spec.objects[0].noun, told.before.masks[0])
