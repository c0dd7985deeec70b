"""ComfyUI's workflow files ("UI format", 0.4 and 1): nodes and links as they lie there, whatever is missing or odd.

A link ends at the node and output that give its value in the end: reroutes, the pair of Set and Get nodes and bypassed
nodes of an unknown class are followed; primitives give a value instead.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

REROUTES = ("Reroute", "Reroute (rgthree)")
PRIMITIVE = "PrimitiveNode"
NOTES = ("Note", "MarkdownNote")
SET, GET = "SetNode", "GetNode"
MUTE, BYPASS = 2, 4
ENTRY, EXIT = "-10", "-20"  # the ends of a subgraph
HOPS_MAX = 1000


@dataclass(frozen=True)
class Wire:
    """A link: from output `slot` of node `source`."""

    source: str
    slot: int


@dataclass(frozen=True)
class Constant:
    """A value that a primitive gives in place of a link."""

    value: Any


@dataclass
class Scope:
    """The nodes of a file or of one subgraph, by id, and its links, by id."""

    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    wires: dict[Any, Wire] = field(default_factory=dict)
    ends: dict[int, Any] = field(default_factory=dict)  # output of a subgraph -> id of its link

    def into(self, entry: Mapping[str, Any]) -> Wire | None:
        """Return the link into an input, as written."""
        return self.wires.get(_key(entry.get("link")))

    def follow(self, wire: Wire | None, known: Mapping[str, Any]) -> Wire | Constant | None:
        """Return what a link means in the end; None if it comes from nowhere. `known` are the classes there are."""
        for _ in range(HOPS_MAX):
            node = self.nodes.get(wire.source) if wire else None
            if wire is None or node is None:
                return wire if wire and wire.source == ENTRY else None
            kind = str(node.get("type"))
            if kind == PRIMITIVE:
                return Constant(first_value(node))
            if kind in REROUTES or kind == SET:
                wire = self._only(node)
            elif kind == GET:
                wire = self._set(first_value(node))
            elif node.get("mode") == BYPASS and kind not in known:
                wire = self._around(node, wire.slot)
            else:
                return wire
        return None

    def _only(self, node: Mapping[str, Any]) -> Wire | None:
        return next((self.into(e) for e in entries(node, "inputs") if e.get("link") is not None), None)

    def _set(self, name: Any) -> Wire | None:
        setters = (n for n in self.nodes.values() if n.get("type") == SET and first_value(n) == name)
        return next((self._only(n) for n in setters), None)

    def _around(self, node: Mapping[str, Any], slot: int) -> Wire | None:
        """Return what a bypassed node hands on: of its inputs the one at the same place if the type is the same, else
        the first of the same type, else the first that takes anything."""
        outputs, inputs = list(entries(node, "outputs")), list(entries(node, "inputs"))
        kind = outputs[slot].get("type") if 0 <= slot < len(outputs) else "*"
        at = inputs[slot : slot + 1] if slot >= 0 else []
        order = [e for e in at if e.get("type") == kind or kind == "*"]
        order += [e for e in inputs if e.get("type") == kind] + [e for e in inputs if e.get("type") == "*"]
        return self.into(order[0]) if order else None


def read_scope(plain: Mapping[str, Any]) -> Scope:
    """Read nodes and links; what is no node or no link is passed over."""
    scope = Scope()
    for node in _list(plain.get("nodes")):
        if isinstance(node, dict) and node.get("id") is not None:
            scope.nodes.setdefault(str(node["id"]), node)
    for link in _list(plain.get("links")):
        read = _link(link)
        if read is not None:
            key, wire, target, slot = read
            scope.wires[key] = wire
            if target == EXIT:
                scope.ends[slot] = key
    return scope


def entries(node: Mapping[str, Any], side: str) -> Iterator[dict[str, Any]]:
    """Give the inputs or outputs of a node."""
    return (entry for entry in _list(node.get(side)) if isinstance(entry, dict))


def _link(plain: Any) -> tuple[Any, Wire, str, int] | None:
    """Read a link, written as a list (0.4) or as an object (1)."""
    if isinstance(plain, dict):
        names = ("id", "origin_id", "origin_slot", "target_id", "target_slot")
        plain = [plain.get(name) for name in names]
    if not isinstance(plain, list) or len(plain) < 5:
        return None
    key, source, slot, target, into = plain[:5]
    if not all(isinstance(n, int) for n in (slot, into)) or source is None:
        return None
    return _key(key), Wire(str(source), slot), str(target), into


def _key(plain: Any) -> Any:
    return plain if isinstance(plain, (int, str)) else None


def first_value(node: Mapping[str, Any]) -> Any:
    """Return the first widget value of a node, or None."""
    values = node.get("widgets_values")
    if isinstance(values, dict):
        return next(iter(values.values()), None)
    return values[0] if isinstance(values, list) and values else None


def _list(plain: Any) -> list[Any]:
    if isinstance(plain, dict):  # some tools write lists as objects
        return list(plain.values())
    return plain if isinstance(plain, list) else []


def pair(plain: Any, otherwise: tuple[float, float]) -> tuple[float, float]:
    """Read a place or size, written as a list or as `{"0": x, "1": y}`; rounded, as nobody places by fractions."""
    pair = [plain.get("0"), plain.get("1")] if isinstance(plain, dict) else plain
    if not isinstance(pair, list) or len(pair) < 2:
        return otherwise
    fits = all(isinstance(n, (int, float)) and math.isfinite(n) for n in pair[:2])
    return (round(pair[0]), round(pair[1])) if fits else otherwise
