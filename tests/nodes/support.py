"""A file store in a folder, and small values, for tests of nodes outside the engine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from engine.context import Context
from engine.errors import NotFound
from engine.types import FileRef, Image, Mask


class FolderFiles:
    """Files of every kind in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0

    def names(self, kind: str) -> Sequence[str]:
        return sorted(p.name for p in self.folder.iterdir())

    def find(self, kind: str, name: str) -> Path:
        if name not in self.names(kind):
            raise NotFound(f"There is no {name!r}.")
        return self.folder / name

    def digest(self, kind: str, name: str) -> str:
        return hashlib.sha256(self.find(kind, name).read_bytes()).hexdigest()

    def read(self, ref: FileRef) -> bytes:
        return (self.folder / ref.name).read_bytes()

    def save(self, data: bytes, *, prefix: str, suffix: str, media: str, temporary: bool = False) -> FileRef:
        self.count += 1
        name = f"{prefix}_{self.count:05}.{suffix}"
        (self.folder / name).write_bytes(data)
        return FileRef(hashlib.sha256(data).hexdigest(), name, media)


def context(folder: Path) -> Context:
    return Context(node="n", files=FolderFiles(folder), workflow={"format": "sfumato/1", "nodes": {}})


def random_image(batch: int = 1, height: int = 8, width: int = 12, seed: int = 0) -> Image:
    return Image(torch.rand(batch, height, width, 3, generator=torch.Generator().manual_seed(seed)))


def random_mask(batch: int = 1, height: int = 8, width: int = 12, seed: int = 0) -> Mask:
    return Mask(torch.rand(batch, height, width, generator=torch.Generator().manual_seed(seed)))


def close(a: Tensor, b: Tensor, within: float = 1e-6) -> bool:
    """Say whether two tensors have one shape and differ by at most `within`."""
    return a.shape == b.shape and bool((a - b).abs().max() <= within if a.numel() else True)
