"""Draw a scene description: the picture, and the exact truth about it."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import cv2
import numpy as np

from models.bozzetto.scenes import backgrounds, puppet, solids, sprites, styles
from models.bozzetto.scenes import vocabulary as words
from models.bozzetto.scenes.spec import RESOLUTION, ObjectSpec, SceneSpec


@dataclass(frozen=True)
class Scene:
    """A drawn scene with its truth.

    `image` (H, W, 3) uint8; `masks` (n, H, W) bool, the visible part of each object in painter's order;
    `alphas` (n, H, W) bool, its whole silhouette, hidden parts included.
    """

    spec: SceneSpec
    image: np.ndarray
    masks: np.ndarray
    alphas: np.ndarray

    @cached_property
    def boxes(self) -> np.ndarray:
        """(n, 4) int: x0, y0, x1, y1 (exclusive) around each visible mask; zeros when nothing is visible."""
        out = np.zeros((len(self.masks), 4), int)
        for row, mask in zip(out, self.masks, strict=True):
            ys, xs = np.where(mask)
            if len(xs):
                row[:] = xs.min(), ys.min(), xs.max() + 1, ys.max() + 1
        return out

    @property
    def classes(self) -> tuple[str, ...]:
        """Object words, in the order of the masks."""
        return tuple(o.noun for o in self.spec.objects)

    @property
    def colours(self) -> tuple[str | None, ...]:
        """Colour words, None where an object has its own look."""
        return tuple(o.colour for o in self.spec.objects)

    @property
    def joints(self) -> list[np.ndarray | None]:
        """For each object: (17, 2) pixel positions x, y of its joints (`puppet.JOINTS`), or None without any."""
        return [
            puppet.joints(o.pose, o.side) + np.array([o.x, o.y]) if o.noun == words.PUPPET else None
            for o in self.spec.objects
        ]

    def geometry(self) -> tuple[np.ndarray, np.ndarray]:
        """Depth (H, W) towards the viewer in object units, NaN where unknown, and normals (H, W, 3), 0 there.

        Known for the visible parts of objects of real geometry (`vocabulary.SOLIDS`).
        """
        depth = np.full(self.image.shape[:2], np.nan, np.float32)
        normals = np.zeros((*self.image.shape[:2], 3), np.float32)
        for o, mask in zip(self.spec.objects, self.masks, strict=True):
            if o.noun in words.SOLIDS:
                part = solids.solid(o.noun, o.colour, float(round(o.view / 15) * 15 % 360), o.side)
                here, seen = (
                    np.s_[o.y : o.y + o.side, o.x : o.x + o.side],
                    mask[o.y : o.y + o.side, o.x : o.x + o.side],
                )
                depth[here][seen], normals[here][seen] = part.depth[seen], part.normals[seen]
        return depth, normals

    @property
    def order(self) -> np.ndarray:
        """(H, W) uint8 depth order: 0 = background, then 1 = farthest object, and so on towards the viewer."""
        layers = np.arange(1, len(self.masks) + 1, dtype=np.uint8)[:, None, None]
        return (self.masks * layers).max(0) if len(self.masks) else np.zeros(self.image.shape[:2], np.uint8)

    @property
    def edges(self) -> np.ndarray:
        """(H, W) bool: the outlines of the objects and the strong edges of the picture."""
        kernel = np.ones((3, 3), np.uint8)
        outline = np.zeros(self.image.shape[:2], bool)
        for mask in self.masks:
            outline |= cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_GRADIENT, kernel).astype(bool) & mask
        return outline | (cv2.Canny(self.image, 90, 180) > 0)


def _paper(spec: SceneSpec) -> tuple[np.ndarray, int]:
    """The background as float32 (H, W, 3) and its horizon row in the picture."""
    pool, row = backgrounds.background(spec.background, spec.background_colour, spec.variant)
    x, y = spec.crop
    part = pool[y : y + RESOLUTION, x : x + RESOLUTION]
    part = part[:, ::-1] if spec.mirror else part
    return styles.prepare(part.astype(np.float32), spec.style, spec.background == "plain"), row - y


@lru_cache(maxsize=256)
def _shadow(side: int) -> np.ndarray:
    """(side // 3, side) darkening of the ground under an object of this size."""
    h = side // 3
    shade = np.zeros((h, side), np.float32)
    cv2.ellipse(shade, (side // 2, h // 2), (int(side * 0.4), max(2, side // 14)), 0, 0, 360, 0.32, -1, cv2.LINE_AA)
    return cv2.GaussianBlur(shade, (0, 0), 1.6)


def _cast_shadow(image: np.ndarray, o: ObjectSpec) -> None:
    shade = _shadow(o.side)
    top = o.y + o.side - 2 - shade.shape[0] // 2
    bottom = min(top + shade.shape[0], RESOLUTION)
    region = image[top:bottom, o.x : o.x + o.side]
    region *= 1 - shade[: bottom - top, : region.shape[1], None]


def _sprite(o: ObjectSpec, style: str) -> np.ndarray:
    """(side, side, 4) uint8 of an object, whatever it is drawn from."""
    source = styles.SOURCE_OF[style]
    if o.noun == words.PUPPET:
        return puppet.puppet(source, o.colour, o.pose, o.side)
    if o.noun in words.SOLIDS:
        return solids.sprite(o.noun, source, o.colour, o.view, o.side)
    if o.paint:
        from models.bozzetto.scenes.paint import painted

        return painted(o.noun, source, o.colour, o.paint, o.side)
    return sprites.scaled(o.noun, source, o.colour, o.side)


def render(spec: SceneSpec) -> Scene:
    """Draw a scene. The same description gives the same bytes."""
    image, row = _paper(spec)
    n = len(spec.objects)
    masks, alphas = np.zeros((n, RESOLUTION, RESOLUTION), bool), np.zeros((n, RESOLUTION, RESOLUTION), bool)
    grounded = spec.background in backgrounds.GROUNDED and spec.style != "ink"
    for i, o in enumerate(spec.objects):
        if grounded and o.noun not in words.AIRBORNE and o.y + o.side > row:
            _cast_shadow(image, o)
        sprite = _sprite(o, spec.style)
        alpha = sprite[..., 3:].astype(np.float32) / 255
        here = np.s_[o.y : o.y + o.side, o.x : o.x + o.side]
        image[here] = image[here] * (1 - alpha) + sprite[..., :3] * alpha
        solid = sprite[..., 3] > 127
        masks[:i, here[0], here[1]] &= ~solid
        masks[i, here[0], here[1]] = solid
        alphas[i, here[0], here[1]] = solid
    image = styles.finish(image, spec.style, np.random.default_rng(spec.texture))
    return Scene(spec, np.clip(image, 0, 255).astype(np.uint8), masks, alphas)
