"""What to run next: a pure state machine over a Graph. Lazy inputs, expansion and failure are its transitions.

Scheduling is "suspending" in the sense of Mokhov et al., Build Systems a la Carte (2018): a node that asks for an input
which is not there yet is put aside until it is. Nothing recurses, so depth has no limit.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping

from engine.graph import Graph, GraphNode


class Plan:
    """The nodes still to run for the wanted outputs, in an order that depends on the file alone.

    Each node is at any time unwanted, waiting, ready, done, failed or skipped. `next()` gives a ready one; tell the plan
    what became of it with `finish`, `fail`, `demand`, `add` or `redo`.
    """

    def __init__(self, graph: Graph) -> None:
        self.nodes: dict[str, GraphNode] = dict(graph.nodes)
        self.done: set[str] = set()
        self.failed: set[str] = set()
        self._order: dict[str, tuple[int, ...]] = {name: (i,) for i, name in enumerate(self.nodes)}
        self._missing: dict[str, set[str]] = {}  # wanted node -> nodes it waits for
        self._sources: dict[str, set[str]] = {}  # wanted node -> nodes it uses
        self._users: dict[str, list[str]] = {}  # node -> wanted nodes that use it
        self._open: dict[str, int] = {}  # node -> how many of its users are not done
        self._ready: list[tuple[tuple[int, ...], str]] = []
        for name in graph.wanted:
            self.want(name)

    @property
    def wanted(self) -> int:
        """How many nodes are wanted so far."""
        return len(self._missing)

    def next(self) -> GraphNode | None:
        """Return the first ready node in file order, or None when nothing more can run."""
        while self._ready:
            _, name = heapq.heappop(self._ready)
            if name not in self.done and name not in self.failed and not self._missing[name]:
                return self.nodes[name]
        return None

    def want(self, name: str) -> None:
        """Want a node and, through eager links, all it depends on."""
        todo = [name]
        while todo:
            current = todo.pop()
            if current in self._missing:
                continue
            sources = [link.node for _, link in self.nodes[current].links(lazy=False)]
            self._missing[current] = set()
            self._sources[current] = set()
            todo.extend(reversed(sources))
            self._wait(current, sources)

    def finish(self, name: str) -> list[str]:
        """Mark a node done and wake those that waited for it; return the nodes that nothing open uses any more."""
        self.done.add(name)
        for user in self._users.get(name, ()):
            missing = self._missing[user]
            if name in missing:
                missing.discard(name)
                self._push(user)
        return self._close(name)

    def fail(self, name: str) -> list[str]:
        """Mark a node failed; return the nodes that can never run now, in the order found."""
        self.failed.add(name)
        lost: list[str] = []
        todo = [name]
        while todo:
            for user in sorted(self._users.get(todo.pop(), ()), key=self._order.__getitem__):
                if user not in self.failed and user not in self.done:
                    self.failed.add(user)
                    lost.append(user)
                    todo.append(user)
        return lost

    def demand(self, name: str, sources: Iterable[str]) -> list[str]:
        """Let a node wait for more nodes. Return the nodes lost, itself first, if one of those has failed already."""
        names = list(sources)
        if any(source in self.failed for source in names):
            return [name, *self.fail(name)]
        for source in names:
            self.want(source)
        self._wait(name, names)
        return []

    def redo(self, name: str) -> None:
        """Run a finished node again, because its result is gone."""
        self.done.discard(name)
        self._missing[name] = self._sources[name] - self.done
        self._push(name)

    def add(self, parent: str, nodes: Mapping[str, GraphNode]) -> None:
        """Add the nodes that `parent` expanded into; they come in order right after it."""
        for i, (name, node) in enumerate(nodes.items()):
            self.nodes.setdefault(name, node)
            self._order.setdefault(name, (*self._order[parent], i))

    def _close(self, name: str) -> list[str]:
        idle = []
        for source in self._sources[name]:
            self._open[source] -= 1
            if not self._open[source]:
                idle.append(source)
        return idle

    def _wait(self, name: str, sources: Iterable[str]) -> None:
        for source in sources:
            if source not in self._sources[name]:
                self._sources[name].add(source)
                self._users.setdefault(source, []).append(name)
                self._open[source] = self._open.get(source, 0) + 1
            if source not in self.done:
                self._missing[name].add(source)
        self._push(name)

    def _push(self, name: str) -> None:
        if not self._missing[name]:
            heapq.heappush(self._ready, (self._order[name], name))
