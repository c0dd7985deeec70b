"""The pages of mapped weights files: which tensors lie in one, and how a process lets go of them. Linux only."""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from torch import Tensor

MAPS = Path("/proc/self/maps")
DONT_NEED = 4  # MADV_DONTNEED of Linux

Span = tuple[int, int]


def mapped_files(suffix: str = ".safetensors") -> tuple[Span, ...]:
    """Return where weights files are mapped now, as address ranges; nothing where the system does not tell."""
    if not MAPS.exists():
        return ()
    rows = (line.split(maxsplit=5) for line in MAPS.read_text().splitlines())
    named = (row[0].split("-") for row in rows if len(row) == 6 and row[5].rstrip().endswith(suffix))
    return tuple((int(begin, 16), int(end, 16)) for begin, end in named)


def lies_in(tensor: Tensor, spans: Sequence[Span]) -> bool:
    """Say whether a tensor lies in one of the ranges; it stays there for as long as the tensor lives."""
    begin, end = tensor.data_ptr(), tensor.data_ptr() + tensor.nbytes
    return tensor.is_contiguous() and any(a <= begin and end <= b for a, b in spans)


def forget(tensor: Tensor) -> int:
    """Take the pages of a tensor *in a mapped file* out of this process; return how many bytes.

    They stay in the system's file cache and come back when touched. Any other memory would lose its content: ask
    `lies_in` first.
    """
    begin = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    end = (tensor.data_ptr() + tensor.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    advise = _advise()
    if advise is None or begin >= end or advise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), DONT_NEED):
        return 0
    return end - begin


@cache
def _advise() -> Any:
    return ctypes.CDLL(None).madvise if sys.platform == "linux" else None
