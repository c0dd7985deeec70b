"""Pictures together: blend, composite, difference, side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple

import torch
from torch import Tensor

from engine.errors import BadInput
from engine.node import Range, node
from engine.types import Image, Mask
from nodes.basics._pixels import Fraction, Offset, match, match_batches, place, size_of

BlendMode = Literal[
    "normal", "multiply", "screen", "overlay", "soft_light", "hard_light", "darken", "lighten", "add", "subtract",
    "difference", "dodge", "burn",
]  # fmt: skip


def _hard_light(a: Tensor, b: Tensor) -> Tensor:
    return torch.where(b <= 0.5, 2 * a * b, 1 - 2 * (1 - a) * (1 - b))


def _soft_light(a: Tensor, b: Tensor) -> Tensor:
    root = torch.where(a <= 0.25, ((16 * a - 12) * a + 4) * a, a.sqrt())
    return torch.where(b <= 0.5, a - (1 - 2 * b) * a * (1 - a), a + (2 * b - 1) * (root - a))


# The layer b over the base a, by the formulas of the W3C recommendation "Compositing and Blending".
BLEND: dict[BlendMode, Callable[[Tensor, Tensor], Tensor]] = {
    "normal": lambda a, b: b,
    "multiply": lambda a, b: a * b,
    "screen": lambda a, b: a + b - a * b,
    "overlay": lambda a, b: _hard_light(b, a),
    "soft_light": _soft_light,
    "hard_light": _hard_light,
    "darken": torch.minimum,
    "lighten": torch.maximum,
    "add": torch.add,
    "subtract": torch.sub,
    "difference": lambda a, b: (a - b).abs(),
    "dodge": lambda a, b: torch.where(a <= 0, 0, a / (1 - b).clamp(min=1e-6)),
    "burn": lambda a, b: torch.where(a >= 1, 1, 1 - (1 - a) / b.clamp(min=1e-6)),
}


class Difference(NamedTuple):
    """Where two pictures differ, and by how much."""

    image: Image
    mean: float
    largest: float


@node(category="image/compose")
def blend_images(base: Image, layer: Image, mode: BlendMode = "normal", amount: Fraction = 0.5) -> Image:
    """Lay one picture over another of the same size.

    Args:
        base: The picture below.
        layer: The picture above.
        mode: How the two mix, as in painting programs.
        amount: 0 shows the base alone, 1 the full effect.
    """
    below, above = match(base.pixels, layer.pixels, "Base and layer")
    return Image(below.lerp(BLEND[mode](below, above).clamp(0, 1), amount))


@node(category="image/compose")
def composite_images(base: Image, layer: Image, mask: Mask | None = None, x: Offset = 0, y: Offset = 0) -> Image:
    """Put a picture onto another at a place, where its mask is 1; what sticks out is cut off.

    Args:
        base: The picture below.
        layer: The picture to put on it.
        mask: Where the layer shows, in the layer's size; everywhere if not given.
        x: Left edge of the layer in the base.
        y: Upper edge of the layer in the base.
    """
    canvas, patch = match_batches(base.pixels, layer.pixels, "Base and layer")
    alpha = torch.ones(patch.shape[:3]) if mask is None else mask.values
    patch, alpha = match(patch, alpha, "Layer and mask")
    canvas, patch = match_batches(canvas, patch, "Base and layer")
    result = canvas.clone()
    there, here = place(result, patch, x, y)
    there.copy_(there.lerp(here, place(result, alpha, x, y)[1][..., None]))
    return Image(result)


@node(category="image/compose")
def image_difference(a: Image, b: Image, gain: Annotated[float, Range(1, 100, 0.5)] = 1.0) -> Difference:
    """Show where two pictures of the same size differ.

    Args:
        a: First picture.
        b: Second picture.
        gain: Brightens small differences in the picture; the numbers stay as they are.
    """
    x, y = match(a.pixels, b.pixels)
    gap = (x - y).abs()
    return Difference(Image((gap * gain).clamp(0, 1)), float(gap.mean()), float(gap.max()))


@node(category="image/compose")
def side_by_side(a: Image, b: Image, direction: Literal["right", "below"] = "right") -> Image:
    """Put two pictures next to each other; they must share the edge where they meet.

    Args:
        a: First picture.
        b: Second picture.
        direction: Where the second one goes.
    """
    x, y = match_batches(a.pixels, b.pixels)
    along, across = (2, 1) if direction == "right" else (1, 2)
    if x.shape[across] != y.shape[across]:
        raise BadInput(f"The two inputs do not fit together: {size_of(x)} and {size_of(y)}; resize one of them.")
    return Image(torch.cat([x, y], along))
