"""What is kept and what changes: the structure of a picture, the look of its things, or its colours alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from engine.diffusion.colours import to_lab
from engine.types import Noise, Sampler
from models.bozzetto.bed import (
    FIRST_SEED,
    PLACES,
    SCALE,
    STEPS,
    WORLD,
    Bed,
    Pixels,
    image_value,
    overlap,
    prompt_of,
    shown,
    subjects,
)
from models.bozzetto.judge import read
from models.bozzetto.methods.figures import Figure, Measured, mean
from models.bozzetto.scenes import scene
from models.bozzetto.scenes.vocabulary import STYLE_PREFIX

NEW_STYLES = ("pixel", "watercolor", "flat", "ink")
# Things of the list that are drawn in any colour and size, each with a colour that it seldom has when none is said.
TINTED = {"car": "blue", "house": "green", "tulip": "purple"}
GROWN = 1.5  # times as many pixels as before
NOISED = 0.75  # SDEdit's strength, between the paper's .6 and .85
THING = 0.3  # of the range of a noun's attention: where it looks more, the thing is
# Pixels between which transport is solved exactly. The card has 4,096, which take a minute; on three pairs their way is
# that of 1,024 to within 4 %, and 1 % in the mean.
MATCHED = 1024
DIRECTIONS = 64


def plug_and_play(bed: Bed, seeds: int) -> Measured:
    """A real picture's structure under another style, and one look in another layout.

    Controls are the paper's (Tumanyan et al. 2022, section 5): SDEdit, and the inversion with the new prompt alone.
    """
    told = subjects(seeds)
    nouns, old = [s.noun for s in told], [s.prompts[0] for s in told]
    styles = [NEW_STYLES[i % len(NEW_STYLES)] for i in range(seeds)]
    new = [f"{STYLE_PREFIX[style][0]} {prompt}" for style, prompt in zip(styles, old, strict=True)]
    worlds = [replace(WORLD, objects=(s.noun,), backgrounds=(s.place,)) for s in told]
    clean = bed.encode(np.stack([scene(FIRST_SEED + i, world).image for i, world in enumerate(worlds)]))
    inversion = bed("ddim_invert", bed.model, bed.texts(old), clean, bed.sigmas())
    (first, made), (_, plain) = (_pair(bed, old, new, c, inversion) for c in (bed("plug_and_play"), None))
    sigmas = bed("sigmas_by_strength", bed.model, "simple", STEPS, NOISED)
    noised = bed.decode(bed("sdedit", bed.model, bed.texts(new), bed.text(""), clean, sigmas, seed=0, cfg=SCALE))
    kept, lost, rough = (mean(_outlines(first, x, nouns)) for x in (made, plain, noised))
    styled, before = (mean(r.style == s for r, s in zip(read(x), styles, strict=True)) for x in (made, first))
    mutual = _mutual(bed, seeds)
    figures = (
        Figure("new style (control: the picture before)", styled, 0.8, before, seeds),
        Figure("IoU of the thing's outline and the original's (control: inverted, only the new prompt)", kept, 0.7,
               lost, seeds, "structure", margin=0.1, why="an inverted picture keeps most of its outline by itself"),
        Figure(f"IoU of the thing's outline and the original's (control: SDEdit at {NOISED})", kept, 0.7, rough, seeds,
               "sdedit", margin=0.1),
        *mutual.figures,
    )  # fmt: skip
    pictures = {"picture": first[0], f"Plug-and-Play, {styles[0]}": made[0], "SDEdit": noised[0]}
    return Measured(figures, pictures | dict(mutual.pictures))


def _mutual(bed: Bed, seeds: int) -> Measured:
    """A small thing becomes large, as the new prompt says, and keeps the colour that the new prompt leaves unsaid.

    Size is the layout that this model takes from a prompt; by "on the left" and "on the right" it draws one picture.
    """
    told = [(noun, TINTED[noun], PLACES[i % len(PLACES)]) for i, noun in zip(range(seeds), cycle(TINTED))]
    nouns = [noun for noun, _, _ in told]
    old = [prompt_of(f"small {colour} {noun}", place) for noun, colour, place in told]
    new = [prompt_of(f"large {noun}", place) for noun, _, place in told]
    # Every word is one token, so the first two prompts' map serves all.
    tokens = bed("align_prompts", bed.clip, old[0], new[0], "refine").tokens
    masked = bed("mutual_self_attention", tokens=tokens, source_words=nouns[0], target_words=nouns[0], threshold=THING)
    (first, made), (_, plain), (_, plugged) = (_pair(bed, old, new, c) for c in (masked, None, bed("plug_and_play")))
    were = [r.find(n) for r, n in zip(read(first), nouns, strict=True)]

    def compared(pictures: Pixels) -> tuple[list[bool], list[bool]]:
        pairs = [(w, r.find(n)) for w, r, n in zip(were, read(pictures), nouns, strict=True) if w is not None]
        return ([i is not None and i.colour == w.colour for w, i in pairs],
                [i is not None and i.mask.sum() >= GROWN * w.mask.sum() for w, i in pairs])  # fmt: skip

    (same, grown), (usual, _), (_, rigid) = (compared(x) for x in (made, plain, plugged))
    figures = (
        Figure("MasaCtrl: a thing of new size has its old colour, unsaid (control: only the new prompt)", mean(same),
               0.85, mean(usual), len(same), "look", margin=0.3),
        Figure("MasaCtrl: the thing has grown, as the new prompt says (control: Plug-and-Play)", mean(grown), 0.7,
               mean(rigid), len(grown), "layout", margin=0.3),
    )  # fmt: skip
    return Measured(figures, {old[0]: first[0], f"MasaCtrl, {new[0]}": made[0], "only the new prompt": plain[0]})


def _pair(
    bed: Bed, old: Sequence[str], new: Sequence[str], control: Any, inversion: Any = None
) -> tuple[Pixels, Pixels]:
    """Return pictures and their edits: from noise, or real ones that are held to their inversion."""
    made = bed(
        "sample_pair", bed.guider(bed.texts(new)), bed.texts(old), Sampler("ddim"), bed.sigmas(),
        bed.empty(len(old)) if inversion is None else inversion.latent, noise=None if inversion else Noise(0),
        control=control, blend=bed("direct_inversion", inversion.trajectory) if inversion else None,
    )  # fmt: skip
    return bed.decode(made.source), bed.decode(made.edited)


def _outlines(before: Pixels, after: Pixels, nouns: Sequence[str]) -> list[float]:
    """Return the overlap of things before and after, where they were drawn before."""
    pairs = [(a.find(n), b.find(n)) for a, b, n in zip(read(before), read(after), nouns, strict=True)]
    return [0.0 if b is None else overlap(a.mask, b.mask) for a, b in pairs if a is not None]


def color_transfer(bed: Bed, seeds: int) -> Measured:
    """A scene gets another one's colours, at little more than the cost of transport; control: the map as it is."""
    scenes = [scene(FIRST_SEED + 20_000 + i, WORLD).image for i in range(2 * seeds)]
    own, examples = np.stack(scenes[:seeds]), np.stack(scenes[seeds:])
    made, torn = (
        shown(bed("color_bridge", image_value(own), image_value(examples), smooth=on)) for on in (True, False)
    )
    lab = [
        [to_lab(torch.from_numpy(p.astype(np.float32) / 255)).numpy() for p in x] for x in (own, made, torn, examples)
    ]
    best = [_transport(a, c) for a, c in zip(lab[0], lab[3], strict=True)]

    def measured(moved: Sequence[NDArray[Any]]) -> tuple[float, float, float]:
        each = list(zip(lab[0], moved, lab[3], best, strict=True))
        return (1 - mean(_sliced(b, c) / _sliced(a, c) for a, b, c, _ in each),
                mean(_alike(a[..., 0], b[..., 0]) for a, b, *_ in each),
                mean(abs(np.square(b - a).sum(2).mean() / way - 1) for a, b, _, way in each))  # fmt: skip

    (nearer, edges, cost), (nearer_torn, edges_torn, cost_torn) = measured(lab[1]), measured(lab[2])
    figures = (
        Figure("distance to the example's colours, by how much smaller (control: not smoothed)", nearer, 0.8,
               nearer_torn, seeds, why="a map that is smooth over the picture cannot part all that shares would part"),
        Figure("correlation of gradients with the picture's (control: not smoothed)", edges, 0.9, edges_torn, seeds,
               "edges", why="where the example has other shares of light and dark, contrasts change"),
        Figure("squared way of colours: how far from exact transport's (control: not smoothed)", cost, 0.2, cost_torn,
               seeds, "cost", most=True, why="the flow between two palettes is no optimal transport"),
    )  # fmt: skip
    return Measured(
        figures, {"picture": own[0], "example": examples[0], "its colours": made[0], "not smoothed": torn[0]}
    )


def _sliced(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Return the mean Wasserstein-1 distance of colours (H, W, 3), as many of each, over directions."""
    ways = np.random.default_rng(0).standard_normal((3, DIRECTIONS))
    x, y = (c.reshape(-1, 3) @ (ways / np.linalg.norm(ways, axis=0)) for c in (a, b))
    return float(np.abs(np.sort(x, 0) - np.sort(y, 0)).mean())


def _alike(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Return the correlation of the gradients of two pictures (H, W)."""
    x, y = (np.concatenate([cv2.Sobel(p, cv2.CV_64F, 1, 0), cv2.Sobel(p, cv2.CV_64F, 0, 1)]).ravel() for p in (a, b))
    return float(np.corrcoef(x, y)[0, 1])


def _transport(picture: NDArray[Any], example: NDArray[Any]) -> float:
    """Return the mean squared way of optimal transport between as many colours of each (H, W, 3)."""
    random = np.random.default_rng(0)
    x, y = (p[random.choice(len(p), MATCHED, replace=False)] for p in (picture.reshape(-1, 3), example.reshape(-1, 3)))
    ways = cdist(x, y, "sqeuclidean")  # (MATCHED, MATCHED)
    return float(ways[linear_sum_assignment(ways)].mean())
