"""Fast nodes for the editor's tests: pictures without a model, steps that take as long as asked, failures on demand."""

from __future__ import annotations

import json
import os
import time
import zlib
from pathlib import Path
from typing import Annotated, Any, Literal

import torch

from engine.context import Context
from engine.errors import BadInput, OutOfMemory
from engine.node import Range, Seed, Text, Widget, node
from engine.types import Image, Mask, Saved


@node(category="fake")
def fake_picture(
    ctx: Context,
    prompt: Annotated[str, Text()] = "a boat",
    seed: Seed = 0,
    size: Annotated[int, Range(16, 256)] = 64,
    steps: Annotated[int, Range(1, 200)] = 4,
    delay: Annotated[float, Range(0, 2)] = 0.0,
    until: str = "",
) -> Image:
    """Make a patchwork of colours that depends on prompt and seed.

    Args:
        prompt: Any words.
        seed: The same seed gives the same picture.
        size: Width and height in pixels.
        steps: How many steps are counted.
        delay: Seconds for each step.
        until: The last step lasts until the test opens the gate of this name.
    """
    for step in range(steps):
        ctx.progress(step, steps)
        time.sleep(delay)
    while until and not (Path(os.environ["SFUMATO_GATES"]) / until).exists():
        ctx.progress(steps - 1, steps)
        time.sleep(0.05)
    generator = torch.Generator().manual_seed(seed + zlib.crc32(prompt.encode()))
    patches = torch.rand(1, 4, 4, 3, generator=generator)
    side = torch.arange(size) * 4 // size
    ctx.progress(steps, steps)
    return Image(patches[:, side][:, :, side])  # (1, size, size, 3)


@node(category="fake")
def fake_fault(image: Image, kind: Literal["none", "value", "memory", "bug"] = "none") -> Image:
    """Pass a picture on, or fail.

    Args:
        image: The picture.
        kind: How to fail.
    """
    if kind == "value":
        raise BadInput("kind cannot be value today; choose none.", field="kind")
    if kind == "memory":
        raise OutOfMemory("This needs 99 GiB and 8 are free; make the picture smaller.")
    if kind == "bug":
        raise ZeroDivisionError("a bug")
    return image


@node(category="fake")
def fake_paste(image: Image, mask: Mask) -> Image:
    """Paint the mask's part of a picture white.

    Args:
        image: The picture.
        mask: Where.
    """
    where = torch.nn.functional.interpolate(mask.values[:, None], image.pixels.shape[1:3])[:, 0, :, :, None]
    return Image(image.pixels * (1 - where) + where)


@node(category="fake", effect=True)
def fake_words(
    source: Annotated[str, Text()] = "a cat on a chair",
    target: Annotated[str, Text(), Widget("prompt_pair", {"before": "source"})] = "a dog on a chair",
    weights: Annotated[dict[str, Any] | None, Widget("prompt_weights", {"prompt": "target"})] = None,
    boxes: Annotated[dict[str, Any] | None, Widget("regions")] = None,
    strokes: Annotated[dict[str, Any] | None, Widget("strokes")] = None,
    curve: Annotated[dict[str, Any] | None, Widget("curve")] = None,
    threshold: Annotated[float, Range(0, 1, 0.01), Widget("mask_threshold")] = 0.5,
    odd: Annotated[float, Range(0, 1), Widget("of_the_future")] = 0.25,
) -> Saved:
    """Show what its widgets gave.

    Args:
        source: The first prompt.
        target: The second prompt.
    """
    given = {"target": target, "weights": weights, "boxes": boxes, "strokes": strokes, "curve": curve}
    return Saved("text", text=json.dumps({**given, "threshold": threshold, "odd": odd}))


@node(category="fake", effect=True)
def fake_training(steps: Annotated[int, Range(2, 500)] = 40) -> Saved:
    """Show a falling loss.

    Args:
        steps: How many points.
    """
    losses = [[n, round(1 / (1 + n / 5) + 0.05 * ((n * 7) % 5), 4)] for n in range(steps)]
    return Saved("plot", text=json.dumps({"series": {"loss": losses}, "x_label": "step", "y_label": "loss"}))
