"""What to run next: a pure state machine over a Graph. Lazy inputs, expansion and failure are its transitions.

Scheduling is "suspending" in the sense of Mokhov et al., Build Systems a la Carte (2018): a node that asks for an input
which is not there yet is put aside until it is. Nothing recurses, so depth has no limit.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping

from engine.graph import Graph, GraphNode
from engine.workflow import Link


class Plan:
    """The nodes still to run for the wanted outputs, in an order that depends on the file alone.

    Each node is at any time unwanted, waiting, ready, done, failed or skipped. `next()` gives a ready one; tell the plan
    what became of it with `finish`, `fail`, `demand`, `expand` or `redo`.
    """

    def __init__(self, graph: Graph) -> None:
        self.nodes: dict[str, GraphNode] = dict(graph.nodes)
        self.done: set[str] = set()
        self.failed: set[str] = set()
        self._order = {name: (i,) for i, name in enumerate(self.nodes)}
        self._missing: dict[str, set[str]] = {}  # wanted node -> nodes it waits for
        self._users: dict[str, set[str]] = {}  # node -> wanted nodes that wait for or use it
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
            todo.extend(reversed(sources))
            self._wait(current, sources)

    def finish(self, name: str) -> None:
        """Mark a node done and wake those that waited for it."""
        self.done.add(name)
        for user in self._users.get(name, ()):
            missing = self._missing[user]
            if name in missing:
                missing.discard(name)
                self._push(user)

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
        """Let a node wait for more inputs (lazy ones). Return the nodes lost if one of them has failed already."""
        names = list(sources)
        if any(source in self.failed for source in names):
            return [name, *self.fail(name)]
        for source in names:
            self.want(source)
        self._wait(name, names)
        return []

    def redo(self, name: str, user: str) -> None:
        """Run a finished node again because its result is gone, before `user` goes on."""
        self.done.discard(name)
        self._missing[user].add(name)
        self._missing[name] = {link.node for _, link in self.nodes[name].links(lazy=False)} - self.done
        self._push(name)

    def expand(self, name: str, nodes: Mapping[str, GraphNode], needed: Iterable[str]) -> list[str]:
        """Add the nodes a node expanded into and let it wait for the `needed` ones."""
        for i, (inner, node) in enumerate(nodes.items()):
            self.nodes.setdefault(inner, node)
            self._order.setdefault(inner, (*self._order[name], i))
        return self.demand(name, needed)

    def users(self, name: str) -> set[str]:
        """Return the wanted nodes that use a node's result."""
        return self._users.get(name, set())

    def _wait(self, name: str, sources: Iterable[str]) -> None:
        for source in sources:
            self._users.setdefault(source, set()).add(name)
            if source not in self.done:
                self._missing[name].add(source)
        self._push(name)

    def _push(self, name: str) -> None:
        if not self._missing[name]:
            heapq.heappush(self._ready, (self._order[name], name))


def links_to(nodes: Iterable[Link]) -> list[str]:
    """Return the node ids of links, each once, in order."""
    return list(dict.fromkeys(link.node for link in nodes))
