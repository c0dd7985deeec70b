"""The residency planner: what lies in memory, what is wanted and the budget in; what to do about it out. Pure.

One budget for everything that a device holds: networks, patched parameters, the working memory of the call to come.
What is given up is what will be missed least, by regret: the seconds that it takes to bring back times the chance that
it is asked for again. If that is not enough, what is wanted itself is streamed: a part of it is resident, the rest
comes layer by layer out of its file at each call.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

from engine.errors import OutOfMemory


@dataclass(frozen=True, slots=True)
class Resident:
    """Something in memory. `used` orders by last use (larger = later); a pinned one must stay.

    `reload_s`: seconds to bring it back; `chance`: how likely it is asked for again, 0..1 (see `chance_of`);
    `offloaded`: bytes that stay when it is offloaded to its mapped file, None: it cannot be.
    """

    key: Hashable
    nbytes: int
    used: int
    pinned: bool = False
    reload_s: float = 0.0
    chance: float = 1.0
    offloaded: int | None = None

    @property
    def regret(self) -> tuple[float, int]:
        """What giving it up is expected to cost, in seconds; among equals the least recently used costs least."""
        return self.reload_s * self.chance, self.used


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for: its bytes once resident, what working with it takes on top, and what it cannot go below.

    `least`: bytes that are resident even if all that can be streamed is; None: it cannot be streamed.
    """

    key: Hashable
    nbytes: int
    working: int = 0
    least: int | None = None


@dataclass(frozen=True, slots=True)
class Drop:
    """Give this up altogether."""

    key: Hashable


@dataclass(frozen=True, slots=True)
class Offload:
    """Give the device's copy of this up; the one in RAM, its mapped file, stays."""

    key: Hashable


@dataclass(frozen=True, slots=True)
class Load:
    """Bring this into memory, all of it."""

    key: Hashable


@dataclass(frozen=True, slots=True)
class Keep:
    """This is in memory already."""

    key: Hashable


@dataclass(frozen=True, slots=True)
class Stream:
    """Keep `resident` bytes of this in memory and bring the rest layer by layer, at each call."""

    key: Hashable
    resident: int


Action = Drop | Offload | Load | Keep | Stream


def plan(resident: Sequence[Resident], wanted: Wanted, budget: int) -> tuple[Action, ...]:
    """Return what to do, in order, so that `wanted` fits the budget: least regret first, and no more than needed.

    OutOfMemory names the bytes needed and those that can be freed, if not even streaming is enough.
    """
    there = next((r for r in resident if r.key == wanted.key), None)
    others = [r for r in resident if r.key != wanted.key]
    used = sum(r.nbytes for r in others)
    needed = wanted.nbytes + wanted.working
    actions: list[Action] = []
    loose = sorted((r for r in others if not r.pinned), key=lambda r: r.regret)
    for action, freed in (*_offloads(loose), *_drops(loose)):
        if used + needed <= budget:
            break
        actions.append(action)
        used -= freed
    if used + needed <= budget:
        whole = there is not None and there.nbytes >= wanted.nbytes
        return (*actions, Keep(wanted.key) if whole else Load(wanted.key))
    room = budget - used - wanted.working
    if wanted.least is None or room < wanted.least:
        least = wanted.working + (wanted.nbytes if wanted.least is None else wanted.least)
        raise short(least, budget - used, budget)
    return (*actions, Stream(wanted.key, room))


def _offloads(loose: Sequence[Resident]) -> Iterator[tuple[Action, int]]:
    """Yield the first way to give each thing up, and the bytes it frees."""
    for each in loose:
        if each.offloaded is None:
            yield Drop(each.key), each.nbytes
        elif each.offloaded < each.nbytes:
            yield Offload(each.key), each.nbytes - each.offloaded


def _drops(loose: Sequence[Resident]) -> Iterator[tuple[Action, int]]:
    """Yield the second: what stays after offloading."""
    for each in loose:
        if each.offloaded is not None:
            yield Drop(each.key), min(each.offloaded, each.nbytes)


def short(needed: int, free: int, budget: int) -> OutOfMemory:
    """Return the error that names the bytes needed and those that can be freed."""
    return OutOfMemory(
        f"{needed / 1e6:,.0f} MB are needed, {max(0, free) / 1e6:,.0f} MB of the budget of "
        f"{budget / 1e6:,.0f} MB can be freed. Raise --budget, or make the picture smaller or its tiles."
    )


def chance_of(uses: int, age: int) -> float:
    """Return how likely something is asked for next that was asked for `uses` times, `age` requests ago the last time.

    Laplace's estimate of its rate, fading with the time since: (uses + 1) / (uses + 2) / (1 + age).
    """
    return (uses + 1) / (uses + 2) / (1 + age)
