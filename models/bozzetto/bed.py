"""Where methods are measured: the embedded model with its nodes by id, known scenes, and the judge that reads them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
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
from engine.types import Image, Latent, Mask, Noise, Sampler, Sigmas
from models.bozzetto.judge import Reading, read
from models.bozzetto.judge.metrics import masked_psnr
from models.bozzetto.scenes import RESOLUTION
from models.bozzetto.scenes.holdout import FIRST_HELD_OUT_SEED
from models.bozzetto.scenes.pairs import Pair, pair

FIRST_SEED = FIRST_HELD_OUT_SEED + 60_000
MARGIN = 4  # pixels around masks that count neither as inside nor as outside
IN_PLACE = 0.5  # intersection over union with the place
Pixels = NDArray[np.uint8]
Cells = NDArray[np.bool_]


@dataclass
class Bed:
    """The model, its text encoder and autoencoder, and every node by its id."""

    ctx: Context
    nodes: Registry
    model: Any
    clip: Any
    vae: Any
    rows: int = field(default=0)  # pictures that went through the U-Net

    def __call__(self, name: str, *inputs: Any, **options: Any) -> Any:
        """Call a node; inputs in the order of its sockets, options by name."""
        named = zip((i.name for i in self.nodes.specs[name].inputs), inputs, strict=False)
        return self.nodes.functions[name](self.ctx, **dict(named), **options)

    def text(self, prompt: str) -> Any:
        """Encode a prompt."""
        return self("encode_text", self.clip, prompt)

    def encode(self, picture: Pixels) -> Latent:
        """Return the latent of a picture (H, W, 3) uint8."""
        latent: Latent = self("vae_encode", Image(torch.from_numpy(picture.astype(np.float32) / 255)[None]), self.vae)
        return latent

    def decode(self, latent: Latent) -> Pixels:
        """Return pictures (B, H, W, 3) uint8."""
        pixels = self("vae_decode", latent, self.vae).pixels
        shown: Pixels = (pixels.clamp(0, 1) * 255).round().byte().numpy()
        return shown

    def empty(self, count: int = 1, width: int = RESOLUTION) -> Latent:
        """Return an empty canvas."""
        options = self.model.options
        h, w = RESOLUTION // int(options["factor"]), width // int(options["factor"])
        return Latent(torch.zeros(count, int(options["channels"]), h, w), int(options["factor"]))

    def sigmas(self, steps: int, strength: float = 1.0) -> Sigmas:
        """Return evenly spaced levels."""
        made: Sigmas = self("sigmas", self.model, "simple", steps, strength)
        return made

    def guider(self, positive: Any, scale: float, negative: Any = None) -> Any:
        """Return a CFG guider over an empty prompt."""
        return self("cfg_guider", self.model, positive, negative or self.text(""), scale)

    def sample(self, positive: Any, seed: int, *, scale: float = 3.0, steps: int = 25, latent: Any = None) -> Latent:
        """Make pictures plainly."""
        ended = self(
            "sample_custom", self.guider(positive, scale), Sampler("ddim"), self.sigmas(steps),
            latent or self.empty(), Noise(seed),
        )  # fmt: skip
        latent_made: Latent = ended.latent
        return latent_made


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


def pairs(count: int, kind: str) -> list[Pair]:
    """Return held-out scenes with the scene after an edit of a kind."""
    return [pair(FIRST_SEED + i, kind=kind) for i in range(count)]


def grown(mask: Cells, margin: int = MARGIN) -> Cells:
    """Return a mask (H, W) with `margin` pixels added around."""
    brush = np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)
    return cv2.dilate(mask.astype(np.uint8), brush).astype(bool)


def mask_value(mask: Cells) -> Mask:
    """Return a mask as a value."""
    return Mask(torch.from_numpy(mask.astype(np.float32))[None])


def overlap(a: Cells, b: Cells) -> float:
    """Return intersection over union."""
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 0.0


def box_of(mask: Cells) -> Cells:
    """Return the smallest rectangle around a mask, as a mask: two things in one place need not share an outline."""
    box = np.zeros_like(mask)
    if mask.any():
        ys, xs = np.where(mask)
        box[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1] = True
    return box


def seen(picture: Pixels) -> Reading:
    """Return what the judge reads in one picture."""
    return read(picture[None])[0]


def in_place(reading: Reading, noun: str, place: Cells) -> bool:
    """Say whether the judge sees a thing where it should be."""
    found = reading.find(noun)
    return found is not None and overlap(box_of(found.mask), box_of(place)) >= IN_PLACE


def background_db(a: Pixels, b: Pixels, *masks: Cells) -> float:
    """Return PSNR outside all masks, grown by the margin."""
    outside = ~grown(np.any(np.stack(masks), 0))
    return masked_psnr(a, b, outside) if outside.any() else float("nan")


@dataclass(frozen=True)
class Figure:
    """One measurement: the card's metric with its bar, and the same without the method (`control`)."""

    metric: str
    value: float
    bar: float
    control: float
    n: int
    more: dict[str, float] = field(default_factory=dict)

    def as_json(self, seconds: float, evaluations: int) -> dict[str, Any]:
        """Return the wire form."""
        rounded = {k: round(v, 4) for k, v in self.more.items()}
        return {
            "metric": self.metric, "value": round(self.value, 4), "bar": self.bar, "met": self.value >= self.bar,
            "control": round(self.control, 4), "n": self.n, "seconds": round(seconds, 2), "evaluations": evaluations,
            **rounded,
        }  # fmt: skip


def timed(measure: Callable[[Bed, int], Figure], bed: Bed, seeds: int) -> dict[str, Any]:
    """Measure, with seconds and U-Net evaluations per picture."""
    before, start = bed.rows, time.perf_counter()
    figure = measure(bed, seeds)
    n = max(1, figure.n)
    return figure.as_json((time.perf_counter() - start) / n, round((bed.rows - before) / n))
