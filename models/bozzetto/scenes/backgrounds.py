"""Twelve kinds of background, drawn from a seed at twice the size and kept as a pool of variants.

A drawer takes a random generator and returns a float32 picture (2N, 2N, 3) in 0..255 and its horizon row.
"""

from collections.abc import Callable
from functools import cache

import cv2
import numpy as np

from models.bozzetto.scenes.vocabulary import BACKGROUNDS, COLOURS

SIDE = 160  # a scene takes a random 128 x 128 crop of it
VARIANTS = 32  # pictures in the pool of each kind
_N = 2 * SIDE
Colour = tuple[float, float, float]
Rng = np.random.Generator
Drawn = tuple[np.ndarray, int]


def _fade(top: Colour, bottom: Colour, rows: int = _N) -> np.ndarray:
    t = np.linspace(0, 1, max(rows, 1), dtype=np.float32)[:, None, None]
    return np.repeat(np.array(top, np.float32) * (1 - t) + np.array(bottom, np.float32) * t, _N, 1)


_LOBES = ((0, 0, 1.0), (-0.55, 0.25, 0.7), (0.55, 0.2, 0.75), (-0.15, -0.35, 0.6), (0.25, -0.3, 0.55))


def _puff(r: Rng, im: np.ndarray, at: tuple[float, float], size: tuple[float, float], colour: Colour) -> None:
    """A cloud or a crown of leaves: a few overlapping ellipses."""
    (x, y), (w, h) = at, size
    for dx, dy, s in _LOBES:
        centre = (int(x + dx * w + r.uniform(-2, 2)), int(y + dy * h))
        axes = (max(1, int(w * s * 0.6)), max(1, int(h * s * 0.6)))
        cv2.ellipse(im, centre, axes, 0, 0, 360, colour, -1, cv2.LINE_AA)


def _hill(im: np.ndarray, row: float, height: float, length: float, phase: float, colour: Colour) -> None:
    x = np.arange(_N + 1)
    y = row - height * (0.5 + 0.5 * np.sin(x / length + phase))
    points = np.stack([np.r_[x, _N, 0], np.r_[y, _N, _N]], 1).astype(np.int32)
    cv2.fillPoly(im, [points], colour, cv2.LINE_AA)


def _plain(r: Rng, colour: str) -> Drawn:
    base = np.clip(np.array(COLOURS[colour], np.float32) * r.uniform(0.96, 1.04) + r.uniform(0, 12), 0, 255)
    return _fade(tuple(np.clip(base * 1.05 + 5, 0, 255)), tuple(base * 0.92)), _N


def _sky(r: Rng) -> Drawn:
    im = _fade((84, 156, 236), (192, 226, 250))
    for _ in range(int(r.integers(3, 6))):
        at, size = (r.uniform(0, _N), r.uniform(20, _N)), (r.uniform(36, 64), r.uniform(16, 26))
        _puff(r, im, at, size, (250, 252, 255))
    return im, _N


def _sunset(r: Rng) -> Drawn:
    im, row = _fade((112, 62, 140), (255, 160, 84)), int(r.uniform(0.6, 0.7) * _N)
    cv2.circle(
        im,
        (int(r.uniform(60, 260)), row - int(r.uniform(10, 40))),
        int(r.uniform(26, 36)),
        (255, 230, 140),
        -1,
        cv2.LINE_AA,
    )
    _hill(im, row, 22, r.uniform(40, 70), r.uniform(0, 6), (150, 74, 92))
    im[row:] = _fade((112, 60, 82), (58, 34, 66), _N - row)
    return im, row


def _snow(r: Rng) -> Drawn:
    im, row = _fade((150, 188, 226), (222, 234, 246)), int(r.uniform(0.52, 0.64) * _N)
    _hill(im, row + 6, 60, r.uniform(30, 50), r.uniform(0, 6), (196, 212, 232))
    for _ in range(int(r.integers(3, 6))):
        x, h = r.uniform(0, _N), r.uniform(46, 76)
        for k in range(3):
            w, top = h * (0.28 + 0.09 * k), row - h + k * h * 0.24
            tri = np.array([[x - w, top + h * 0.46], [x, top], [x + w, top + h * 0.46]], np.int32)
            cv2.fillConvexPoly(im, tri, (84, 128, 122), cv2.LINE_AA)
    im[row:] = _fade((246, 249, 253), (220, 230, 245), _N - row)
    for _ in range(26):
        cv2.circle(im, tuple(int(v) for v in r.uniform(0, _N, 2)), 4, (255, 255, 255), -1, cv2.LINE_AA)
    return im, row


def _forest(r: Rng) -> Drawn:
    im, row = _fade((160, 205, 150), (104, 158, 100)), int(r.uniform(0.55, 0.66) * _N)
    for depth, (trunk, leaves) in enumerate((((110, 96, 70), (98, 152, 92)), ((92, 66, 46), (52, 116, 60)))):
        for i in range(5):
            x, w = (i + 0.5 * depth) * _N / 5 + r.uniform(-12, 12), 8 + 5 * depth
            cv2.rectangle(im, (int(x - w), 0), (int(x + w), row + 8), trunk, -1)
        for i in range(5):
            x = (i + 0.5 * depth) * _N / 5
            _puff(r, im, (x, r.uniform(10, 60) - 12 * depth), (60, 46), leaves)
    im[row:] = _fade((82, 134, 62), (48, 92, 44), _N - row)
    return im, row


def _beach(r: Rng) -> Drawn:
    im, row = _fade((104, 184, 242), (206, 236, 252)), int(r.uniform(0.55, 0.66) * _N)
    sea = row - int(r.uniform(48, 70))
    im[sea:] = _fade((34, 138, 200), (86, 196, 220), _N - sea)
    _hill(im, row + 8, 12, r.uniform(50, 90), r.uniform(0, 6), (250, 252, 250))
    _hill(im, row + 16, 12, r.uniform(50, 90), r.uniform(0, 6), (242, 216, 160))
    ground = _fade((242, 216, 160), (226, 190, 128), _N - row - 16)
    im[row + 16 :] = ground
    return im, row + 10


def _desert(r: Rng) -> Drawn:
    im, row = _fade((250, 196, 120), (255, 234, 186)), int(r.uniform(0.5, 0.62) * _N)
    cv2.circle(im, (int(r.uniform(40, 280)), int(r.uniform(40, 90))), 24, (255, 246, 214), -1, cv2.LINE_AA)
    for k, colour in enumerate(((232, 178, 108), (222, 160, 88), (208, 142, 74))):
        _hill(im, row + 12 + k * 36, 34, r.uniform(50, 90), r.uniform(0, 6), colour)
    return im, row


def _night(r: Rng) -> Drawn:
    im = _fade((12, 14, 50), (46, 44, 108))
    for _ in range(34):
        cv2.circle(
            im,
            tuple(int(v) for v in r.uniform(0, _N, 2)),
            int(r.integers(2, 5)),
            (240, 238, 206),
            -1,
            cv2.LINE_AA,
        )
    if r.random() < 0.6:
        x, y = int(r.uniform(60, 260)), int(r.uniform(50, 110))
        cv2.circle(im, (x, y), 26, (252, 244, 206), -1, cv2.LINE_AA)
        cv2.circle(im, (x + 11, y - 7), 22, (20, 22, 62), -1, cv2.LINE_AA)
    return im, _N


def _city(r: Rng) -> Drawn:
    im, row, x = _fade((150, 186, 226), (226, 232, 240)), int(r.uniform(0.6, 0.68) * _N), -10
    while x < _N:
        w, h, grey = int(r.uniform(44, 66)), int(r.uniform(70, 170)), r.uniform(96, 150)
        cv2.rectangle(im, (x, row - h), (x + w, row), (grey * 0.92, grey * 0.96, grey * 1.12), -1)
        for yy in range(row - h + 10, row - 18, 24):
            for xx in range(x + 8, x + w - 12, 20):
                lit = (252, 226, 140) if r.random() < 0.5 else (grey * 0.55, grey * 0.6, grey * 0.75)
                cv2.rectangle(im, (xx, yy), (xx + 10, yy + 13), lit, -1)
        x += w + 3
    im[row:] = _fade((116, 116, 124), (84, 84, 94), _N - row)
    for k in range(6):
        cv2.rectangle(im, (k * 64 + 8, (row + _N) // 2 + 14), (k * 64 + 40, (row + _N) // 2 + 20), (226, 222, 200), -1)
    return im, row


def _water(r: Rng) -> Drawn:
    im, row = _fade((160, 212, 244), (214, 236, 248)), int(r.uniform(0.34, 0.48) * _N)
    im[row:] = _fade((58, 144, 212), (20, 80, 154), _N - row)
    for k in range(9):
        y, x = row + 14 + k * (_N - row) / 9, r.uniform(-20, 60)
        while x < _N:
            w = r.uniform(30, 56)
            cv2.ellipse(im, (int(x), int(y)), (int(w / 2), 5), 0, 180, 360, (142, 200, 238), 4, cv2.LINE_AA)
            x += w + r.uniform(36, 90)
    return im, row


def _room(r: Rng) -> Drawn:
    walls = ((232, 208, 178), (186, 212, 214), (226, 200, 208), (206, 218, 188))
    wall, row, x = (
        np.array(walls[int(r.integers(4))], np.float32),
        int(r.uniform(0.66, 0.74) * _N),
        int(r.uniform(20, 190)),
    )
    im = _fade(tuple(wall), tuple(wall * 0.94))
    cv2.rectangle(im, (x, 44), (x + 96, 136), (250, 250, 248), -1)
    cv2.rectangle(im, (x + 8, 52), (x + 88, 128), (146, 206, 244), -1)
    cv2.rectangle(im, (x + 44, 46), (x + 52, 134), (250, 250, 248), -1)
    cv2.rectangle(im, (x + 2, 86), (x + 94, 93), (250, 250, 248), -1)
    im[row:] = _fade((178, 126, 82), (146, 98, 60), _N - row)
    for y in range(row + 26, _N, 28):
        cv2.line(im, (0, y), (_N, y), (140, 94, 58), 3)
    im[row - 6 : row + 6] = (246, 242, 236)
    return im, row


def _field(r: Rng) -> Drawn:
    im, row = _fade((124, 194, 246), (214, 238, 252)), int(r.uniform(0.52, 0.62) * _N)
    for _ in range(2):
        at, size = (r.uniform(0, _N), r.uniform(24, 90)), (r.uniform(36, 56), r.uniform(14, 22))
        _puff(r, im, at, size, (252, 253, 255))
    _hill(im, row + 4, 34, r.uniform(50, 80), r.uniform(0, 6), (140, 196, 104))
    im[row:] = _fade((124, 200, 84), (78, 160, 62), _N - row)
    for _ in range(16):
        colour = ((255, 238, 110), (250, 160, 190), (255, 255, 255))[int(r.integers(3))]
        cv2.circle(im, (int(r.uniform(0, _N)), int(r.uniform(row + 14, _N))), 5, colour, -1, cv2.LINE_AA)
    return im, row


_DRAWERS: dict[str, Callable[[Rng], Drawn]] = {
    "sky": _sky, "sunset": _sunset, "snow": _snow, "forest": _forest, "beach": _beach, "desert": _desert,
    "night": _night, "city": _city, "water": _water, "room": _room, "field": _field,
}  # fmt: skip
# Where things stand on the ground and throw a shadow; elsewhere they float.
GROUNDED = frozenset(("sunset", "snow", "forest", "beach", "desert", "city", "room", "field"))


@cache
def background(kind: str, colour: str | None, variant: int) -> tuple[np.ndarray, int]:
    """A (SIDE, SIDE, 3) uint8 background and its horizon row; `colour` is for `plain` only."""
    index = BACKGROUNDS.index(kind) * 100 + (list(COLOURS).index(colour) if colour else 0)
    r = np.random.default_rng((77, index, variant))
    picture, row = _plain(r, colour) if colour else _DRAWERS[kind](r)
    small = cv2.resize(np.clip(picture, 0, 255), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return small.round().astype(np.uint8), row // 2
