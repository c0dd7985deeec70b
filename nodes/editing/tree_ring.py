"""Marks in the initial noise, found again by inversion: Tree-Ring (2305.20030) and Gaussian Shading (2404.04956)."""

from __future__ import annotations

import math
from typing import Annotated, NamedTuple

from engine.context import Context
from engine.diffusion import marks
from engine.diffusion.noise import NoiseSource
from engine.errors import BadInput
from engine.node import Range, Seed, Text, node
from engine.types import Latent, Noise, Trajectory
from nodes.basics._pixels import Fraction

KEYS = {"rings": marks.RingKey, "shading": marks.ShadingKey}


class Detected(NamedTuple):
    """Whether the mark is there, how probable that would be without it, the bits read, and all that in words."""

    found: bool
    p: float
    bits: str
    report: str


@node(category="editing/marks")
def ring_noise(
    seed: Seed = 0,
    key: Seed = 999_999,
    channel: Annotated[int, Range(0, 255)] = 0,
    radius: Annotated[int, Range(1, 64)] = 3,
) -> Noise:
    """Give noise that carries rings in its spectrum: a mark that says "made here" and leaves pixels alone.

    Args:
        seed: Number of the noise.
        key: Number of the rings; who knows it can look for them.
        channel: The latent channel that carries them.
        radius: How many rings; at most a few for small latents, ten for large ones.
    """
    return Noise(seed, "rings", {"seed": key, "channel": channel, "radius": radius})


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
        nonce: A number of its own for every picture; the same one twice shows.
    """
    if not message or set(message) - {"0", "1"}:
        raise BadInput("The message is written in 0 and 1.", field="message")
    return Noise(seed, "shading", {"message": message, "secret": secret, "nonce": nonce})


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
        trajectory: The inversion of the picture.
        threshold: The mark counts as found if so small a chance is left without it.
        turned: Compare the sizes of rings alone, for turned and flipped pictures; gives a distance and no chance.
    """
    if noise.kind not in KEYS:
        raise BadInput("This noise carries no mark.", field="noise")
    z = trajectory.latents[-1][:1] / math.sqrt(1 + float(trajectory.sigmas[-1]) ** 2)
    key = KEYS[noise.kind](**noise.options)
    if isinstance(key, marks.RingKey):
        found = marks.find_rings(z, key, magnitudes=turned)
    else:
        found = marks.read_shading(z, key)
    there = found.p <= threshold
    if math.isnan(found.p):
        return Detected(False, 1.0, "", f"distance {found.distance:.3f}; compare it with that of unmarked pictures")
    bits = f"; {1 - found.distance:.0%} of the bits are right" if found.bits else f"; distance {found.distance:.3f}"
    told = f"The mark is {'there' if there else 'not found'}: without it, the chance is {found.p:.2g}{bits}."
    return Detected(there, found.p, found.bits, told)


@node(category="editing/marks")
def calibrate_mark(
    ctx: Context, noise: Noise, latent: Latent, rate: Fraction = 0.01, count: Annotated[int, Range(100, 100_000)] = 1000
) -> float:
    """Find the chance below which so small a share of unmarked noise would be taken for marked.

    Args:
        noise: The noise recipe with the mark.
        latent: A latent of the size of the pictures.
        rate: The share of false alarms that is allowed.
        count: How many noises to try.
    """
    if noise.kind not in KEYS:
        raise BadInput("This noise carries no mark.", field="noise")
    key, chances = KEYS[noise.kind](**noise.options), []
    for i in range(count):
        ctx.progress(i, count)
        z = NoiseSource((i,)).initial(latent.samples[:1])
        found = marks.find_rings(z, key) if isinstance(key, marks.RingKey) else marks.read_shading(z, key)
        chances.append(found.p)
    ctx.progress(count, count)
    return sorted(chances)[max(0, int(rate * count) - 1)]
