"""Marks in the initial noise: found again after what the world does to pictures, and not found where there are none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle

import numpy as np

from engine.types import Conditioning, Image, Latent, Noise, Trajectory
from models.bozzetto.bed import (
    DRAWN,
    FIRST_SEED,
    PLACES,
    SCALE,
    WORLD,
    Bed,
    Pixels,
    before,
    image_value,
    pairs,
    prompt_of,
    shown,
)
from models.bozzetto.judge import read
from models.bozzetto.judge.metrics import features, frechet
from models.bozzetto.methods.figures import Figure, Measured, mean
from models.bozzetto.scenes import scene
from models.bozzetto.scenes.holdout import COLOUR_PAIRS
from models.bozzetto.scenes.vocabulary import START_COLOURS, TINTABLE

BARS = {"none": 0.99, "jpeg": 0.85, "blur": 0.85, "noise": 0.8, "brightness": 0.85, "crop": 0.85, "turn": 0.85}
UNDONE = {"turn": "undo_turns", "crop": "undo_crops"}
UNMARKED = 100  # drawn scenes from which the threshold comes
RATE = 0.01  # share of false alarms that the threshold is set for
THINGS = tuple(noun for noun in DRAWN if noun in TINTABLE)
SCALES = (1.0, 8.0)  # guidance beside the usual one
UNSCALED = "a distance grows with the whole spectrum, which attacks change; the chance is of the spectrum's own size"
SECRET = {"message": "1011001110001111", "secret": "a", "nonce": 0}


def tree_ring(bed: Bed, seeds: int) -> Measured:
    """Marked and unmarked pictures of the same seeds, attacked, inverted and told apart; control: another key."""
    n = 2 * seeds
    named = [(noun, _colours(noun)[i % len(_colours(noun))]) for i, noun in zip(range(n), cycle(THINGS))]
    texts = bed.texts([prompt_of(f"{c} {noun}", p) for (noun, c), p in zip(named, cycle(PLACES))])
    rings, other = bed("ring_noise", seed=0), bed("ring_noise", seed=0, key=7)
    marked, plain = (bed.decode(bed.run(bed.guider(texts), bed.empty(n), noise)) for noise in (rings, Noise(0)))
    attacked = [bed("attack_pictures", image_value(x)) for x in (marked, plain)]
    clean, unmarked = (_Looked(bed, image_value(x)) for x in (marked, plain))
    rows, areas = [], []
    for name, one, without in zip(attacked[0].names, attacked[0].images, attacked[1].images, strict=True):
        kind = name.partition(" ")[0]
        looked = [clean, unmarked] if kind == "none" else [_Looked(bed, x, kind) for x in (one, without)]
        area, wrong = (_area(*(x.distances(mark) for x in looked)) for mark in (rings, other))
        rows.append(Figure(f"area under the ROC of distances, {name} (control: another key)", area, BARS[kind], wrong,
                           n, "" if kind == "none" else kind, why=UNSCALED))  # fmt: skip
        areas.append((_area(*(x.chances(rings) for x in looked)), area))
    cut, scenes, real = _threshold(bed, rings), _drawn(), _Looked(bed, image_value(before(pairs(n, "swap"))))
    found, alarms, strangers = (mean(s <= cut for s in x.chances(rings)) for x in (clean, unmarked, real))
    good, usual = (mean((t := r.find(noun)) is not None and t.colour == c
                        for r, (noun, c) in zip(read(x), named, strict=True)) for x in (marked, plain))  # fmt: skip
    far, near = (frechet(features(x), features(scenes)) for x in (marked, plain))
    figures = (
        *rows,
        Figure("area by the chance that the detector gives, mean of all these (control: by distances)",
               mean(a for a, _ in areas), 0.975, mean(d for _, d in areas), n, "chance"),
        Figure("found at the threshold for 1 % of 100 drawn scenes (control: unmarked pictures)", found, 0.9, alarms, n,
               "found"),
        Figure("drawn scenes, unmarked, taken for marked", strangers, 0.02, None, n, "real", most=True),
        Figure("named thing found in its colour, less in unmarked pictures", good - usual, -0.02, None, n, "quality"),
        Figure("Frechet distance from drawn scenes, of that of unmarked pictures", far / near, 1.05, None, n,
               "frechet", most=True),
        _guidance(bed, texts, rings, clean),
        *_shading(bed, n, bed.guider(texts)),
    )  # fmt: skip
    pictures = {"unmarked": plain[0], "marked": marked[0], "JPEG 75": shown(attacked[0].images[1])[0],
                "noise": shown(attacked[0].images[3])[0]}  # fmt: skip
    return Measured(figures, pictures)


def _colours(noun: str) -> list[str]:
    """Return the colours in which training shows a thing."""
    return [c for c in START_COLOURS if (noun, c) not in COLOUR_PAIRS]


def _drawn() -> Pixels:
    """Return drawn scenes, which carry no mark."""
    return np.stack([scene(FIRST_SEED + 30_000 + i, WORLD).image for i in range(UNMARKED)])


def _guidance(bed: Bed, texts: Conditioning, rings: Noise, usual: _Looked) -> Figure:
    """The more guidance pulls, the further from its noise a picture inverts."""
    n = len(texts.conds[0].tokens)
    weak, strong = (_Looked(bed, image_value(bed.decode(bed.run(bed.guider(texts, scale), bed.empty(n), rings))))
                    for scale in SCALES)  # fmt: skip
    sure = [mean(-math.log10(max(p, 1e-300)) for p in x.chances(rings)) for x in (weak, usual, strong)]
    told = ", ".join(f"1e-{x:.1f}" for x in sure)
    return Figure(f"guidance of {SCALES[0]:g}, {SCALE:g}, {SCALES[1]:g} leaves chances of {told}, ever less sure",
                  float(sure[0] >= sure[1] >= sure[2]), 1.0, None, n, "guidance")  # fmt: skip


def _threshold(bed: Bed, mark: Noise) -> float:
    pictures = _inverted(bed, bed.encode(_drawn()))
    cut: float = bed("calibrate_mark", mark, bed.empty(), RATE, pictures=pictures)
    return cut


class _Looked:
    """Inversions of pictures, in which marks can be looked for; after turns and crops in each way to undo them."""

    def __init__(self, bed: Bed, images: Image, kind: str = "") -> None:
        self.bed = bed
        ways = bed(UNDONE[kind], images).images if kind in UNDONE else [images]
        self.trajectories = [_inverted(bed, bed("vae_encode", way, bed.vae)) for way in ways]

    def chances(self, mark: Noise) -> list[float]:
        """Return the chance of the mark in each picture, in its best way: what the detector decides by."""
        return self._least(mark, "p")

    def distances(self, mark: Noise) -> list[float]:
        """Return the distance from the key of each picture, in its best way: what the paper draws curves from."""
        return self._least(mark, "distance")

    def _least(self, mark: Noise, what: str) -> list[float]:
        ways = ([getattr(self.bed("detect_mark", mark, one), what) for one in _single(t)] for t in self.trajectories)
        return [min(each) for each in zip(*ways, strict=True)]


def _inverted(bed: Bed, latent: Latent) -> Trajectory:
    """Invert with an empty prompt, each step refined once: first-order steps alone lose a fifth of the noise."""
    made: Trajectory = bed("ddim_invert", bed.model, bed.text(""), latent, bed.sigmas(), refine=1).trajectory
    return made


def _single(trajectory: Trajectory) -> list[Trajectory]:
    """Return the trajectory of each picture of a batch."""
    kept = trajectory.latents
    return [replace(trajectory, latents=kept[:, i : i + 1]) for i in range(kept.shape[1])]


def _area(marked: Sequence[float], plain: Sequence[float]) -> float:
    """Return the chance that a marked picture has a lower score than an unmarked one."""
    a, b = np.array(marked)[:, None], np.array(plain)[None]
    return float((a < b).mean() + (a == b).mean() / 2)


def _shading(bed: Bed, n: int, guider: object) -> tuple[Figure, ...]:
    """Sixteen bits in the signs of the noise, read from the plain and the compressed picture; control: other secret."""
    made = [bed.decode(bed.run(guider, bed.empty(n), bed("shaded_noise", seed=0, **SECRET)))]
    jpeg = shown(bed("attack_pictures", image_value(made[0])).images[1])
    rows = []
    for name, pictures in (("", made[0]), ("jpeg", jpeg)):
        looked = _single(_inverted(bed, bed.encode(pictures)))
        right, wrong = (_bits(bed, looked, secret) for secret in ("a", "b"))
        told = f"bits of Gaussian shading read rightly{', JPEG 75' if name else ''} (control: other secret)"
        rows.append(Figure(told, right, 0.9, wrong, n, f"shading{'_' if name else ''}{name}"))
    return tuple(rows)


def _bits(bed: Bed, looked: Sequence[Trajectory], secret: str) -> float:
    marks = [bed("shaded_noise", **{**SECRET, "secret": secret, "nonce": i}) for i in range(len(looked))]
    return mean(1 - bed("detect_mark", mark, one).distance for mark, one in zip(marks, looked, strict=True))
