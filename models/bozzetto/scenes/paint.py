"""Unique painted individuals: a known class, the lower part in a second colour, and a mark on its side."""

from functools import lru_cache

import cv2
import numpy as np

from models.bozzetto.scenes import sprites
from models.bozzetto.scenes.vocabulary import COLOURS


def _mark_shape(mark: str, side: int) -> np.ndarray:
    """(side, side) uint8 stencil of a mark."""
    stencil = np.zeros((side, side), np.uint8)
    c, r = side / 2, side * 0.45
    if mark == "dot":
        cv2.circle(stencil, (int(c), int(c)), int(r), 255, -1, cv2.LINE_AA)
    elif mark == "star":
        angle = np.arange(10) * np.pi / 5 - np.pi / 2
        radius = np.where(np.arange(10) % 2, r * 0.45, r)
        points = np.stack([c + radius * np.cos(angle), c + radius * np.sin(angle)], 1)
        cv2.fillPoly(stencil, [points.astype(np.int32)], 255, cv2.LINE_AA)
    elif mark == "heart":
        t = np.linspace(0, 2 * np.pi, 40)
        x = 16 * np.sin(t) ** 3
        y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
        points = np.stack([c + x / 17 * r, c + y / 17 * r], 1)
        cv2.fillPoly(stencil, [points.astype(np.int32)], 255, cv2.LINE_AA)
    else:
        raise ValueError(f"no mark called {mark!r}; there are dot, star, heart")
    return stencil


@lru_cache(maxsize=4096)
def painted(noun: str, source: str, colour: str | None, paint: tuple[str, str], side: int) -> np.ndarray:
    """(side, side, 4) uint8 sprite of a painted individual; `paint` is (second colour, mark)."""
    second, mark = paint
    upper = sprites.sprite(noun, source, colour)
    lower = sprites.recolour(upper, COLOURS[second])
    out = upper.copy()
    rows = np.where(upper[..., 3].max(1) > 8)[0]
    split = int(rows[0] + 0.6 * (rows[-1] - rows[0]))
    out[split:] = lower[split:]
    size = sprites.SIDE // 4
    centre_y, centre_x = int(rows[0] + 0.5 * (rows[-1] - rows[0])), sprites.SIDE // 2
    here = np.s_[centre_y - size // 2 : centre_y - size // 2 + size, centre_x - size // 2 : centre_x - size // 2 + size]
    weight = (_mark_shape(mark, size) / 255.0 * (out[here][..., 3] > 127))[..., None]
    out[here][..., :3] = out[here][..., :3] * (1 - weight) + np.array((255, 255, 255)) * weight
    return cv2.resize(out, (side, side), interpolation=cv2.INTER_AREA)
