"""What to do when memory runs out in the middle of a call: free, offload, then the same work in smaller pieces.

`ModelManager.use` says what can be given up while its block runs; networks hand their calls to `relieved`. After the
last rung comes an OutOfMemory that names the bytes needed and free, and all that the failed call held is let go.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

import torch

from engine.errors import OutOfMemory

T = TypeVar("T")
SAYS_SO = ("out of memory", "can't allocate memory", "failed to allocate")  # MPS and the CPU raise plain RuntimeErrors
ASKED = re.compile(r"allocate ([\d.]+) ?(bytes|[KMG]iB)", re.IGNORECASE)
UNITS = {"bytes": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}


@dataclass(frozen=True)
class Ladder:
    """What a device can give up: `free` its allocator's caches, `offload` every network but those in use.

    `room` returns the bytes free on the device.
    """

    free: Callable[[], None]
    offload: Callable[[], None]
    room: Callable[[], int]


_ladder: ContextVar[Ladder | None] = ContextVar("ladder", default=None)


@contextlib.contextmanager
def standing_on(ladder: Ladder) -> Iterator[None]:
    """Use this ladder in the block; memory that runs out where no rung helps becomes a typed error too."""
    token = _ladder.set(ladder)
    said = None
    try:
        yield
    except RuntimeError as error:
        if not is_shortage(error):
            raise
        said = str(error)
    finally:
        _ladder.reset(token)
    if said is not None:
        ladder.free()
        raise _short(said, ladder)


def relieved(call: Callable[[], T], *smaller: Callable[[], T]) -> T:
    """Return `call()`; out of memory, free and offload and call again, then try the `smaller` ways in order."""
    ladder = _ladder.get()
    rungs: list[tuple[Callable[[], None], Callable[[], T]]] = [(_nothing, call)]
    if ladder is not None:
        rungs += [(ladder.free, call), (ladder.offload, call), *((ladder.free, way) for way in smaller)]
    said = ""
    for prepare, way in rungs:
        prepare()
        try:
            return way()
        except RuntimeError as error:
            if not is_shortage(error):
                raise
            said = str(error)
        # Here, outside of `except`, the error's traceback no longer keeps the failed call's tensors alive.
    raise _short(said, ladder)


def is_shortage(error: RuntimeError) -> bool:
    """Say whether an error of torch means that memory ran out."""
    return isinstance(error, torch.OutOfMemoryError) or any(sign in str(error).lower() for sign in SAYS_SO)


def _short(said: str, ladder: Ladder | None) -> OutOfMemory:
    asked = ASKED.search(said)
    needed = f"{float(asked[1]) * UNITS[asked[2].lower()] / 1e6:,.0f} MB more are" if asked else "More memory is"
    room = f"{ladder.room() / 1e6:,.0f} MB are free" if ladder else "how much is free is not known"
    return OutOfMemory(
        f"{needed} needed; {room}, after everything else was let go and the work was cut as small as it can be. "
        "Make the picture, the batch or the tiles smaller."
    )


def _nothing() -> None:
    """Give nothing up."""
