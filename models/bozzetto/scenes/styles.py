"""Drawing styles: what is done to the background before the objects are placed, and to the whole picture after."""

import cv2
import numpy as np

from models.bozzetto.scenes.sprites import SOURCES

# Which sprite source a style draws its objects from. Pixel art takes the outlined one: it survives the grid.
SOURCE_OF = {"3d": "3d", "flat": "flat", "ink": "ink", "cartoon": "cartoon", "pixel": "cartoon",
             "watercolor": "flat", "oil": "3d"}  # fmt: skip
PIXEL = 4  # side of a square of pixel art
assert set(SOURCE_OF.values()) <= set(SOURCES)


def _noise(seed: int, kernel: np.ndarray) -> np.ndarray:
    field = np.random.default_rng(seed).normal(0, 1, (256, 256)).astype(np.float32)
    field = cv2.filter2D(field, -1, kernel)
    return field / field.std()


_PAPER = cv2.GaussianBlur(_noise(5, np.ones((1, 1), np.float32)), (0, 0), 5.0)
_PAPER /= _PAPER.std()
_BRUSH = _noise(6, np.eye(9, dtype=np.float32) / 9)


def _edges(image: np.ndarray) -> np.ndarray:
    grey = cv2.GaussianBlur(image, (0, 0), 0.8).mean(2)
    return np.abs(cv2.Sobel(grey, cv2.CV_32F, 1, 0)) + np.abs(cv2.Sobel(grey, cv2.CV_32F, 0, 1))


def prepare(image: np.ndarray, style: str, plain: bool) -> np.ndarray:
    """The background (H, W, 3) float32 as this style draws it."""
    if style == "ink":
        if plain:
            return np.clip(image * 0.3 + 178, 0, 252)
        lines = np.clip(_edges(image) * 0.9 - 12, 0, 150)
        wash = (255 - image.mean(2)) * 0.12
        return np.repeat((250 - lines - wash)[..., None], 3, 2)
    if style in ("flat", "cartoon"):
        return np.floor(image / 32) * 32 + 16 if not plain else np.broadcast_to(image.mean((0, 1)), image.shape).copy()
    return image


def _watercolor(image: np.ndarray, r: np.random.Generator) -> np.ndarray:
    """Pale washes, dark rims where a wash ends, paper left white in a wavy frame."""
    soft = cv2.medianBlur(image.astype(np.uint8), 5).astype(np.float32)
    rim = np.clip(_edges(soft) * 0.12, 0, 26)
    h, w = image.shape[:2]
    x, y = (int(v) * 32 for v in r.integers(0, 3, 2))  # nine papers: a frame that differs each time is only noise
    paper = _PAPER[y : y + h, x : x + w]
    wash = soft * 0.66 + 255 * 0.33 - rim[..., None] + paper[..., None] * 3
    row, col = np.arange(h)[:, None], np.arange(w)[None]
    border = np.minimum(np.minimum(row, h - 1 - row), np.minimum(col, w - 1 - col)).astype(np.float32)
    frame = np.clip((border - 6 + paper * 2.5) / 2.5, 0, 1)[..., None]
    return wash * frame + 252 * (1 - frame)


def _oil(image: np.ndarray, r: np.random.Generator) -> np.ndarray:
    """Kuwahara filter (the mean of the calmest of four neighbouring windows) and brush grain."""
    mean = cv2.boxFilter(image, -1, (3, 3))
    grey = image.mean(2)
    var = cv2.boxFilter(grey * grey, -1, (3, 3)) - cv2.boxFilter(grey, -1, (3, 3)) ** 2
    h, w = grey.shape
    best, least = mean, np.full_like(var, np.inf)
    for dy in (-2, 2):
        for dx in (-2, 2):
            shift = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
            m = cv2.warpAffine(mean, shift, (w, h), borderMode=cv2.BORDER_REPLICATE)
            v = cv2.warpAffine(var, shift, (w, h), borderMode=cv2.BORDER_REPLICATE)
            best, least = np.where((v < least)[..., None], m, best), np.minimum(v, least)
    x, y = (int(v) for v in r.integers(0, 128, 2))
    return (best + _BRUSH[y : y + h, x : x + w, None] * 5 - 128) * 1.12 + 122


def finish(image: np.ndarray, style: str, r: np.random.Generator) -> np.ndarray:
    """The whole picture (H, W, 3) float32 in 0..255 as this style shows it."""
    if style == "pixel":
        h, w = image.shape[:2]
        small = cv2.resize(image, (w // PIXEL, h // PIXEL), interpolation=cv2.INTER_AREA)
        return cv2.resize(np.round(small / 28) * 28, (w, h), interpolation=cv2.INTER_NEAREST)
    if style == "watercolor":
        return _watercolor(image, r)
    if style == "oil":
        return _oil(image, r)
    return image
