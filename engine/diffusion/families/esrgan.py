"""ESRGAN and Real-ESRGAN: pictures made larger by a network of dense blocks.

Wang et al. 2018, arXiv 1809.00219; Wang et al. 2021, arXiv 2107.10833. Every figure is read from shapes; files of the
first ESRGAN name their layers by number, later ones by what they do.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.diffusion.families.base import WHOLE, Part, Reason, Source, Verdict
from engine.diffusion.families.load import Place, assign, on_meta
from engine.diffusion.patches import Report
from engine.errors import BadFile

FIRST, BODY, GROWN = "conv_first.weight", re.compile(r"body\.(\d+)\.rdb1\.conv1\.weight"), "conv_up2.weight"
SLOPE, SHARE = 0.2, 0.2  # of the leaky ReLU; of what a block adds
TILE, MARGIN = 192, 16  # pixels of a tile's side, and of the border that is computed and thrown away


class Dense(nn.Module):
    """Five convolutions, each of which sees all before it."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        for i in range(4):
            self.add_module(f"conv{i + 1}", nn.Conv2d(width + i * growth, growth, 3, padding=1))
        self.conv5 = nn.Conv2d(width + 4 * growth, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Add a share of what the convolutions make of x (B, C, h, w)."""
        seen = [x]
        for i in range(4):
            seen.append(F.leaky_relu(self.get_submodule(f"conv{i + 1}")(torch.cat(seen, 1)), SLOPE))
        added: Tensor = self.conv5(torch.cat(seen, 1))
        return x + SHARE * added


class Block(nn.Module):
    """Three dense blocks in a row."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = (Dense(width, growth) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """Add a share of what they make of x."""
        added: Tensor = self.rdb3(self.rdb2(self.rdb1(x)))
        return x + SHARE * added


class Generator(nn.Module):
    """The network: features, `blocks`, twice larger twice, colours. `fold` pixels a side are folded into channels."""

    def __init__(self, width: int, growth: int, blocks: int, fold: int) -> None:
        super().__init__()
        self.fold = fold
        self.conv_first = nn.Conv2d(3 * fold**2, width, 3, padding=1)
        self.body = nn.Sequential(*(Block(width, growth) for _ in range(blocks)))
        for name in ("conv_body", "conv_up1", "conv_up2", "conv_hr"):
            self.add_module(name, nn.Conv2d(width, width, 3, padding=1))
        self.conv_last = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Make x (B, 3, h, w) 4 / fold times larger."""
        features = self.conv_first(F.pixel_unshuffle(x, self.fold))
        features = features + self.get_submodule("conv_body")(self.body(features))
        for name in ("conv_up1", "conv_up2"):
            larger = F.interpolate(features, scale_factor=2, mode="nearest")
            features = F.leaky_relu(self.get_submodule(name)(larger), SLOPE)
        colours: Tensor = self.conv_last(F.leaky_relu(self.get_submodule("conv_hr")(features), SLOPE))
        return colours


@dataclass(frozen=True, eq=False)
class Upscaler:
    """A network that makes pictures `scale` times larger."""

    module: Generator
    scale: int
    reports: tuple[Report, ...] = ()

    def configured(self, options: Mapping[str, Any]) -> Upscaler:
        """Return itself: it has no settings."""
        return self

    def __call__(self, pixels: Tensor, on_tile: Callable[[int, int], None] = lambda done, total: None) -> Tensor:
        """Enlarge (B, H, W, 3) in tiles, whose borders are computed twice and thrown away."""
        planes = pixels.movedim(-1, 1)  # (B, H, W, 3) -> (B, 3, H, W)
        _, _, h, w = planes.shape
        out = planes.new_zeros(len(planes), 3, h * self.scale, w * self.scale)
        corners = [(top, left) for top in range(0, h, TILE) for left in range(0, w, TILE)]
        for done, (top, left) in enumerate(corners):
            on_tile(done, len(corners))
            bottom, right = min(top + TILE, h), min(left + TILE, w)
            part = self._part(planes, top, left, bottom, right)
            out[..., top * self.scale : bottom * self.scale, left * self.scale : right * self.scale] = part
        return out.clamp(0, 1).movedim(1, -1).contiguous()

    def _part(self, planes: Tensor, top: int, left: int, bottom: int, right: int) -> Tensor:
        weight = self.module.conv_first.weight
        y, x = max(0, top - MARGIN), max(0, left - MARGIN)
        seen = planes[..., y : bottom + MARGIN, x : right + MARGIN]
        fold, (h, w) = self.module.fold, seen.shape[2:]
        seen = F.pad(seen, (0, -w % fold, 0, -h % fold), mode="replicate").to(weight.device, weight.dtype)
        with torch.no_grad():
            large = self.module(seen).to(planes)
        top, bottom, left, right = (side * self.scale for side in (top - y, bottom - y, left - x, right - x))
        kept: Tensor = large[..., top:bottom, left:right]
        return kept


class Esrgan:
    """The family object; see `base.Family`."""

    name = "esrgan"
    title = "ESRGAN"
    order = 55

    def recognise(self, source: Source) -> Verdict:
        """Look for the first layer, residual dense blocks and two enlargements."""
        shapes = _shapes(source)
        signs = {
            FIRST: len(shapes.get(FIRST, ())) == 4,
            "body.0.rdb1.conv1.weight": len(shapes.get("body.0.rdb1.conv1.weight", ())) == 4,
            GROWN: GROWN in shapes,
        }
        return Verdict.of(self.name, signs, {"a third enlargement (8 times)": "conv_up3.weight" in shapes})

    def card(self, source: Source) -> tuple[Reason, ...]:
        """Return family, scale and size with their reasons."""
        width, growth, blocks, fold = _facts(source)
        return (
            Reason("family", self.title, "; ".join(self.recognise(source).found)),
            Reason("scale", 4 // fold, "input channels of conv_first, and two enlargements"),
            Reason("blocks", blocks, "numbers in body"),
            Reason("width", f"{width} + 4 x {growth}", "shapes of conv_first and conv1"),
        )

    def parts(self, source: Source) -> dict[str, Part]:
        """Return the one part there is."""
        return {"upscaler": Part(source.single.size, {"scale": 4 // _facts(source)[3]})}

    def build(self, source: Source, part: str, place: Place) -> Upscaler:
        """Build the network at `place`."""
        width, growth, blocks, fold = _facts(source)
        config = {"width": width, "growth": growth, "num_layers": blocks}
        module = on_meta(lambda: Generator(width, growth, blocks, fold), config, "upscaler")
        weights = {_renamed(key, blocks): tensor for key, tensor in source.tensors(WHOLE).items()}
        return Upscaler(assign(module, weights, place, "upscaler").eval(), 4 // fold)


def _shapes(source: Source) -> dict[str, tuple[int, ...]]:
    tensors = source.single.tensors
    numbers = [int(m[1]) for key in tensors if (m := OLD_BLOCK.match(key.removeprefix("params_ema.")))]
    blocks = max(numbers, default=-1) + 1
    return {_renamed(key, blocks): tuple(entry.shape) for key, entry in tensors.items()}


def _facts(source: Source) -> tuple[int, int, int, int]:
    """Return width, growth, blocks and fold; BadFile if the shapes are no such network's."""
    shapes = _shapes(source)
    first, grown = shapes[FIRST], shapes["body.0.rdb1.conv1.weight"]
    blocks = 1 + max(int(m[1]) for key in shapes if (m := BODY.fullmatch(key)))
    fold = math.isqrt(first[1] // 3) if first[1] % 3 == 0 else 0
    if fold not in (1, 2, 4) or 3 * fold**2 != first[1]:
        raise BadFile(f"The upscaler takes {first[1]} channels; 3, 12 or 48 are known.")
    return first[0], grown[0], blocks, fold


OLD_BLOCK = re.compile(r"model\.1\.sub\.(\d+)\.RDB")
OLD = re.compile(r"model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\.(weight|bias)")
OLD_ENDS = {"model.0": "conv_first", "model.3": "conv_up1", "model.6": "conv_up2", "model.8": "conv_hr",
            "model.10": "conv_last"}  # fmt: skip


def _renamed(key: str, blocks: int) -> str:
    """Return the present name of a layer of the first ESRGAN."""
    key = key.removeprefix("params_ema.").removeprefix("params.")
    if m := OLD.fullmatch(key):
        return f"body.{m[1]}.rdb{m[2]}.conv{m[3]}.{m[4]}"
    layer, _, kind = key.rpartition(".")
    if layer == f"model.1.sub.{blocks}":
        return f"conv_body.{kind}"
    return f"{OLD_ENDS[layer]}.{kind}" if layer in OLD_ENDS else key


FAMILY = Esrgan()
