"""Where methods are measured: the embedded model with its nodes by id, known scenes, and the judge that reads them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from engine.context import Context
from engine.diffusion.device import ModelManager
from engine.registry import Registry, load
from engine.settings import Settings
from engine.types import Cond, Conditioning, Image, Latent, Mask, Noise, Sampler, Sigmas
from models.bozzetto.judge import Reading, read
from models.bozzetto.judge.metrics import masked_psnr
from models.bozzetto.scenes import RESOLUTION, START, Scene
from models.bozzetto.scenes.holdout import FIRST_HELD_OUT_SEED
from models.bozzetto.scenes.pairs import Pair, pair
from models.bozzetto.scenes.vocabulary import BACKGROUND_WORDS, article

FIRST_SEED = FIRST_HELD_OUT_SEED + 60_000
# The one list that every method and every control is measured on: things that the model draws well, one in a picture.
DRAWN = ("bus", "penguin", "house", "cactus", "cake", "tulip", "car")
# Things of about one shape, for edits that keep the layout.
LIKE = {"bus": "car", "car": "bus", "penguin": "cactus", "cactus": "tulip", "tulip": "cactus", "house": "cake",
        "cake": "house"}  # fmt: skip
PLACES = ("beach", "snow", "desert", "city", "field")
WORLD = replace(
    START, objects=DRAWN, backgrounds=PLACES, style_weights=(1.0, 0.0, 0.0, 0.0, 0.0), two_objects=0.0, several=0.0
)  # fmt: skip
SCALE = 4.0  # guidance
STEPS = 20
MARGIN = 4  # pixels around masks that count neither as inside nor as outside
IN_PLACE = 0.5  # intersection over union with the place
MOST_DB = 60.0  # two pictures of 8 bits that hardly differ
BATCH = 32
Pixels = NDArray[np.uint8]
Cells = NDArray[np.bool_]


@dataclass
class Bed:
    """The model, its text encoder and autoencoder, and every node by its id. All of it works on whole batches."""

    ctx: Context
    nodes: Registry
    model: Any
    clip: Any
    vae: Any
    rows: int = 0  # pictures that went through the U-Net
    _texts: dict[str, Conditioning] = field(default_factory=dict)

    def __call__(self, name: str, *inputs: Any, **options: Any) -> Any:
        """Call a node; inputs in the order of its sockets, options by name."""
        named = zip((i.name for i in self.nodes.specs[name].inputs), inputs, strict=False)
        return self.nodes.functions[name](self.ctx, **dict(named), **options)

    def text(self, prompt: str) -> Conditioning:
        """Encode a prompt, once."""
        if prompt not in self._texts:
            self._texts[prompt] = self("encode_text", self.clip, prompt)
        return self._texts[prompt]

    def texts(self, prompts: Sequence[str]) -> Conditioning:
        """Encode prompts, one row of the batch each."""
        conds = [self.text(p).conds[0] for p in prompts]
        pools = [c.pooled for c in conds if c.pooled is not None]
        pooled = torch.cat(pools) if len(pools) == len(conds) else None
        return Conditioning((Cond(torch.cat([c.tokens for c in conds]), pooled),))

    def encode(self, pictures: Pixels) -> Latent:
        """Return the latents of pictures (B, H, W, 3)."""
        latent: Latent = self("vae_encode", image_value(pictures), self.vae)
        return latent

    def decode(self, latent: Latent) -> Pixels:
        """Return pictures (B, H, W, 3)."""
        return shown(self("vae_decode", latent, self.vae))

    def empty(self, count: int = 1, width: int = RESOLUTION) -> Latent:
        """Return an empty canvas."""
        options = self.model.options
        h, w = RESOLUTION // int(options["factor"]), width // int(options["factor"])
        return Latent(torch.zeros(count, int(options["channels"]), h, w), int(options["factor"]))

    def sigmas(self, steps: int = STEPS, strength: float = 1.0) -> Sigmas:
        """Return evenly spaced levels."""
        made: Sigmas = self("sigmas", self.model, "simple", steps, strength)
        return made

    def guider(self, positive: Any, scale: float = SCALE, negative: Any = None) -> Any:
        """Return a CFG guider over an empty prompt."""
        return self("cfg_guider", self.model, positive, negative or self.text(""), scale)

    def run(self, guider: Any, latent: Latent, noise: Noise | None = None, *, steps: int = STEPS) -> Latent:
        """Sample with DDIM."""
        ended = self("sample_custom", guider, Sampler("ddim"), self.sigmas(steps), latent, noise or Noise(0))
        made: Latent = ended.latent
        return made

    def sample(self, prompts: Sequence[str], seed: int = 0, *, scale: float = SCALE, model: Any = None) -> Pixels:
        """Make pictures plainly, one of each prompt; picture i has the noise of seed + i."""
        parts = []
        for start in range(0, len(prompts), BATCH):
            some = prompts[start : start + BATCH]
            guider = self.guider(self.texts(some), scale)
            guider = guider if model is None else replace(guider, model=model)
            parts.append(self.decode(self.run(guider, self.empty(len(some)), Noise(seed + start))))
        return np.concatenate(parts)


@contextmanager
def opened() -> Iterator[Bed]:
    """Give the bed; calls of the U-Net are counted until the block ends."""
    nodes = load(Settings(custom_nodes=()))
    with tempfile.TemporaryDirectory() as folder:
        manager = ModelManager(Path(folder), Path(folder))
        parts = manager.load(manager.find("embedded", "bozzetto"))
        bed = Bed(Context(node="bench", models=manager), nodes, parts["model"], parts["clip"], parts["vae"])
        with manager.use(bed.model) as network:
            hook = network.module.register_forward_pre_hook(lambda module, given: _count(bed, given))
            try:
                with torch.no_grad():
                    yield bed
            finally:
                hook.remove()


def _count(bed: Bed, given: tuple[Any, ...]) -> None:
    bed.rows += len(given[0])


def prompt_of(noun: str, place: str) -> str:
    """Return the prompt of a thing at a place."""
    return f"{article(noun)} {BACKGROUND_WORDS[place][0]}"


@dataclass(frozen=True)
class Subject:
    """A thing at a place, and another thing to take its place."""

    noun: str
    other: str
    place: str

    @property
    def prompts(self) -> tuple[str, str]:
        """Prompts with the thing and with the other one."""
        return prompt_of(self.noun, self.place), prompt_of(self.other, self.place)


def subjects(count: int) -> list[Subject]:
    """Return things at places, all of the list in turn."""
    n = len(DRAWN)
    return [Subject(DRAWN[i % n], DRAWN[(i + 3) % n], PLACES[i % len(PLACES)]) for i in range(count)]


def swaps(count: int) -> list[Subject]:
    """Return things at places, each with one of about its shape to take its place."""
    return [replace(s, other=LIKE[s.noun]) for s in subjects(count)]


def pairs(count: int, kind: str) -> list[Pair]:
    """Return held-out scenes of one thing, with the scene after an edit of a kind."""
    return [pair(FIRST_SEED + i, WORLD, kind) for i in range(count)]


def before(told: Sequence[Pair]) -> Pixels:
    """Return the pictures before the edits."""
    return np.stack([p.before.image for p in told])


def caption_of(scene: Scene, noun: str | None = None) -> str:
    """Return a short caption of a scene, in which each word has the same place for every thing."""
    return prompt_of(noun or scene.spec.objects[0].noun, scene.spec.background)


def image_value(pictures: Pixels) -> Image:
    """Return pictures (B, H, W, 3) as a value."""
    return Image(torch.from_numpy(pictures.astype(np.float32) / 255))


def shown(image: Image) -> Pixels:
    """Return an image's pixels in 8 bits."""
    pixels: Pixels = (image.pixels.clamp(0, 1) * 255).round().byte().numpy()
    return pixels


def mask_value(masks: Sequence[Cells]) -> Mask:
    """Return masks as a value."""
    return Mask(torch.from_numpy(np.stack(masks).astype(np.float32)))


def repeated(conditioning: Conditioning, times: int) -> Conditioning:
    """Return each row of a conditioning `times` times, one after the other."""
    (cond,) = conditioning.conds
    pooled = None if cond.pooled is None else cond.pooled.repeat_interleave(times, 0)
    return Conditioning((replace(cond, tokens=cond.tokens.repeat_interleave(times, 0), pooled=pooled),))


def grown(mask: Cells, margin: int = MARGIN) -> Cells:
    """Return a mask (H, W) with `margin` pixels added around."""
    brush = np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)
    return cv2.dilate(mask.astype(np.uint8), brush).astype(bool)


def in_cells(mask: Cells, cell: int = 8) -> Cells:
    """Return all pixels of the latent cells that a mask (H, W) touches: finer a latent cannot be masked."""
    h, w = mask.shape
    touched = mask.reshape(h // cell, cell, w // cell, cell).any((1, 3))
    return np.kron(touched, np.ones((cell, cell), bool))


def rectangle(left: int, top: int, width: int, height: int) -> Cells:
    """Return a rectangle of the picture as a mask."""
    box = np.zeros((RESOLUTION, RESOLUTION), bool)
    box[top : top + height, left : left + width] = True
    return box


def overlap(a: Cells, b: Cells) -> float:
    """Return intersection over union."""
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 0.0


def box_of(mask: Cells) -> Cells:
    """Return the smallest rectangle around a mask, as a mask: two things in one place need not share an outline."""
    if not mask.any():
        return np.zeros_like(mask)
    ys, xs = np.where(mask)
    left, top = int(xs.min()), int(ys.min())
    return rectangle(left, top, int(xs.max()) + 1 - left, int(ys.max()) + 1 - top)


def in_place(reading: Reading, noun: str, place: Cells) -> bool:
    """Say whether the judge sees a thing where it should be."""
    found = reading.find(noun)
    return found is not None and overlap(box_of(found.mask), box_of(place)) >= IN_PLACE


def in_places(pictures: Pixels, nouns: Sequence[str], places: Sequence[Cells]) -> list[bool]:
    """Say of each picture whether its thing is where it should be."""
    return [in_place(r, n, p) for r, n, p in zip(read(pictures), nouns, places, strict=True)]


def decibels(a: Pixels, b: Pixels) -> float:
    """Return PSNR of two whole pictures."""
    return min(MOST_DB, masked_psnr(a, b, np.ones(a.shape[:2], bool)))


def background_db(a: Pixels, b: Pixels, *masks: Cells) -> float:
    """Return PSNR outside all masks, grown by the margin."""
    outside = ~grown(np.any(np.stack(masks), 0))
    return min(MOST_DB, masked_psnr(a, b, outside)) if outside.any() else float("nan")


def backgrounds_db(a: Pixels, b: Pixels, masks: Sequence[Cells]) -> list[float]:
    """Return PSNR outside its mask for each picture."""
    return [background_db(x, y, m) for x, y, m in zip(a, b, masks, strict=True)]
