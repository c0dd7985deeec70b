"""Sprites from icon sets: rasterised once, cropped, recoloured, kept in a cache file.

Sources are Fluent Emoji (3d, flat, ink; MIT) and Noto Emoji (cartoon; Apache-2.0); see `icons/`.
"""

import hashlib
import json
import os
from functools import lru_cache

import cv2
import numpy as np

from models.bozzetto import paths
from models.bozzetto.scenes import vocabulary as words

SIDE = 112  # pixels of a cached sprite; objects are drawn at 40 to 112 pixels
SOURCES = ("3d", "flat", "ink", "cartoon")
_ICONS = paths.HERE / "scenes" / "icons"
_VERSION = "3"  # raise when the drawing below changes, so that old cache files are not read


def _rasterise(icon: dict[str, str | int], side: int) -> np.ndarray:
    """SVG body to (side, side, 4) uint8. resvg, since cairosvg ignores the blur filters of the 3d set."""
    import resvg_py

    w, h = icon["width"], icon["height"]
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="{w}" '
        f'height="{h}" viewBox="0 0 {w} {h}" color="#1a1a1a">{icon["body"]}</svg>'
    )
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=side, height=side))
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)[..., [2, 1, 0, 3]]


def fit_square(sprite: np.ndarray, side: int) -> np.ndarray:
    """Crop to the visible part, pad to a square with the object at the bottom centre, resize to `side`."""
    ys, xs = np.where(sprite[..., 3] > 8)
    part = sprite[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
    h, w = part.shape[:2]
    n = max(h, w)
    square = np.zeros((n, n, 4), np.float32)
    square[n - h :, (n - w) // 2 : (n - w) // 2 + w] = part
    square[..., :3] *= square[..., 3:] / 255  # premultiplied, so that clear pixels do not bleed in
    square = cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA)
    square[..., :3] = np.clip(square[..., :3] / np.maximum(square[..., 3:] / 255, 1e-3), 0, 255)
    return square.astype(np.uint8)


def _outlined(sprite: np.ndarray) -> np.ndarray:
    """A dark outline, which makes the cartoon source visibly different from the flat one."""
    pad = cv2.copyMakeBorder(sprite, 4, 4, 4, 4, cv2.BORDER_CONSTANT)
    alpha = pad[..., 3].astype(np.float32) / 255
    ring = cv2.dilate(alpha, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7)))
    rgb = pad[..., :3] * alpha[..., None] + np.array([28, 24, 30]) * (1 - alpha[..., None])
    out = np.dstack([rgb, np.maximum(ring, alpha) * 255]).astype(np.uint8)
    return cv2.resize(out, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def _on_paper(sprite: np.ndarray) -> np.ndarray:
    """Paper-white body below ink strokes, so that an ink object hides what is behind it."""
    alpha = sprite[..., 3]
    clear = (cv2.copyMakeBorder(alpha, 1, 1, 1, 1, cv2.BORDER_CONSTANT) < 90).astype(np.uint8)
    _, label = cv2.connectedComponents(clear)
    body = (label != label[0, 0])[1:-1, 1:-1]
    f = (alpha / 255.0)[..., None]
    return np.dstack([sprite[..., :3] * f + 250 * (1 - f), np.where(body, 255, alpha)]).astype(np.uint8)


def _main_hue_weight(rgb: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """(H, W) weight of the region of the sprite's dominant hue; all but the dark parts when it has none."""
    hue, sat, val = cv2.split(cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV))
    vivid = inside & (sat > 0.25) & (val > 0.15)
    if vivid.sum() <= 0.22 * inside.sum():
        return np.clip((val - 0.12) / 0.15, 0, 1)
    bins = np.bincount((hue[vivid] / 10).astype(int) % 36, weights=sat[vivid] * val[vivid], minlength=36)
    main = (bins + np.roll(bins, 1) + np.roll(bins, -1)).argmax() * 10 + 5
    distance = np.abs((hue - main + 180) % 360 - 180)
    coloured = np.clip((sat - 0.12) / 0.12, 0, 1)
    weight = np.clip((48 - distance) / 14, 0, 1) * coloured
    if (weight * inside).sum() < 0.3 * inside.sum():
        weight = np.clip((85 - distance) / 14, 0, 1) * coloured
    return weight


def recolour(sprite: np.ndarray, rgb: tuple[int, int, int]) -> np.ndarray:
    """Give the main-hue region of a (H, W, 4) sprite another colour, keeping its light and shade."""
    f = sprite[..., :3].astype(np.float32) / 255
    inside = sprite[..., 3] > 40
    weight = _main_hue_weight(f, inside)
    light = f @ np.array([0.3, 0.59, 0.11], np.float32)
    mean = max(float(np.average(light, weights=weight * inside + 1e-6)), 0.05)
    ratio = np.clip(light / mean, 0.25, 2.2)[..., None]
    target = np.array(rgb, np.float32) / 255
    lit = np.where(
        ratio <= 1,
        target * (0.35 + 0.65 * ratio),
        target + (1 - target) * np.clip((ratio - 1) * 0.45, 0, 0.75),
    )
    out = sprite.copy()
    out[..., :3] = np.clip((f * (1 - weight[..., None]) + lit * weight[..., None]) * 255, 0, 255)
    return out


def _build() -> dict[str, np.ndarray]:
    finish = {"cartoon": _outlined, "ink": _on_paper}
    cache: dict[str, np.ndarray] = {}
    for source in SOURCES:
        icons = json.loads((_ICONS / f"{source}.json").read_text())["icons"]
        for noun, icon in icons.items():
            sprite = fit_square(_rasterise(icon, 256), SIDE)
            sprite = finish.get(source, lambda s: s)(sprite)
            cache[f"{noun}|{source}|"] = sprite
            if noun in words.TINTABLE and source != "ink":
                for name, rgb in words.COLOURS.items():
                    cache[f"{noun}|{source}|{name}"] = recolour(sprite, rgb)
    return cache


@lru_cache(maxsize=1)
def _all() -> dict[str, np.ndarray]:
    digest = hashlib.sha256(_VERSION.encode() + repr((SIDE, words.TINTABLE, words.COLOURS)).encode())
    for source in SOURCES:
        digest.update((_ICONS / f"{source}.json").read_bytes())
    file = paths.cache_dir() / f"sprites-{digest.hexdigest()[:12]}.npz"
    if not file.exists():
        temporary = file.with_name(f"{file.stem}-{os.getpid()}.npz")
        np.savez(temporary, **_build())
        temporary.replace(file)
    with np.load(file) as stored:
        return {key: stored[key] for key in stored.files}


def sprite(noun: str, source: str, colour: str | None = None) -> np.ndarray:
    """(SIDE, SIDE, 4) uint8 sprite of an object in a source (`SOURCES`) and a colour (None = as drawn)."""
    return _all()[f"{noun}|{source}|{colour or ''}"]


@lru_cache(maxsize=20000)
def scaled(noun: str, source: str, colour: str | None, side: int) -> np.ndarray:
    """The sprite at `side` pixels; kept, since scenes ask for the same sizes again and again."""
    return cv2.resize(sprite(noun, source, colour), (side, side), interpolation=cv2.INTER_AREA)
