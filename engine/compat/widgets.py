"""Widget values by position, as ComfyUI's files have them, to values by name.

The list is known to be out of step with a class's inputs: a seed is followed by what becomes of it after a run, an
upload button has a value of its own, versions add and take away widgets. So names and values are aligned as two
sequences are, by what it costs to leave one out or to give a value to a name whose type it does not have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.spec import InputSpec, NodeSpec

WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
AFTER_RUN = {"fixed", "increment", "decrement", "randomize", "increment-wrap"}  # what becomes of a seed after a run
UPLOADS = {"image", "video", "audio"}  # the values of upload buttons
SEEDS = {"seed", "noise_seed"}
FREE, LIKELY, ODD, WRONG = 0.0, 0.4, 1.0, 3.0  # costs


@dataclass(frozen=True)
class Slot:
    """A widget that a value may belong to."""

    name: str
    type: str
    choices: tuple[str, ...] | None = None
    file: bool = False

    @classmethod
    def of(cls, spec: InputSpec) -> Slot:
        """Describe an input of a class."""
        return cls(spec.name, spec.type, spec.choices, bool(spec.file))


@dataclass(frozen=True)
class Aligned:
    """Values by name, and the values that no name was found for."""

    values: dict[str, Any]
    left: tuple[Any, ...]


def slots_of(spec: NodeSpec, listed: Sequence[Any] = ()) -> list[Slot]:
    """Return the widgets of a class in order; `listed` are the node's own inputs, which tell a socket from a widget."""
    entries = {entry.get("name"): entry for entry in listed if isinstance(entry, dict)}
    modern = any("widget" in entry for entry in entries.values())
    sockets = {name for name, entry in entries.items() if modern and "widget" not in entry}
    return [Slot.of(i) for i in spec.inputs if i.types <= WIDGETS and not i.list and i.name not in sockets]


def aligned(slots: Sequence[Slot], values: Sequence[Any]) -> Aligned:
    """Find the cheapest way to give values to names, in order (Needleman and Wunsch 1970)."""
    rows, columns = len(slots), len(values)
    cost = [[0.0] * (columns + 1) for _ in range(rows + 1)]  # of the first i slots with the first j values
    for i in range(rows + 1):
        for j in range(columns + 1):
            if i or j:
                cost[i][j] = min(_steps(slots, values, cost, i, j))[0]
    found: dict[str, Any] = {}
    left: list[Any] = []
    i, j = rows, columns
    while i or j:
        _, move = min(_steps(slots, values, cost, i, j))
        if move == "pair":
            found[slots[i - 1].name] = values[j - 1]
        elif move == "value" and _extra(slots, values, i, j) == ODD:
            left.append(values[j - 1])
        i, j = i - (move != "value"), j - (move != "slot")
    return Aligned(dict(reversed(found.items())), tuple(reversed(left)))


def _steps(
    slots: Sequence[Slot], values: Sequence[Any], cost: Sequence[Sequence[float]], i: int, j: int
) -> list[tuple[float, str]]:
    """Return what each way to come to (i, j) costs; of two that cost the same the first by name is taken."""
    ways = []
    if i and j:
        ways.append((cost[i - 1][j - 1] + _misfit(slots[i - 1], values[j - 1]), "pair"))
    if i:
        ways.append((cost[i - 1][j] + ODD, "slot"))
    if j:
        ways.append((cost[i][j - 1] + _extra(slots, values, i, j), "value"))
    return ways


def _extra(slots: Sequence[Slot], values: Sequence[Any], i: int, j: int) -> float:
    """Say what it costs that value j - 1, which comes after slot i - 1, belongs to no name."""
    value, slot = values[j - 1], slots[i - 1] if i else None
    if not isinstance(value, str) or slot is None:
        return ODD
    if value in AFTER_RUN and slot.type in ("INT", "COMBO", "STRING"):
        return FREE if slot.name in SEEDS else LIKELY
    return FREE if value in UPLOADS and (slot.file or slot.type == "COMBO") else ODD


def _misfit(slot: Slot, value: Any) -> float:
    """Say what it costs to give a value to a name."""
    kinds = set(slot.type.replace(",", "|").split("|"))
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if "ANY" in kinds or "*" in kinds or value is None:
        return LIKELY
    if isinstance(value, bool):
        return FREE if "BOOLEAN" in kinds else WRONG
    if number and kinds & {"INT", "FLOAT"}:
        return FREE if "FLOAT" in kinds or float(value).is_integer() else LIKELY
    if slot.choices is not None:
        return FREE if value in slot.choices else ODD
    if isinstance(value, str) and kinds & {"STRING", "COMBO"}:
        return LIKELY if value in AFTER_RUN else FREE
    return LIKELY if number and "COMBO" in kinds else WRONG
