"""Four objects of real geometry, built from boxes, frustums and prisms. x is right, y up, z towards the front."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

MAIN = (-1.0, -1.0, -1.0)  # stands for the colour word's colour
Colour = tuple[float, float, float]
_DARK, _GLASS, _METAL, _WOOD, _LIGHT = (
    (46, 46, 54),
    (150, 206, 240),
    (190, 194, 204),
    (126, 84, 52),
    (255, 236, 170),
)


@dataclass(frozen=True)
class Mesh:
    """Triangles (F, 3, 3) and the colour of each (F, 3), `MAIN` where the colour word's goes."""

    triangles: np.ndarray
    colours: np.ndarray

    def __add__(self, other: "Mesh") -> "Mesh":
        return Mesh(np.concatenate([self.triangles, other.triangles]), np.concatenate([self.colours, other.colours]))


def _quads(corners: np.ndarray, colour: Colour) -> Mesh:
    """(Q, 4, 3) quads, counter-clockwise seen from outside, as triangles."""
    triangles = np.concatenate([corners[:, [0, 1, 2]], corners[:, [0, 2, 3]]])
    return Mesh(triangles, np.tile(np.array(colour, float), (len(triangles), 1)))


def box(low: Colour, high: Colour, colour: Colour = MAIN) -> Mesh:
    """A box between two corners."""
    (x0, y0, z0), (x1, y1, z1) = low, high
    v = np.array([[x, y, z] for x in (x0, x1) for y in (y0, y1) for z in (z0, z1)], float)
    faces = [[1, 5, 7, 3], [4, 0, 2, 6], [5, 4, 6, 7], [0, 1, 3, 2], [3, 7, 6, 2], [0, 4, 5, 1]]
    return _quads(v[faces], colour)


def frustum(
    base: Colour,
    height: float,
    radii: tuple[float, float],
    colour: Colour = MAIN,
    *,
    axis: int = 1,
    n: int = 28,
) -> Mesh:
    """A cylinder or cone along an axis (0 x, 1 y, 2 z) from the centre `base`, closed at both ends."""
    t = np.arange(n + 1) * 2 * np.pi / n
    circle = np.stack([np.sin(t), np.zeros_like(t), np.cos(t)], 1)
    low, high = circle * radii[0], circle * radii[1] + (0, height, 0)
    sides = np.stack([low[:-1], low[1:], high[1:], high[:-1]], 1)
    middle = np.zeros((n, 3))
    top = np.tile(np.array([0.0, height, 0.0]), (n, 1))
    caps = np.concatenate([np.stack([low[1:], low[:-1], middle, middle], 1),
                           np.stack([high[:-1], high[1:], top, top], 1)])  # fmt: skip
    turn = {0: [1, 2, 0], 1: [0, 1, 2], 2: [2, 0, 1]}[axis]  # cyclic, so that faces keep their side
    return _quads(np.concatenate([sides, caps])[..., turn] + np.array(base), colour)


def roof(low: Colour, high: Colour, colour: Colour) -> Mesh:
    """A gable roof over a box's upper face; the ridge runs along z."""
    (x0, y0, z0), (x1, y1, z1) = low, high
    m = (x0 + x1) / 2
    a, b, c, d = (x0, y0, z1), (x1, y0, z1), (x1, y0, z0), (x0, y0, z0)
    front, back = (m, y1, z1), (m, y1, z0)
    return _quads(
        np.array(
            [
                [b, c, back, front],
                [d, a, front, back],
                [a, b, front, front],
                [c, d, back, back],
                [a, d, c, b],
            ],
            float,
        ),
        colour,
    )


def _mug() -> Mesh:
    out = frustum((0, -0.6, 0), 1.2, (0.5, 0.52)) + frustum((0, 0.601, 0), 0.002, (0.44, 0.44), _DARK)
    t = np.linspace(-0.5 * np.pi, 0.5 * np.pi, 9)
    for a, b in pairwise(t):
        x, y = 0.5 + 0.34 * np.cos((a + b) / 2), 0.36 * np.sin((a + b) / 2)
        out += box((x - 0.07, y - 0.09, -0.08), (x + 0.07, y + 0.09, 0.08))
    return out


def _lamp() -> Mesh:
    return (frustum((0, -0.9, 0), 0.1, (0.4, 0.36), _DARK) + frustum((0, -0.8, 0), 0.9, (0.06, 0.06), _METAL)
            + frustum((0, 0.05, 0), 0.75, (0.56, 0.3))
            + frustum((0, 0.801, 0), 0.002, (0.26, 0.26), _LIGHT))  # fmt: skip


def _truck() -> Mesh:
    out = box((-0.4, -0.4, 0.4), (0.4, 0.3, 0.9)) + box((-0.42, -0.4, -0.95), (0.42, 0.55, 0.34), (236, 236, 240))
    out += box((-0.34, 0.0, 0.9), (0.34, 0.24, 0.91), _GLASS) + box((-0.41, 0.0, 0.5), (0.41, 0.22, 0.8), _GLASS)
    out += box((-0.36, -0.36, -0.96), (-0.02, 0.5, -0.95), _METAL) + box(
        (0.02, -0.36, -0.96), (0.36, 0.5, -0.95), _METAL
    )
    for x, tint in ((-0.32, _LIGHT), (0.2, _LIGHT)):
        out += box((x, -0.3, 0.9), (x + 0.12, -0.18, 0.915), tint)
    for z in (-0.6, 0.62):
        out += frustum((-0.44, -0.45, z), 0.88, (0.22, 0.22), _DARK, axis=0)
        out += frustum((-0.445, -0.45, z), 0.89, (0.1, 0.1), _METAL, axis=0)
    return out


def _cottage() -> Mesh:
    out = box((-0.6, -0.7, -0.55), (0.6, 0.1, 0.55)) + roof((-0.72, 0.1, -0.65), (0.72, 0.75, 0.65), (168, 66, 52))
    out += box((0.25, 0.2, -0.4), (0.42, 0.85, -0.22), (150, 96, 80)) + box(
        (-0.16, -0.7, 0.55), (0.16, -0.15, 0.56), _WOOD
    )
    for x in (-0.46, 0.26):
        out += box((x, -0.4, 0.55), (x + 0.2, -0.12, 0.56), _GLASS)
    return out + box((-0.61, -0.4, -0.25), (0.61, -0.1, 0.2), _GLASS)


MESHES = {"mug": _mug, "lamp": _lamp, "truck": _truck, "cottage": _cottage}
