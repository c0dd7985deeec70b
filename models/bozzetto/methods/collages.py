"""Collage Diffusion: cut-outs that do not fit become one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from engine.types import Latent, Mask, Noise, Sampler
from models.bozzetto.bed import (
    SCALE,
    STEPS,
    Bed,
    Cells,
    Pixels,
    backgrounds_db,
    grown,
    image_value,
    in_place,
    mask_value,
    prompt_of,
    shown,
    subjects,
)
from models.bozzetto.judge import read
from models.bozzetto.judge.metrics import feature_distance
from models.bozzetto.methods.canvas import ground
from models.bozzetto.methods.figures import Figure, Measured, mean
from models.bozzetto.scenes import RESOLUTION, Scene, render
from models.bozzetto.scenes.spec import ObjectSpec

LAYERS = ((2, 46), (66, 46))  # upper left corners of two layers
SIDE = 60  # of a layer in pixels: the largest of two things in a picture
# Strengths of a held layer, and of one that is not. Guidance moves what is free at the noise of the former and helps
# little there (Kynkaanniemi et al. 2024, arXiv 2404.07724): it ends where held layers are free.
HELD, FREE = 0.2, 0.7
LEVELS = (0.2, 0.4, 0.6, 0.8, 1.0)
KEPT = 15.0  # a colour moved by less (CIE 1976) is the same one
BLUR = 2.5  # pixels of 128, as the authors' 10 of 512
# How cut-outs do not fit: too bright by levels of 255, and with pixels of white paper around them. Hard edges are what
# is to be healed: those of cut-outs that are only too bright have no more energy than those of a scene as it is drawn.
BRIGHTER, PAPER = 32, 2
ROOM = 4  # pixels between two layers: what is pasted fades out over them
BELOW = 20  # rows under the half of a picture that holds a layer
# Colours that none of these things has by itself.
TOLD = (("blue car", "red house"), ("green tulip", "blue car"), ("green cake", "yellow car"),
        ("yellow tulip", "green house"), ("blue cake", "red tulip"), ("blue house", "green cake"))  # fmt: skip


class _Collage:
    """A background and two cut-outs on it that do not fit: too bright, with a hard edge of the paper around them.

    Which of them is on the left only the layers say: a prompt that says it too needs no collage for it.
    """

    def __init__(self, bed: Bed, seed: int, words: tuple[str, str] | None = None) -> None:
        told = subjects(seed + 1)[seed]
        self.bed, self.seed, self.words = bed, seed, words or (told.noun, told.other)
        self.nouns = self.words[0].split()[-1], self.words[1].split()[-1]
        self.prompt = prompt_of(f"{self.words[0]} next to a {self.words[1]}", told.place)
        corners = LAYERS if seed % 2 else LAYERS[::-1]
        things = [_cut_out(noun, told.place, corner, seed) for noun, corner in zip(self.nouns, corners, strict=True)]
        self.masks: list[Cells] = [t.alphas[0] for t in things]
        behind = render(ground(told.place, seed)).image
        layers = [np.where(m[..., None], np.clip(t.image.astype(int) + BRIGHTER, 0, 255), 255).astype(np.uint8)
                  for t, m in zip(things, self.masks, strict=True)]  # fmt: skip
        cut = [mask_value([grown(m, PAPER)]) for m in self.masks]
        self.composed = bed("compose_layers", image_value(behind[None]), [image_value(x[None]) for x in layers], cut)

    def encoded(self) -> Latent:
        """Return the collage's latent."""
        made: Latent = self.bed("vae_encode", self.composed.image, self.bed.vae)
        return made

    def held(self, latent: Latent, *strengths: Sequence[float], background: float, blur: float = BLUR) -> Any:
        """Return a blend that lets layers change by their strengths; of several sets a picture each."""
        maps = [self.bed("layer_strengths", self.composed.visible, list(s), background, blur).values for s in strengths]
        return self.bed("per_pixel_strength", latent, Mask(torch.cat(maps)))

    def sample(self, latent: Latent, start: float, *, blend: Any = None, bias: bool = True, end: float = 1.0) -> Pixels:
        """Return pictures made of the latent from a strength on; `bias`: with the layers' words pulled into them."""
        bed = self.bed
        text = bed.text(self.prompt), bed.text("")
        words = bed("layer_attention", bed.clip, self.prompt, "\n".join(self.words), self.composed.visible)
        made = bed(
            "sample_edit", bed("cfg_guider", bed.model, *text, SCALE, end=end), Sampler("ddim"),
            bed("sigmas_by_strength", bed.model, "simple", STEPS, start), latent, Noise(self.seed), blend=blend,
            control=words if bias else None,
        )  # fmt: skip
        return bed.decode(made.latent)

    def in_place(self, picture: Pixels) -> list[bool]:
        """Say of each layer whether the judge sees its thing there."""
        (reading,) = read(picture)
        return [in_place(reading, n, m) for n, m in zip(self.nouns, self.masks, strict=True)]


def collage(bed: Bed, seeds: int) -> Measured:
    """Cut-outs become one picture, each in its place; controls: the prompt alone, SDEdit, the autoencoder."""
    done, edited, prompted = (list[bool]() for _ in range(3))
    calm, still, loose = (list[float]() for _ in range(3))
    changed, untouched = (list[float]() for _ in range(2))
    drift, again = [], []
    pictures: dict[str, Pixels] = {}
    for i in range(seeds):
        one = _Collage(bed, i)
        guide = one.encoded()
        own, made, plain = bed.decode(guide), one.sample(guide, FREE), bed.sample([one.prompt], i)
        done += one.in_place(made)
        edited += one.in_place(one.sample(guide, FREE, bias=False))
        prompted += one.in_place(plain)
        calm.append(_rim(made[0], one.masks) / _rim(own[0], one.masks))
        partly = one.sample(guide, 0.9, blend=one.held(guide, (HELD, 0.9), background=HELD), end=1 - HELD)
        still += backgrounds_db(partly, own, [~one.masks[0]])
        loose += backgrounds_db(partly, own, [~one.masks[1]])
        for marks, mask in ((untouched, one.masks[0]), (changed, one.masks[1])):
            marks.append(_looks_apart(partly, own, mask))
        drift.append(_drift(one, guide, own[0]))
        again.append(_again(one, made, plain))
        pictures = pictures or {"collage": own[0], "one picture": made[0], "left held": partly[0]}
    distances = np.array(drift)  # (n, levels, layers)
    kept = distances < KEPT
    same, seam, torn = zip(*again, strict=True)
    bound, unbound = _bound(bed, seeds)
    figures = (
        Figure("layer found in its place (control: the prompt alone)", mean(done), 0.8, mean(prompted), 2 * seeds,
               margin=0.5),
        Figure("layer found in its place (control: SDEdit)", mean(done), 0.8, mean(edited), 2 * seeds, "attention",
               margin=0.15),
        Figure("energy of gradients at edges of layers, of that through the autoencoder alone", mean(calm), 0.6, None,
               seeds, "harmony", most=True),
        Figure("dominant colour of a layer of strength .4 kept within 15 (control: of strength 1)",
               mean(kept[:, LEVELS.index(0.4)].flat), 0.75, mean(kept[:, -1].flat), 2 * seeds, "look"),
        Figure("order of strengths and of how far colours move (Spearman)",
               float(spearmanr(LEVELS, distances.mean((0, 2))).statistic), 0.9, None, seeds, "order"),
        Figure("layer of strength .2 kept, dB (control: the layer of .9)", mean(still), 28.0, mean(loose), seeds,
               "held", why="what is too bright is drawn darker"),
        Figure("change of the layer of strength .9, by features (control: the layer of .2)", mean(changed), 0.15,
               mean(untouched), seeds, "changed", why="the same thing in its old place and size is much alike"),
        Figure("layer with its thing in the colour of its words, by 10 points more (control: no pull of words)",
               bound, unbound + 0.1, unbound, 2 * seeds, "binding"),
        Figure("layers that an edit of the other one leaves as they are to the bit", mean(same), 1.0, None, seeds,
               "frozen"),
        Figure("gradient at the border of what is pasted, of that before (control: pasted from the prompt alone)",
               mean(seam), 1.2, mean(torn), seeds, "pasted", most=True),
    )  # fmt: skip
    return Measured(figures, pictures)


def _cut_out(noun: str, place: str, corner: tuple[int, int], seed: int) -> Scene:
    """Return a scene of one thing with its square's upper left corner there."""
    return render(replace(ground(place, seed), objects=(ObjectSpec(noun, None, SIDE, *corner),)))


def _drift(one: _Collage, guide: Latent, own: Pixels) -> list[list[float]]:
    """Return by how much each layer's dominant colour moves (CIE 1976 difference), for each of the strengths."""
    many = replace(guide, samples=guide.samples.expand(len(LEVELS), -1, -1, -1))
    made = one.sample(many, 1.0, blend=one.held(guide, *((s, s) for s in LEVELS), background=0.5))
    places = [_dominant(own, m) for m in one.masks]
    return [[float(np.linalg.norm(_colour(x, p) - _colour(own, p))) for p in places] for x in made]


def _dominant(picture: Pixels, mask: Cells) -> Cells:
    """Return where a thing has the most frequent of its three colours."""
    inside = _shrunk(mask)
    cv2.setRNGSeed(0)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 0.5)
    colours = _lab(picture)[inside]
    _, labels, _ = cv2.kmeans(colours, 3, None, stop, 1, cv2.KMEANS_PP_CENTERS)  # type: ignore[call-overload]
    place = np.zeros_like(mask)
    place[inside] = labels[:, 0] == np.bincount(labels[:, 0]).argmax()
    return place


def _colour(picture: Pixels, place: Cells) -> NDArray[np.float32]:
    colour: NDArray[np.float32] = _lab(picture)[place].mean(0)
    return colour


def _lab(picture: Pixels) -> NDArray[np.float32]:
    return cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB).astype(np.float32)


def _looks_apart(a: Pixels, b: Pixels, mask: Cells) -> float:
    """Return how far apart two pictures are in a layer's half, by the judge's features."""
    left = 0 if np.where(mask)[1].mean() < RESOLUTION / 2 else RESOLUTION // 2
    part = np.s_[:, -RESOLUTION // 2 - BELOW : RESOLUTION - BELOW, left : left + RESOLUTION // 2]
    return float(feature_distance(a[part], b[part])[0])


def _again(one: _Collage, canvas: Pixels, plain: Pixels) -> tuple[bool, float, float]:
    """Make the second layer anew on the picture itself, and paste it; the first is frozen.

    Return whether the first is the same to the bit, and how much stronger the gradient across the border of what is
    pasted is than before it was pasted; the latter also for a picture made from the prompt alone.
    """
    bed = one.bed
    latent = bed.encode(canvas)
    blend = one.held(latent, (0.0, 0.9), background=0.0, blur=0.0)
    new = one.sample(latent, 0.9, blend=blend)
    soft = bed("feather_mask", mask_value([grown(one.masks[1], ROOM)]), ROOM, side="inside")
    border = soft.values[0].numpy() > 0.5

    def pasted(picture: Pixels) -> Pixels:
        return shown(bed("composite_images", image_value(canvas), image_value(picture), soft))

    done, torn = pasted(new), pasted(plain)
    same = bool((done[0] == canvas[0])[one.masks[0]].all())
    seam, tear = (_across(x[0], border) / _across(y[0], border) for x, y in ((done, new), (torn, plain)))
    return same, seam, tear


def _across(picture: Pixels, mask: Cells) -> float:
    """Return the mean step of brightness between neighbours of which the mask holds one."""
    grey = picture.astype(float).mean(2)
    steps = [np.abs(np.diff(grey, axis=a))[np.diff(mask, axis=a)] for a in (0, 1)]
    return float(np.concatenate(steps).mean())


def _bound(bed: Bed, seeds: int) -> tuple[float, float]:
    """Return how often a layer shows its thing in the colour that its words say, with and without their pull."""
    made: tuple[list[bool], list[bool]] = ([], [])
    for i in range(seeds):
        one = _Collage(bed, i, TOLD[i % len(TOLD)])
        guide = one.encoded()
        for marks, bias in zip(made, (True, False), strict=True):
            picture = one.sample(guide, FREE, bias=bias)
            found = [read(picture)[0].find(n) for n in one.nouns]
            coloured = [f is not None and f.colour == w.split()[0] for f, w in zip(found, one.words, strict=True)]
            marks += [c and there for c, there in zip(coloured, one.in_place(picture), strict=True)]
    return mean(made[0]), mean(made[1])


def _rim(picture: Pixels, masks: Sequence[Cells]) -> float:
    """Return the mean energy (square) of the gradient on the borders of layers."""
    energy = np.square(np.gradient(picture.astype(float).mean(2))).sum(0)
    rim = np.any(np.stack([grown(m, 2) & ~_shrunk(m) for m in masks]), 0)
    return float(energy[rim].mean())


def _shrunk(mask: Cells) -> Cells:
    return ~grown(~mask, 2)
