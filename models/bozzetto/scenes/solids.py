"""Objects of real geometry seen from any side, with exact depth and normals (orthographic, z-buffer)."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from models.bozzetto.scenes.meshes import MAIN, MESHES, Mesh
from models.bozzetto.scenes.vocabulary import COLOURS

VIEWS = {"front": 0.0, "side": 90.0, "back": 180.0}
_PITCH = 18.0  # degrees that the camera looks down
_OVER = 2  # drawn at twice the size, then reduced
_LIGHT = np.array([-0.4, 0.7, 0.6]) / np.linalg.norm([-0.4, 0.7, 0.6])


@dataclass(frozen=True)
class Solid:
    """One view: `rgba` (S, S, 4) uint8; `depth` (S, S) float32 towards the viewer in object units (NaN outside);
    `normals` (S, S, 3) float32 unit vectors in camera axes x right, y up, z to the viewer (0 outside)."""

    rgba: np.ndarray
    depth: np.ndarray
    normals: np.ndarray


def view_name(yaw: float) -> str:
    """The word of a view: front, side or back."""
    turned = abs((yaw + 180) % 360 - 180)
    return "front" if turned <= 45 else "side" if turned < 135 else "back"


def _rotation(yaw: float, pitch: float) -> np.ndarray:
    a, b = np.radians(yaw), np.radians(pitch)
    about_y = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return about_x @ about_y


def _cover(triangle: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Rows, columns and depths of the pixels of a (3, 3) triangle in pixel coordinates."""
    x, y, z = triangle.T
    x0, x1 = max(int(x.min()), 0), min(int(x.max()) + 2, n)
    y0, y1 = max(int(y.min()), 0), min(int(y.max()) + 2, n)
    area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
    if x0 >= x1 or y0 >= y1 or abs(area) < 1e-9:
        return None
    rows, columns = np.mgrid[y0:y1, x0:x1] + 0.5
    w1 = ((columns - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (rows - y[0])) / area
    w2 = ((x[1] - x[0]) * (rows - y[0]) - (columns - x[0]) * (y[1] - y[0])) / area
    inside = (w1 >= 0) & (w2 >= 0) & (w1 + w2 <= 1)
    depth = z[0] + w1 * (z[1] - z[0]) + w2 * (z[2] - z[0])
    return rows[inside].astype(int), columns[inside].astype(int), depth[inside]


def _raster(mesh: Mesh, turned: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """(n, n) depth, NaN outside, and (n, n) index of the triangle seen, -1 outside."""
    pixels = np.stack([(turned[..., 0] * 0.48 + 0.5) * n, (0.5 - turned[..., 1] * 0.48) * n, turned[..., 2]], -1)
    depth, index = np.full((n, n), -np.inf), np.full((n, n), -1)
    for i, triangle in enumerate(pixels):
        covered = _cover(triangle, n)
        if covered is None:
            continue
        rows, columns, z = covered
        nearer = z > depth[rows, columns]
        depth[rows[nearer], columns[nearer]] = z[nearer]
        index[rows[nearer], columns[nearer]] = i
    return np.where(index >= 0, depth, np.nan), index


@lru_cache(maxsize=4096)
def solid(noun: str, colour: str | None, yaw: float, side: int, source: str = "3d") -> Solid:
    """A view of an object, standing at the lower edge of its square; `source` flat has no shading, ink only lines."""
    mesh, n = MESHES[noun](), side * _OVER
    turned = mesh.triangles @ _rotation(yaw, _PITCH).T
    turned = turned / max(1.0, float(np.abs(turned[..., :2]).max()) / 1.02)
    turned[..., 1] -= turned[..., 1].min() + 1.0  # feet on the lower edge
    depth, index = _raster(mesh, turned, n)
    normal = np.cross(turned[:, 1] - turned[:, 0], turned[:, 2] - turned[:, 0])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
    normal *= np.sign(normal[:, 2:] + 1e-9)  # what is seen faces the viewer
    tint = np.where(mesh.colours == MAIN, np.array(COLOURS[colour or "red"], float), mesh.colours)
    light = (
        0.62 + 0.5 * np.clip(normal @ _LIGHT, 0, 1)[:, None] if source == "3d" else 0.85 + 0.15 * (normal[:, 1:2] > 0.3)
    )
    seen = index >= 0
    rgba = np.zeros((n, n, 4), np.float32)
    rgba[seen, :3] = np.clip(tint * light, 0, 255)[index[seen]]
    rgba[seen, 3] = 255
    if source in ("ink", "cartoon"):
        rgba = _outlined(rgba, np.where(seen[..., None], normal[index], 0), source)
    rgba = cv2.resize(rgba, (side, side), interpolation=cv2.INTER_AREA)
    rgba[..., :3] /= np.maximum(rgba[..., 3:] / 255, 1e-3)
    normals = np.where(seen[..., None], normal[index], 0).astype(np.float32)
    return Solid(
        np.clip(rgba, 0, 255).astype(np.uint8),
        depth[::_OVER, ::_OVER].astype(np.float32),
        normals[::_OVER, ::_OVER],
    )


@lru_cache(maxsize=20000)
def sprite(noun: str, source: str, colour: str | None, yaw: float, side: int) -> np.ndarray:
    """(side, side, 4) uint8 picture of a view, turned to the nearest 15 degrees."""
    picture = solid(noun, colour, float(round(yaw / 15) * 15 % 360), 112, source).rgba
    return cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)


def _outlined(rgba: np.ndarray, normals: np.ndarray, source: str) -> np.ndarray:
    """Dark lines where the surface ends or turns sharply; in ink the surface itself is white."""
    field = np.dstack([normals, rgba[..., 3] / 255]).astype(np.float32)
    turn = sum(
        np.abs(cv2.Sobel(np.ascontiguousarray(field[..., i]), cv2.CV_32F, dx, 1 - dx))
        for i in range(4)
        for dx in (0, 1)
    )
    line = cv2.dilate((turn > 2.4).astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool) & (rgba[..., 3] > 0)
    out = rgba.copy()
    if source == "ink":
        out[rgba[..., 3] > 0, :3] = 250
    out[line, :3] = 24
    return out
