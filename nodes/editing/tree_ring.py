"""Marks in the initial noise, found again by inversion: Tree-Ring (2305.20030) and Gaussian Shading (2404.04956)."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any, NamedTuple

import cv2
import numpy as np
import torch
from PIL import Image as Pil
from torch import Tensor

from engine.context import Context
from engine.diffusion import marks
from engine.diffusion import trajectory as walks
from engine.diffusion.noise import NoiseSource
from engine.errors import BadInput
from engine.node import Range, Seed, Text, node
from engine.types import Image, Latent, Noise, Trajectory
from nodes.basics._pixels import Fraction, per_picture

Picture = np.ndarray[Any, Any]
PART_MIN = 0.5  # smaller parts cannot be filled up by one mirror image
NOISE_MIN = 0.98  # of a latent's variance; Stable Diffusion's levels end in 0.995, half-way up they are at 0.7


class Detected(NamedTuple):
    """Whether the mark is there, how probable that would be without it, the bits read, all that in words, and how far
    what was found lies from the key.
    """

    found: bool
    p: float
    bits: str
    report: str
    distance: float


class Attacked(NamedTuple):
    """The pictures after each attack, and what was done."""

    images: list[Image]
    names: list[str]


@node(category="editing/marks")
def ring_noise(
    seed: Seed = 0,
    key: Seed = 999_999,
    channel: Annotated[int, Range(-1, 255)] = -1,
    radius: Annotated[int, Range(1, 64)] = 3,
) -> Noise:
    """Give noise that carries rings in its spectrum: a mark that says "made here" and leaves pixels alone.

    Args:
        seed: Number of the noise.
        key: Number of the rings; who knows it can look for them.
        channel: The latent channel that carries them; -1 gives each channel rings of its own, which is found best.
        radius: How many rings; at most a few for small latents, ten for large ones.
    """
    return Noise(seed, "rings", asdict(marks.RingKey(key, channel, radius)))


@node(category="editing/marks")
def shaded_noise(
    seed: Seed = 0,
    message: Annotated[str, Text(multiline=False, max_length=4096)] = "1011001110001111",
    secret: Annotated[str, Text(multiline=False, max_length=1000)] = "",
    nonce: Annotated[int, Range(0, 2**31)] = 0,
) -> Noise:
    """Give noise whose signs carry a message of bits; to everyone else it is plain noise.

    Args:
        seed: Number of the noise.
        message: The bits, written in 0 and 1; fewer bits are read more safely.
        secret: Who knows it can read the message.
        nonce: A number of its own for every picture; the same one twice shows. Pictures of a batch count on from it.
    """
    return Noise(seed, "shading", asdict(marks.ShadingKey(message, secret, nonce)))


@node(category="editing/marks")
def detect_mark(
    noise: Noise,
    trajectory: Trajectory,
    threshold: Annotated[float, Range(0, 1)] = 0.01,
    turned: bool = False,
) -> Detected:
    """Look for a mark in the inversion of a picture.

    Invert with an empty prompt, without guidance, over as many steps as the picture was made in.

    Args:
        noise: The noise recipe with the mark; its seed plays no part.
        trajectory: The inversion of one picture, over all noise levels.
        threshold: The mark counts as found if so small a chance is left without it.
        turned: Compare the sizes of rings alone, for turned and flipped pictures; gives a distance and no chance. Bits
            of shaded noise have no such sizes.
    """
    pictures = trajectory.latents.shape[1]
    if pictures != 1:
        raise BadInput(f"Marks are looked for in one picture at a time, got {pictures}.", field="trajectory")
    found = _looked_for(noise, _noise_of(trajectory, "trajectory"), turned=turned)
    if math.isnan(found.p):
        told = f"distance {found.distance:.3f}; compare it with that of unmarked pictures"
        return Detected(False, 1.0, "", told, found.distance)
    there = found.p <= threshold
    bits = f"; {1 - found.distance:.0%} of the bits are right" if found.bits else f"; distance {found.distance:.3f}"
    one_in = f"one in {1 / max(found.p, 1e-12):,.0f} unmarked pictures would look so by chance"
    told = f"The mark is {'there' if there else 'not found'}: {one_in}{bits}."
    return Detected(there, found.p, found.bits, told, found.distance)


@node(category="editing/marks")
def calibrate_mark(
    ctx: Context,
    noise: Noise,
    latent: Latent,
    rate: Fraction = 0.01,
    count: Annotated[int, Range(100, 100_000)] = 1000,
    pictures: Trajectory | None = None,
) -> float:
    """Find the chance below which so small a share of what is unmarked would be taken for marked.

    Pictures do not invert to quite plain noise, so that a threshold from pictures misses fewer marks than one from
    noise, and promises what it says.

    Args:
        noise: The noise recipe with the mark.
        latent: A latent of the size of the pictures.
        rate: The share of false alarms that is allowed.
        count: How many noises to try.
        pictures: Inversions of unmarked pictures, at least one for each 1 / rate, in place of noises.
    """
    chances, n = [], count if pictures is None else pictures.latents.shape[1]
    if rate * n < 1:
        raise BadInput(
            f"A rate of {rate:g} cannot be seen in {n} pictures; give more, or allow more.", field="pictures"
        )
    for i in range(n):
        ctx.progress(i, n)
        z = NoiseSource((i,)).initial(latent.samples[:1]) if pictures is None else _noise_of(pictures, "pictures", i)
        chances.append(_looked_for(noise, z).p)
    ctx.progress(n, n)
    return sorted(chances)[int(rate * n) - 1]


def _noise_of(trajectory: Trajectory, field: str, row: int = 0) -> Tensor:
    """Return the noise (1, C, h, w) of one inverted picture, in unit variance."""
    variance = float(trajectory.sigmas[-1]) ** 2
    share = variance / (1 + variance)
    if share < NOISE_MIN:
        raise BadInput(
            f"The inversion ends where {share:.0%} of the latent is noise, and a mark lies in the noise that a picture "
            "begins from: invert over sigmas of strength 1.", field=field,
        )  # fmt: skip
    return walks.unit(trajectory, -1)[row : row + 1]


def _looked_for(noise: Noise, z: Tensor, *, turned: bool = False) -> marks.Found:
    """Look for the mark of a noise recipe in one inverted noise (1, C, h, w)."""
    key = marks.key_of(noise)
    if isinstance(key, marks.RingKey):
        return marks.find_rings(z, key, magnitudes=turned)
    if turned:
        raise BadInput("Only rings can be compared by size: put Undo turns before the inversion.", field="turned")
    return marks.read_shading(z, key)


@node(category="editing/marks")
def undo_turns(image: Image, mirrored: bool = False) -> Attacked:
    """Turn pictures back in each way in which they may have been turned: a mark is there in the right one.

    What follows runs once for each. With so many tries chances are worth as many times less.

    Args:
        image: The pictures, which are square.
        mirrored: Try each way mirrored as well.
    """
    height, width = image.pixels.shape[1:3]
    if height != width:
        raise BadInput(f"Only square pictures can be turned in place, these are {width} x {height}.", field="image")
    ways = {f"turned by {90 * k}": torch.rot90(image.pixels, -k, (1, 2)) for k in range(4)}
    if mirrored:
        ways |= {f"{name}, mirrored": pixels.flip(2) for name, pixels in ways.items()}
    return Attacked([Image(pixels.contiguous()) for pixels in ways.values()], list(ways))


@node(category="editing/marks")
def undo_crops(image: Image, parts: Annotated[str, Text(multiline=False)] = "1, 0.9, 0.75, 0.6") -> Attacked:
    """Shrink pictures back to what they may have been cut from: a mark is there at the right size.

    What was cut off is filled with a mirror image. What follows runs once for each; with so many tries chances are
    worth as many times less.

    Args:
        image: The pictures.
        parts: Parts of each side that may have been kept, commas between them; 1 is the picture as it is.
    """
    sizes = {f"cut to {part:g}": partial(_uncropped, part=part) for part in _parts(parts)}
    return Attacked([Image(per_picture(image.pixels, undo).clamp(0, 1)) for undo in sizes.values()], list(sizes))


def _parts(text: str) -> list[float]:
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(PART_MIN <= part <= 1 for part in found):
        raise BadInput(f"Give numbers from {PART_MIN:g} to 1 with commas between them, not {text!r}.", field="parts")
    return found


def _uncropped(picture: Picture, part: float) -> Picture:
    height, width = picture.shape[:2]
    h, w = round(part * height), round(part * width)
    top, left = (height - h) // 2, (width - w) // 2
    small = cv2.resize(picture, (w, h), interpolation=cv2.INTER_AREA)
    return cv2.copyMakeBorder(small, top, height - h - top, left, width - w - left, cv2.BORDER_REFLECT_101)


@node(category="editing/marks")
def attack_pictures(
    image: Image,
    quality: Annotated[int, Range(1, 100)] = 75,
    blur: Annotated[float, Range(0.1, 20, 0.1)] = 1.0,
    noise: Annotated[float, Range(0, 1, 0.01)] = 0.05,
    brightness: Annotated[float, Range(0.1, 4, 0.05)] = 1.3,
    crop: Annotated[float, Range(0.1, 1, 0.05)] = 0.75,
    *,
    turn: Annotated[float, Range(-180, 180, 15)] = 90.0,
    seed: Seed = 0,
) -> Attacked:
    """Do to pictures what the world does, one thing at a time, to see which marks survive it.

    What follows runs once for each. The first ones are left as they are.

    Args:
        image: The pictures.
        quality: Of a JPEG.
        blur: Deviation of a Gaussian in pixels.
        noise: Deviation of noise, of the whole range.
        brightness: Factor of all values.
        crop: Part of each side that is kept, stretched to the old size.
        turn: Degrees, to the left; corners are filled with a mirror image.
        seed: Number of the noise.
    """
    grain = np.random.default_rng(seed)
    attacks: dict[str, Callable[[Picture], Picture]] = {
        "none": lambda p: p,
        f"jpeg {quality}": lambda p: _jpeg(p, quality),
        f"blur {blur:g}": lambda p: cv2.GaussianBlur(p, (0, 0), blur),
        f"noise {noise:g}": lambda p: p + noise * grain.standard_normal(p.shape, np.float32),
        f"brightness {brightness:g}": lambda p: p * brightness,
        f"crop {crop:g}": lambda p: _cropped(p, crop),
        f"turn {turn:g}": lambda p: _turned(p, turn),
    }
    done = [Image(per_picture(image.pixels, attack).clamp(0, 1)) for attack in attacks.values()]
    return Attacked(done, list(attacks))


def _jpeg(picture: Picture, quality: int) -> Picture:
    buffer = io.BytesIO()
    Pil.fromarray((picture * 255).round().astype(np.uint8)).save(buffer, "JPEG", quality=quality)
    return np.asarray(Pil.open(buffer), np.float32) / 255


def _cropped(picture: Picture, part: float) -> Picture:
    height, width = picture.shape[:2]
    h, w = max(1, round(part * height)), max(1, round(part * width))
    top, left = (height - h) // 2, (width - w) // 2
    return cv2.resize(picture[top : top + h, left : left + w], (width, height), interpolation=cv2.INTER_CUBIC)


def _turned(picture: Picture, degrees: float) -> Picture:
    height, width = picture.shape[:2]
    around = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    return cv2.warpAffine(picture, around, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
