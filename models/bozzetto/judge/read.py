"""Read pictures with the judge: what is where, in which colour, on what, in which style."""

from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from models.bozzetto import paths
from models.bozzetto.judge.network import COLOUR_NAMES, Judge
from models.bozzetto.scenes import vocabulary as words

WEIGHTS = paths.HERE / "judge" / "judge.safetensors"
_FEWEST_CELLS = 5  # smaller specks of the 32 x 32 grid are not objects
_SECOND = 0.4  # a second class in one island needs this share of the main one's cells
_CELL = 4  # pixels
_REACH = 16  # pixels from an object's cells to the farthest pixel that may be its own


@dataclass(frozen=True)
class Seen:
    """One object that the judge sees. `box` is x0, y0, x1, y1 in pixels, `centre` (x, y)."""

    noun: str
    colour: str
    certainty: float
    box: tuple[int, int, int, int]
    centre: tuple[float, float]
    mask: np.ndarray  # (128, 128) bool
    identity: np.ndarray  # (64,) unit length


@dataclass(frozen=True)
class Reading:
    """What the judge reads in one picture."""

    style: str
    background: str
    background_colour: str | None
    objects: tuple[Seen, ...]

    def find(self, noun: str) -> Seen | None:
        """The largest object of this word, if there is one."""
        found = [o for o in self.objects if o.noun == noun]
        return max(found, key=lambda o: int(o.mask.sum())) if found else None

    def count(self, noun: str) -> int:
        """How many objects of this word there are."""
        return sum(o.noun == noun for o in self.objects)

    def as_json(self) -> dict[str, Any]:
        """Plain values: masks are left out, numbers rounded."""
        objects = []
        for o in self.objects:
            row = asdict(o)
            del row["mask"], row["identity"]
            objects.append(row)
        return {"style": self.style, "background": self.background, "background_colour": self.background_colour,
                "objects": objects}  # fmt: skip


@lru_cache(maxsize=2)
def load(file: Path = WEIGHTS) -> Judge:
    """The judge with its shipped weights, in evaluation mode."""
    network = Judge()
    network.load_state_dict({k: v.float() for k, v in load_file(file).items()})
    return network.eval().to(memory_format=torch.channels_last)


def _instances(labels: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """(class, (32, 32) bool cells) of each object in a (32, 32) map of classes, 0 = background."""
    out: list[tuple[int, np.ndarray]] = []
    number, islands = cv2.connectedComponents((labels > 0).astype(np.uint8), connectivity=8)
    for island in range(1, number):
        cells = islands == island
        kinds, sizes = np.unique(labels[cells], return_counts=True)
        # A few cells of another class on an object are doubt, not a second object: the main class takes them.
        kept = kinds[sizes >= max(_FEWEST_CELLS, _SECOND * sizes.max())]
        cleaned = np.where(cells, np.where(np.isin(labels, kept), labels, kinds[sizes.argmax()]), 0)
        for kind in kept:
            pieces, parts = cv2.connectedComponents((cleaned == kind).astype(np.uint8), connectivity=8)
            out += [(int(kind), parts == p) for p in range(1, pieces) if (parts == p).sum() >= _FEWEST_CELLS]
    return out


def _masks(cells: list[np.ndarray], foreground: np.ndarray) -> list[np.ndarray]:
    """(128, 128) mask of each object: the foreground pixels that are nearest to its (32, 32) cells."""
    if not cells:
        return []
    pixels = [np.kron(c, np.ones((_CELL, _CELL), np.uint8)) for c in cells]
    distance = np.stack([cv2.distanceTransform(1 - p, cv2.DIST_L2, 5) for p in pixels])
    nearest = distance.argmin(0)
    return [foreground & (nearest == i) & (distance[i] < _REACH) for i in range(len(cells))]


@torch.no_grad()
def read(images: np.ndarray, network: Judge | None = None) -> list[Reading]:
    """Read (B, 128, 128, 3) uint8 pictures."""
    net = network or load()
    x = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
    parts = [_read(x[i : i + 32].contiguous(memory_format=torch.channels_last), net) for i in range(0, len(x), 32)]
    return [reading for part in parts for reading in part]


def _read(x: torch.Tensor, net: Judge) -> list[Reading]:
    out = net(x)
    foreground = F.interpolate(out["mask"][:, None], scale_factor=2, mode="bilinear")[:, 0].numpy() > 0
    readings = []
    for i in range(len(x)):
        one = {key: value[i] for key, value in out.items()}
        one["chances"] = one["classes"].softmax(0)
        found = _instances(one["chances"].argmax(0).numpy())
        masks = _masks([cells for _, cells in found], foreground[i])
        seen = [_see(net, one, kind, cells, mask) for (kind, cells), mask in zip(found, masks, strict=True)]
        background = words.BACKGROUNDS[int(one["background"].argmax())]
        tone = COLOUR_NAMES[int(one["tone"].argmax())] if background == "plain" else None
        readings.append(Reading(words.STYLES[int(one["style"].argmax())], background, tone, tuple(seen)))
    return readings


def _see(net: Judge, one: dict[str, torch.Tensor], kind: int, cells: np.ndarray, mask: np.ndarray) -> Seen:
    """One object from the outputs of one picture, its (32, 32) cells and its (128, 128) mask."""
    where = torch.from_numpy(cells)
    colour = one["colours"][:, where].softmax(0).mean(1)
    identity = net.embed(one["places"][None], where[None].float())[0]
    ys, xs = np.where(mask if mask.any() else np.kron(cells, np.ones((_CELL, _CELL), bool)))
    return Seen(
        words.OBJECTS[kind - 1], COLOUR_NAMES[int(colour.argmax())],
        round(float(one["chances"][kind][where].mean()), 3),
        (int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1),
        (round(float(xs.mean()), 1), round(float(ys.mean()), 1)), mask, identity.numpy(),
    )  # fmt: skip
