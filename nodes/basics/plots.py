"""Curves as pictures, for reports, sheets and files; the editor draws plots itself."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from PIL import Image as Pil
from PIL import ImageDraw, ImageFont

from engine.errors import BadInput
from engine.node import Range, node
from engine.types import Image, Plot

INKS = ((58, 110, 225), (224, 116, 26), (38, 150, 84), (200, 60, 130), (120, 90, 200), (110, 110, 110))
PAPER, GRID, TEXT = (255, 255, 255), (225, 228, 232), (70, 75, 82)
MARGIN, TICKS, SIZE = 46, 4, 11
Side = Annotated[int, Range(64, 4096, 8)]


@node(category="image")
def draw_curves(plots: list[Plot], width: Side = 480, height: Side = 240) -> Image:
    """Draw plots as pictures of curves, each with its axes and names.

    Args:
        plots: The plots; each becomes a picture.
        width: Width of the pictures in pixels.
        height: Height of the pictures in pixels.
    """
    if not plots:
        raise BadInput("There is no plot to draw; connect one.", field="plots")
    drawn = np.stack([np.asarray(_drawn(plot, width, height), np.float32) for plot in plots])
    return Image(torch.from_numpy(drawn / 255))


def _drawn(plot: Plot, width: int, height: int) -> Pil.Image:
    points = [p for curve in plot.series.values() for p in curve]
    if not points:
        raise BadInput("The plot has no points.", field="plots")
    sheet = Pil.new("RGB", (width, height), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(SIZE)
    low, high = _ends([y for _, y in points])
    left, right = _ends([x for x, _ in points])

    def place(x: float, y: float) -> tuple[float, float]:
        across, up = (x - left) / (right - left), (y - low) / (high - low)
        return MARGIN + across * (width - MARGIN - SIZE), height - MARGIN + SIZE - up * (height - MARGIN - SIZE)

    for i in range(TICKS + 1):
        x, y = left + (right - left) * i / TICKS, low + (high - low) * i / TICKS
        draw.line([place(left, y), place(right, y)], GRID)
        draw.text((MARGIN - 4, place(left, y)[1]), f"{y:.3g}", TEXT, font, "rm")
        draw.text((place(x, low)[0], height - MARGIN + 2 * SIZE), f"{x:.3g}", TEXT, font, "mm")
    draw.text((width / 2, height - SIZE / 2 - 2), f"{plot.x_label}; upwards {plot.y_label}", TEXT, font, "mm")
    for k, (name, curve) in enumerate(plot.series.items()):
        ink = INKS[k % len(INKS)]
        draw.line([place(*p) for p in curve], ink, 2)
        draw.text((width - SIZE, SIZE + k * (SIZE + 3)), name, ink, font, "rm")
    return sheet


def _ends(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = abs(low) * 0.05 or 1.0
    return (low, high) if high > low else (low - room, high + room)
