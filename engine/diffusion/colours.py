"""Colours as a diffusion: a picture's palette has a score in closed form, so two palettes have a bridge, untrained.

Su et al. 2022, arXiv 2203.08382, section 4.3 (example-guided colour transfer), who train a network per picture. The
palette's own density, sum_i w_i N(c_i, h^2 I), needs none: noised by sigma it stays a mixture of Gaussians, whose
posterior mean is exact. A bridge of one dimension is optimal transport; in three it moves colours somewhat further.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor

from engine.diffusion import levels as noise_levels
from engine.diffusion import samplers, schedules
from engine.diffusion.stepping import OnStep, silent

COLOURS_MAX = 2048
SMOOTH = 0.02  # h: less than the eye tells apart, more than rounding to 8 bits
CELL = 2 / 255
LEVELS = noise_levels.edm()


@dataclass(frozen=True)
class Palette:
    """Colours `points` (K, 3) float64 with shares `weights` (K,), blurred by `smooth`; `own` (N,): each pixel's."""

    points: Tensor
    weights: Tensor
    smooth: float
    own: Tensor

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """Return D(x, sigma), the mean of what colours (N, 3) may have been before the noise."""
        variance = sigma**2 + self.smooth**2
        near = self.weights.log() - torch.cdist(x, self.points).square() / (2 * variance)  # (N, K)
        mean = torch.softmax(near, 1) @ self.points
        return x + sigma**2 / variance * (mean - x)


def palette_of(colours: Tensor) -> Palette:
    """Return the palette of colours (N, 3): all there are, or cells as small as leaves at most COLOURS_MAX of them."""
    cell = CELL
    while True:
        _, own, counts = torch.unique((colours / cell).round(), dim=0, return_inverse=True, return_counts=True)
        if len(counts) <= COLOURS_MAX:
            break
        cell *= 1.25
    sums = torch.zeros(len(counts), 3, dtype=torch.float64).index_add_(0, own, colours.double())
    return Palette(sums / counts[:, None], counts.double() / len(own), max(SMOOTH, cell / 2), own)


def bridge(colours: Tensor, reference: Tensor, steps: int, on_step: OnStep = silent) -> Tensor:
    """Carry colours (N, 3) over to the distribution of reference colours (M, 3), through the noise that both share.

    Both ways by Heun's method: a palette is made of points, near which the flow is too stiff to invert a step by
    iteration. The way up begins at the lowest noise level, where every colour is still its own.
    """
    source, target = palette_of(colours), palette_of(reference)
    sigmas = schedules.get("karras")(LEVELS, steps)
    walk = samplers.get("heun").on(LEVELS)
    still = torch.zeros_like(source.points)
    up = walk(source, source.points, sigmas[:-1].flip(0), noise=lambda a, b: still, on_step=_half(on_step, 0))
    moved = walk(target, up, sigmas, noise=lambda a, b: still, on_step=_half(on_step, 1))
    return ((moved - source.points)[source.own] + colours).to(colours.dtype)  # a pixel keeps its place in its cell


def _half(on_step: OnStep, second: int) -> OnStep:
    """Report the steps of the way up and of the way down as one walk."""
    return lambda info: on_step(replace(info, i=info.i + second * info.n, n=2 * info.n))


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
