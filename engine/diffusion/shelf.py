"""The executor of `engine.memory`'s plans: which networks, or how much of each, are in a device's memory."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from engine.diffusion import patches, relief, residency
from engine.diffusion.backends import Backend
from engine.diffusion.working import WorkingMemory
from engine.errors import OutOfMemory
from engine.memory import Action, Drop, Offload, Resident, Stream, Wanted, chance_of, plan

CAST_RATE = 1e9  # bytes per second that are cast and packed, about; only the order of regrets depends on it


@dataclass(frozen=True)
class Baked:
    """Parameters with patches in them, what became of each patch, and how long it took."""

    parameters: dict[str, nn.Parameter]
    reports: tuple[patches.Report, ...]
    seconds: float = 0.0

    @property
    def nbytes(self) -> int:
        """Bytes of the parameters."""
        return sum(p.nbytes for p in self.parameters.values())


@dataclass
class Loaded:
    """A network and how much of it may be resident; `baked` are the last patches laid over it.

    `base`: bytes that are there whatever happens (norms, biases, what is not held), `held`: what can be resident or
    streamed, `largest`: one layer of that, which is there while it computes.
    """

    network: Any
    base: int
    held: int
    largest: int
    resident: int = 0
    used: int = 0
    uses: int = 0
    pins: int = 0
    baked: dict[Hashable, Baked] = field(default_factory=dict)

    @classmethod
    def of(cls, network: Any) -> Loaded:
        """Measure a network of which nothing is resident yet."""
        module: nn.Module = network.module
        held = residency.held_of(module)
        files = {id(tensor) for tensor in residency.in_files(module)}
        rest = (t for t in (*module.parameters(), *module.buffers()) if id(t) not in files)
        largest = max((h.nbytes for h in held), default=0)
        return cls(network, sum(t.nbytes for t in rest), sum(h.nbytes for h in held), largest)

    @property
    def patched(self) -> int:
        """Bytes of patched parameters."""
        return sum(baked.nbytes for baked in self.baked.values())

    @property
    def nbytes(self) -> int:
        """Bytes it may take now."""
        return self.base + self.resident + self.patched

    def allow(self, nbytes: int | None) -> None:
        """Let `nbytes` of the held weights be resident, None all; what is more is given up now."""
        self.resident = residency.limit(self.network.module, nbytes)


class Shelf:
    """Networks by key, within `budget` bytes of one device."""

    def __init__(self, budget: int, backend: Backend, working: WorkingMemory) -> None:
        self.budget, self.backend, self.working = budget, backend, working
        self.actions: list[Action] = []  # those of the last plan
        self._loaded: dict[Hashable, Loaded] = {}
        self._clock = itertools.count(1)
        self._now = 0

    def loaded(self) -> tuple[Loaded, ...]:
        """Return what is there."""
        return tuple(self._loaded.values())

    @contextlib.contextmanager
    def take(self, key: Hashable, build: Callable[[], Any], working: int) -> Iterator[Loaded]:
        """Give a network, within the budget and with `working` bytes to work in, until the block ends.

        `working` is an estimate; what the first use really took is remembered in its place. If memory runs out all
        the same, calls in the block climb the ladder of `engine.diffusion.relief`.
        """
        self._now = next(self._clock)
        ladder = relief.Ladder(self.backend.free, self.offload_unused, self.backend.room)
        with relief.standing_on(ladder):
            loaded = self._ready(key, build, self.working.bytes(key, working))
            loaded.used, loaded.uses, loaded.pins = self._now, loaded.uses + 1, loaded.pins + 1
            try:
                with self.working.measured(key, working, self.backend):
                    yield loaded
            finally:
                loaded.pins -= 1

    def _ready(self, key: Hashable, build: Callable[[], Any], working: int) -> Loaded:
        """Return the network, built if need be, when there is room for it."""
        fresh = key not in self._loaded
        if fresh:
            self._loaded[key] = Loaded.of(relief.relieved(build))
        try:
            self._make_room(key, self._loaded[key], working)
        except OutOfMemory:
            if fresh:
                del self._loaded[key]
            raise
        return self._loaded[key]

    def offload_unused(self) -> None:
        """Give up every network that is not in use, and what is resident of those that can be streamed."""
        for key, loaded in list(self._loaded.items()):
            if loaded.pins:
                loaded.allow(0)
            else:
                del self._loaded[key]
        self.backend.free()

    def _make_room(self, key: Hashable, loaded: Loaded, working: int) -> None:
        least = loaded.base + loaded.patched + loaded.largest if loaded.held else None
        wanted = Wanted(key, loaded.base + loaded.patched + loaded.held, working, least)
        self.actions = list(plan(self._residents(), wanted, self.budget))
        streamed: int | None = None
        for action in self.actions:
            match action:
                case Drop(other):
                    del self._loaded[other]
                case Offload(other):
                    self._loaded[other].allow(0)
                    self._loaded[other].baked.clear()
                case Stream(_, resident):
                    streamed = resident - loaded.base - loaded.patched - loaded.largest
        loaded.allow(streamed)
        if len(self.actions) > 1:
            self.backend.free()

    def _residents(self) -> list[Resident]:
        return [
            Resident(
                key, each.nbytes, each.used, each.pins > 0,
                reload_s=(each.base + each.resident) / CAST_RATE + sum(b.seconds for b in each.baked.values()),
                chance=chance_of(each.uses, self._now - each.used),
                offloaded=each.base if each.held else None,
            )
            for key, each in self._loaded.items()
        ]  # fmt: skip


def bake(loaded: Loaded, key: Hashable | None, make: Callable[[], Baked]) -> Baked:
    """Return patched parameters; those with a `key` are kept until others are laid."""
    if key is not None and key in loaded.baked:
        return loaded.baked[key]
    began = time.perf_counter()
    made = make()
    if key is not None:
        loaded.baked = {key: Baked(made.parameters, made.reports, time.perf_counter() - began)}
    return made
