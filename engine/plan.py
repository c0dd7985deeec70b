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

    Each node is at any time unwanted, waiting, ready, done or failed. `next()` gives a ready one; tell the plan what
    became of it with `finish`, `fail` or `demand`; `add` and `redo` bring more to do.
    """

    def __init__(self, graph: Graph) -> None:
        self.nodes: dict[str, GraphNode] = dict(graph.nodes)
        self.done: set[str] = set()
        self.failed: set[str] = set()  # also those that will never run because of one that failed
        self._order: dict[str, tuple[int, ...]] = {name: (i,) for i, name in enumerate(self.nodes)}
        self._missing: dict[str, set[str]] = {}  # wanted node -> nodes it waits for
        self._sources: dict[str, set[str]] = {}  # wanted node -> nodes it uses
        self._users: dict[str, list[str]] = {}  # node -> wanted nodes that use it
        self._open: dict[str, int] = {}  # node -> how many of its users are not done
        self._ready: list[tuple[tuple[int, ...], str]] = []
        self._want(graph.wanted)

    @property
    def wanted(self) -> int:
        """How many nodes are wanted so far."""
        return len(self._missing)

    @property
    def has_ready(self) -> bool:
        """Say whether a node may be ready now."""
        return bool(self._ready)

    def depth(self, name: str) -> int:
        """How many expansions a node lies within."""
        return len(self._order[name]) - 1

    def next(self) -> GraphNode | None:
        """Return the first ready node in file order, or None when nothing more can run."""
        while self._ready:
            _, name = heapq.heappop(self._ready)
            if name not in self.failed and name not in self.done:
                return self.nodes[name]
        return None

    def finish(self, name: str) -> list[str]:
        """Mark a node done and wake those that waited for it; return the nodes that nothing open uses any more."""
        self.done.add(name)
        for user in self._users.get(name, ()):
            missing = self._missing[user]
            if name in missing:
                missing.remove(name)
                self._push(user)
        idle = []
        for source in self._sources[name]:
            self._open[source] -= 1
            if not self._open[source]:
                idle.append(source)
        return idle

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

    def demand(self, name: str, sources: Iterable[str]) -> dict[str, str]:
        """Let a node wait for more nodes. Return those that can never run now, each with the failed node it needs."""
        names = list(sources)
        failed = self._want(names)
        self._wait(name, names)
        return {user: source for source in failed for user in self.fail(source)}

    def wake(self, name: str) -> None:
        """Make a node ready again that has put itself aside."""
        self._push(name)

    def redo(self, name: str) -> None:
        """Run a finished node again, because its result is gone."""
        self.done.remove(name)
        self._missing[name] = self._sources[name] - self.done
        for source in self._sources[name]:
            self._open[source] += 1
        self._push(name)

    def add(self, parent: str, nodes: Mapping[str, GraphNode]) -> None:
        """Add the nodes that `parent` expanded into; they come in order right after it."""
        for i, (name, node) in enumerate(nodes.items()):
            self.nodes[name] = node
            self._order[name] = (*self._order[parent], i)

    def _want(self, names: Iterable[str]) -> list[str]:
        """Want nodes and, through eager links, all they depend on; return those among them that have failed."""
        failed: list[str] = []
        todo = list(names)[::-1]
        while todo:
            name = todo.pop()
            if name in self.failed:
                failed.append(name)
            if name not in self._missing:
                self._missing[name] = set()
                self._sources[name] = set()
                sources = self.nodes[name].sources(lazy=False)
                todo.extend(reversed(sources))
                self._wait(name, sources)
        return failed

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
