"""What became of each node of a foreign workflow: imported, changed or unknown, with a sentence for each remark."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["imported", "changed", "unknown"]
SEVERITY: tuple[State, ...] = ("imported", "changed", "unknown")


@dataclass
class NodeReport:
    """One node: its id here, the class it had there, what became of it and why."""

    node: str
    type: str
    state: State = "imported"
    remarks: list[str] = field(default_factory=list)


@dataclass
class Report:
    """What became of every node; `remarks` concern the whole file, `ids` maps our node ids to those of the file."""

    source: str
    nodes: dict[str, NodeReport] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)

    def add(self, node: str, kind: str) -> None:
        """Note that a node was imported."""
        self.nodes.setdefault(node, NodeReport(node, kind))

    def remark(self, node: str, sentence: str, state: State = "changed") -> None:
        """Note what is not as it was; the state of a node only gets worse."""
        entry = self.nodes[node]
        entry.state = max(entry.state, state, key=SEVERITY.index)
        entry.remarks.append(sentence)

    def in_state(self, state: State) -> list[str]:
        """Return the nodes in a state."""
        return [name for name, entry in self.nodes.items() if entry.state == state]

    def sentences(self) -> Iterator[str]:
        """Give every remark with its node."""
        yield from self.remarks
        for entry in self.nodes.values():
            yield from (f"node {entry.node} ({entry.type}): {sentence}" for sentence in entry.remarks)

    def to_json(self) -> dict[str, Any]:
        """Return the wire form: a count per state, and the nodes by id."""
        return {
            "source": self.source,
            "counts": {state: len(self.in_state(state)) for state in SEVERITY},
            "remarks": self.remarks,
            "nodes": {n: {"type": e.type, "state": e.state, "remarks": e.remarks} for n, e in self.nodes.items()},
        }
