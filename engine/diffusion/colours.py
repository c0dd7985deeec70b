"""Colours as a diffusion: a picture's palette has a score in closed form, so two palettes have a bridge, untrained.

Su et al. 2022, arXiv 2203.08382, section 4.3 (example-guided colour transfer), who train a network per picture. The
palette's own density, sum_i w_i N(c_i, h^2 I), needs none: noised by sigma it stays a mixture of Gaussians, whose
posterior mean is exact. A bridge of one dimension is optimal transport; in three it moves colours somewhat further.
A palette knows nothing of where its colours are: `transfer` makes the map smooth over the picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.diffusion import levels as noise_levels
from engine.diffusion import samplers, schedules
from engine.diffusion.stepping import OnStep, silent

COLOURS_MAX = 512
SMOOTH = 0.02  # h: less than the eye tells apart, more than rounding to 8 bits
CELL = 2 / 255
LEVELS = noise_levels.edm()
ROUNDS = 6
WINDOWS = 25  # a window of the smooth map reaches as far as a picture's shorter side over this, to each side
SIDE = 256  # pixels a side that the map is found on
EDGE = 0.05  # variance of colours in a window above which an edge there is an edge of the map
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Palette:
    """Colours `points` (K, 3) float32 with shares `weights` (K,), blurred by `smooth`; `own` (N,): each pixel's."""

    points: Tensor
    weights: Tensor
    smooth: float
    own: Tensor

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """Return D(x, sigma), the mean of what colours (N, 3) may have been before the noise."""
        variance = sigma**2 + self.smooth**2
        alone = self.weights.log() - self.points.square().sum(1) / (2 * variance)
        near = torch.addmm(alone, x, self.points.T, alpha=1 / variance)  # (N, K), but for what is the same for all K
        mean = torch.softmax(near, 1) @ self.points
        return x + sigma**2 / variance * (mean - x)


def palette_of(colours: Tensor) -> Palette:
    """Return the palette of colours (N, 3): all there are, or cells as small as leaves at most COLOURS_MAX of them."""
    cell = CELL
    while True:
        places = (colours / cell).round().long()
        places = places - places.amin(0)
        deep = places.amax(0) + 1
        codes = (places[:, 0] * deep[1] + places[:, 1]) * deep[2] + places[:, 2]
        _, own, counts = torch.unique(codes, return_inverse=True, return_counts=True)
        if len(counts) <= COLOURS_MAX:
            break
        cell *= 1.25
    sums = torch.zeros(len(counts), 3, dtype=torch.float64).index_add_(0, own, colours.double())
    return Palette((sums / counts[:, None]).float(), counts.float() / len(own), max(SMOOTH, cell / 2), own)


def bridge(colours: Tensor, target: Palette, steps: int, on_step: OnStep = silent) -> Tensor:
    """Carry colours (N, 3) over to those of a palette, through the noise that both share.

    Both ways by Heun's method: a palette is made of points, near which the flow is too stiff to invert a step by
    iteration. The way up begins at the lowest noise level, where every colour is still its own.
    """
    source = palette_of(colours)
    sigmas = schedules.get("karras")(LEVELS, steps)
    walk = samplers.get("heun").on(LEVELS)
    still = torch.zeros_like(source.points)
    up = walk(source, source.points, sigmas[:-1].flip(0), noise=lambda a, b: still, on_step=_part(on_step, 0, 2))
    moved = walk(target, up, sigmas, noise=lambda a, b: still, on_step=_part(on_step, 1, 2))
    return ((moved - source.points)[source.own] + colours).to(colours.dtype)  # a pixel keeps its place in its cell


def exact(picture: Tensor, example: Tensor, steps: int, on_step: OnStep = silent) -> Tensor:
    """Give a picture (H, W, 3) the colours of an example by one bridge, whatever lies beside what."""
    return bridge(picture.reshape(-1, 3), palette_of(example.reshape(-1, 3)), steps, on_step).reshape(picture.shape)


def transfer(picture: Tensor, example: Tensor, steps: int, on_step: OnStep = silent) -> Tensor:
    """Give a picture (H, W, 3) the colours of an example by bridges, with a map that is smooth over the picture.

    The exact map tears: colours next to each other may part, and edges arise where the picture has none. So the way
    that colours go is smoothed along the picture (after Rabin et al. 2011, "Regularization of transportation maps for
    color and contrast transfer"). That draws colours together; another bridge from there draws them apart again.
    Found on a smaller picture, the map is laid over the whole one.
    """
    full, small = picture.numpy(), _reduced(picture.numpy())
    target = palette_of(torch.from_numpy(_reduced(example.numpy())).reshape(-1, 3))
    moved = small
    for k in range(ROUNDS):
        colours = torch.from_numpy(moved).reshape(-1, 3)
        carried = bridge(colours, target, steps, _part(on_step, k, ROUNDS)).numpy().reshape(small.shape)
        slope, offset = smooth_map(carried - small, small)
        moved = small + laid(slope, offset, small)
    return torch.from_numpy(full + laid(slope, offset, full))


def smooth_map(field: Floats, picture: Floats) -> tuple[Floats, Floats]:
    """Return slope (H, W, 3, C) and offset (H, W, C) of the affine functions of colour that a field nearly is.

    One in each window of the picture (H, W, 3): He, Sun and Tang 2010, "Guided image filtering", eq. 14 to 16.
    """
    size = 2 * max(1, round(min(picture.shape[:2]) / WINDOWS)) + 1

    def mean(x: Floats) -> Floats:
        flat = np.ascontiguousarray(x, np.float32).reshape(*picture.shape[:2], -1)
        made: Floats = np.asarray(cv2.blur(flat, (size, size), borderType=cv2.BORDER_REFLECT), np.float32)
        return made.reshape(x.shape)

    f, p = mean(field), mean(picture)
    variance = mean(_outer(picture, picture)) - _outer(p, p) + EDGE * np.eye(3, dtype=np.float32)
    slope = np.linalg.solve(variance, mean(_outer(picture, field)) - _outer(p, f))
    return mean(slope), mean(f - np.einsum("hwi,hwic->hwc", p, slope))


def laid(slope: Floats, offset: Floats, picture: Floats) -> Floats:
    """Return slope * picture + offset, both stretched to the size of the picture (H, W, 3)."""
    size = picture.shape[1::-1]
    a, b = (cv2.resize(x.reshape(*x.shape[:2], -1), size, interpolation=cv2.INTER_LINEAR) for x in (slope, offset))
    made: Floats = np.einsum("hwi,hwic->hwc", picture, a.reshape(*picture.shape, -1)) + b
    return made


def _reduced(picture: Floats) -> Floats:
    """Return a picture (H, W, 3) of SIDE pixels a side at most."""
    h, w = picture.shape[:2]
    scale = min(1, SIDE / max(h, w))
    size = max(1, round(w * scale)), max(1, round(h * scale))
    made: Floats = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    return made


def _outer(a: Floats, b: Floats) -> Floats:
    return a[..., :, None] * b[..., None, :]


def _part(on_step: OnStep, part: int, parts: int) -> OnStep:
    """Report the steps of a part of the work as those of one walk."""
    return lambda info: on_step(replace(info, i=info.i + part * info.n, n=parts * info.n))


def to_lab(rgb: Tensor) -> Tensor:
    """Return sRGB (H, W, 3) in 0..1 as CIELAB, (L - 50) / 50, a / 128, b / 128."""
    lab = cv2.cvtColor(np.ascontiguousarray(rgb.numpy(), np.float32), cv2.COLOR_RGB2LAB)
    return (torch.from_numpy(lab) - torch.tensor([50.0, 0, 0])) / torch.tensor([50.0, 128, 128])


def to_rgb(lab: Tensor) -> Tensor:
    """Return what `to_lab` gave as sRGB (H, W, 3), clamped to 0..1."""
    plain = lab * torch.tensor([50.0, 128, 128]) + torch.tensor([50.0, 0, 0])
    rgb = cv2.cvtColor(np.ascontiguousarray(plain.numpy(), np.float32), cv2.COLOR_LAB2RGB)
    return torch.from_numpy(rgb).clamp(0, 1)


Spaces = dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]]
SPACES: Spaces = {
    "lab": (to_lab, to_rgb),
    "rgb": (lambda rgb: rgb * 2 - 1, lambda x: (x / 2 + 0.5).clamp(0, 1)),
}
"""Colour spaces: from sRGB in 0..1 to about -1..1, and back."""
