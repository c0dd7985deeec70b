"""SDEdit: from strokes, a collage or any crude guide to a picture, by way of noise (Meng et al. 2021, 2108.01073)."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

import cv2
import numpy as np
import torch

from engine.context import Context
from engine.diffusion import schedules
from engine.diffusion.levels import by_strength
from engine.diffusion.sample import working_bytes
from engine.errors import BadInput
from engine.node import SEED_MAX, Range, Seed, Widget, node
from engine.types import Conditioning, Guider, Image, Latent, Mask, Model, Noise, Sampler, Sigmas, Strokes
from nodes.basics._pixels import ImageAndMask, parse_color, per_picture
from nodes.basics._sampling import SamplerName, Scale, ScheduleName, Steps, Strength, run, sigmas_of

POINTS_MAX = 100_000
REPEAT_STRIDE = 1_000_003  # seeds of a batch follow each other; those of a repeat lie far away


@node(category="editing/sdedit")
def simulate_strokes(
    image: Image, brush: Annotated[int, Range(1, 101)] = 23, colors: Annotated[int, Range(2, 64)] = 6
) -> Image:
    """Turn pictures into stroke paintings: a large median filter, then few colours.

    Args:
        image: The pictures.
        brush: Side of the median filter in pixels, 23 as the authors'; even numbers count as the next odd one.
        colors: How many colours are left.
    """

    def paint(picture: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        flat = cv2.medianBlur((picture * 255).round().astype(np.uint8), brush | 1)
        pixels = flat.reshape(-1, 3).astype(np.float32)
        cv2.setRNGSeed(0)
        stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 0.5)
        few = min(colors, len(pixels))
        _, labels, centres = cv2.kmeans(pixels, few, None, stop, 1, cv2.KMEANS_PP_CENTERS)  # type: ignore[call-overload]
        painted: np.ndarray[Any, Any] = centres[labels.ravel()].reshape(flat.shape) / 255
        return painted

    return Image(per_picture(image.pixels, paint))


@node(category="editing/sdedit")
def draw_strokes(strokes: Annotated[dict[str, Any], Widget("strokes")]) -> Strokes:
    """Draw strokes to be painted on several pictures.

    In a workflow file a stroke has points, each an x and a y in 0..1 of the picture, a color such as #ff0000, and a
    width in pixels; below 1 it is a part of the picture's width.

    Args:
        strokes: Where the brush goes, in which colours and how wide.
    """
    points, colors, widths = zip(*map(_stroke, _listed(strokes)), strict=True) if _listed(strokes) else ((), (), ())
    return Strokes(tuple(tuple(map(tuple, p)) for p in points), tuple(colors), tuple(widths))


@node(category="editing/sdedit")
def paint_strokes(
    image: Image, strokes: Annotated[dict[str, Any] | None, Widget("strokes")] = None, more: Strokes | None = None
) -> ImageAndMask:
    """Paint strokes on pictures; the mask is where they went.

    In a workflow file a stroke has points, each an x and a y in 0..1 of the picture, a color such as #ff0000, and a
    width in pixels; below 1 it is a part of the picture's width.

    Args:
        image: The pictures.
        strokes: Where the brush goes, in which colours and how wide.
        more: Strokes from elsewhere, painted after these.
    """
    batch, height, width, _ = image.pixels.shape
    canvas, mask = image.pixels.numpy().copy(), np.zeros((height, width), np.float32)
    drawn = [] if strokes is None else list(map(_stroke, _listed(strokes)))
    for points, color, stroke in (*drawn, *(zip(more.points, more.colors, more.widths, strict=True) if more else ())):
        thick = max(1, round(stroke * width)) if stroke < 1 else int(stroke)
        line = (np.array(points, np.float64) * (width - 1, height - 1)).round().astype(np.int32)
        layers: list[tuple[Any, Any]] = [(mask, 1.0), *((picture, color) for picture in canvas)]
        for layer, value in layers:
            cv2.polylines(layer, [line], False, value, thick, cv2.LINE_8)
            cv2.circle(layer, [int(v) for v in line[0]], max(1, thick // 2), value, -1)
    return ImageAndMask(Image(torch.from_numpy(canvas)), Mask(torch.from_numpy(mask)[None].repeat(batch, 1, 1)))


def _listed(strokes: Any) -> list[Any]:
    found = strokes.get("strokes") if isinstance(strokes, dict) else strokes
    if not isinstance(found, list):
        raise BadInput("strokes must be a list of strokes.", field="strokes")
    return found


def _stroke(plain: Any) -> tuple[Any, tuple[float, float, float], float]:
    """Return points in 0..1, colour and width of a stroke; BadInput says what is wrong with it."""
    if not isinstance(plain, dict):
        raise BadInput('A stroke is {"points": [[x, y], ...], "color": "#rrggbb", "width": 8}.', field="strokes")
    points, width = plain.get("points"), plain.get("width", 8)
    numbers = isinstance(points, list) and 0 < len(points) <= POINTS_MAX and all(
        isinstance(p, list) and len(p) == 2 and all(type(v) in (int, float) and -1 <= v <= 2 for v in p) for p in points
    )  # fmt: skip
    if not numbers or type(width) not in (int, float) or not 0 < width <= 1000:
        raise BadInput(
            "A stroke needs points [x, y] in 0..1 and a width of 1 to 1000 pixels, or below 1 a part of the picture's.",
            field="strokes",
        )
    return points, parse_color(str(plain.get("color", "#ff0000"))), width


@node(category="editing/sdedit")
def sigmas_by_strength(
    ctx: Context,
    model: Model,
    schedule: ScheduleName = "karras",
    steps: Steps = 20,
    strength: Annotated[float, Range(0, 200, 0.01)] = 0.5,
    mode: Literal["level", "steps", "sigma"] = "level",
    *,
    count: Literal["total", "tail"] = "total",
) -> Sigmas:
    """Say how far up an edit begins, in the measure you mean.

    The same number means different things in different programs; here each meaning has a name.

    Args:
        model: The model whose noise levels they are.
        schedule: How steps are spread.
        steps: How many steps.
        strength: How far up, in the measure of `mode`.
        mode: level is a part of the model's noise levels (SDEdit's t0), steps a part of the schedule's steps, sigma a
            noise level itself.
        count: total takes all steps below the start; tail only those of the full schedule that lie there.
    """
    with ctx.models.use(model) as network:
        levels = network.levels
    if mode == "steps" and count == "total":
        return Sigmas(sigmas_of(levels, schedule, steps, strength))
    return Sigmas(by_strength(schedules.get(schedule), levels, steps, strength, mode=mode, keep=count))


@node(category="editing/sdedit", title="SDEdit")
def sdedit(
    ctx: Context,
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    latent: Latent,
    sigmas: Sigmas,
    *,
    seed: Seed = 0,
    cfg: Scale = 5.0,
    sampler: SamplerName = "ddim",
    repeats: Annotated[int, Range(1, 20)] = 1,
) -> Latent:
    """Make a picture of a crude guide: add noise up to the first level, then remove it.

    Higher starts look more real and follow the guide less. With a mask on the latent only its part changes.

    Args:
        model: The model.
        positive: What the picture shows.
        negative: What it does not show.
        latent: The guide: strokes, a collage, a photo.
        sigmas: The noise levels, from where the edit begins; see Sigmas by strength.
        seed: Number of the noise.
        cfg: How strongly the prompt pulls.
        sampler: How steps are taken.
        repeats: How often the result becomes the guide of another pass, each with noise of its own.
    """
    guider = Guider("cfg", model, {"positive": positive, "negative": negative}, {"scale": cfg})
    with ctx.models.use(model, working_bytes=working_bytes(latent)) as network:
        for turn in range(repeats):
            noise = Noise((seed + turn * REPEAT_STRIDE) % (SEED_MAX + 1))
            ended = run(ctx, network, guider, Sampler(sampler), sigmas=sigmas.values, latent=latent, noise=noise)
            latent = replace(latent, samples=ended.latent.samples)
    return latent


@node(category="editing/sdedit")
def strength_sweep(first: Strength = 0.2, last: Strength = 0.8, count: Annotated[int, Range(2, 20)] = 4) -> list[float]:
    """Give strengths from faithful to free: what they feed runs once for each.

    Args:
        first: The first strength.
        last: The last one.
        count: How many.
    """
    return [round(first + (last - first) * i / (count - 1), 4) for i in range(count)]
