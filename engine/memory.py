"""The residency planner: what lies in memory, what is wanted and the budget in; what to evict out. Pure, no torch."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from engine.errors import OutOfMemory


@dataclass(frozen=True, slots=True)
class Resident:
    """Something in memory. `used` orders by last use (larger = later); a pinned one must stay."""

    key: Hashable
    nbytes: int
    used: int
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for: its bytes once resident, and what working with it takes on top."""

    key: Hashable
    nbytes: int
    working: int = 0


@dataclass(frozen=True, slots=True)
class Evict:
    """Drop this from memory."""

    key: Hashable


@dataclass(frozen=True, slots=True)
class Load:
    """Bring this into memory."""

    key: Hashable


@dataclass(frozen=True, slots=True)
class Keep:
    """This is in memory already."""

    key: Hashable


Action = Evict | Load | Keep


def plan(resident: Sequence[Resident], wanted: Wanted, budget: int) -> tuple[Action, ...]:
    """Return what to do, in order, so that `wanted` fits the budget: least recently used goes first.

    OutOfMemory names the bytes needed and those that can be freed, if even the eviction of all that is not pinned is
    not enough.
    """
    there = any(r.key == wanted.key for r in resident)
    needed = wanted.working + (0 if there else wanted.nbytes)
    used = sum(r.nbytes for r in resident)
    actions: list[Action] = []
    for candidate in sorted(resident, key=lambda r: r.used):
        if used + needed <= budget:
            break
        if candidate.pinned or candidate.key == wanted.key:
            continue
        actions.append(Evict(candidate.key))
        used -= candidate.nbytes
    if used + needed > budget:
        raise OutOfMemory(
            f"{needed / 1e6:,.0f} MB are needed, {max(0, budget - used) / 1e6:,.0f} MB of the budget of "
            f"{budget / 1e6:,.0f} MB can be freed. Raise --budget, or make the picture smaller or its tiles."
        )
    return (*actions, Keep(wanted.key) if there else Load(wanted.key))
