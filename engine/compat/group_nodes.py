"""Group nodes of ComfyUI's older workflow files, unfolded: each becomes the nodes it is made of, called `outer:index`.

`extra.groupNodes` has each group's nodes, its links by index (`[source or null, slot, target, slot, ...]`) and the
outputs that lead out (`external`). The node that stands for a group has the inputs that nothing inside feeds, the
outputs that lead out or nowhere, and the widgets of all, in the order of the nodes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.compat.ui_graph import BYPASS, entries, pair
from engine.compat.widgets import Slot, aligned, slots_of
from engine.spec import NodeSpec

KIND = re.compile(r"workflow[/>](.+)", re.DOTALL)
ROUNDS = 8  # groups in groups
SIZE = (320.0, 240.0)
TITLE_HEIGHT = 60
Place = tuple[int, int]  # index of a node, of one of its inputs or outputs


def unfolded(plain: Mapping[str, Any], specs: Mapping[str, NodeSpec]) -> Mapping[str, Any]:
    """Return a workflow file without group nodes; one that is bypassed stays, as links are led around it."""
    extra = plain.get("extra")
    listed = extra.get("groupNodes") if isinstance(extra, dict) else None
    groups = {name: Group.read(each) for name, each in listed.items()} if isinstance(listed, dict) else {}
    for _ in range(ROUNDS if groups else 0):
        plain, found = _round(plain, groups, specs)
        if not found:
            break
    return plain


def _round(
    plain: Mapping[str, Any], groups: Mapping[str, Group], specs: Mapping[str, NodeSpec]
) -> tuple[Mapping[str, Any], bool]:
    """Unfold every group node that stands in a file; those inside are for the next round."""
    nodes: list[Any] = []
    links, frames = (list(entries_of(plain.get(name))) for name in ("links", "groups"))
    moved: dict[tuple[str, int], tuple[str, int]] = {}
    for node in entries_of(plain.get("nodes")):
        group = _group_of(node, groups)
        if group is None:
            nodes.append(node)
            continue
        own = _Unfolded(node, group, specs)
        nodes += own.nodes
        links += own.links
        frames.append(own.frame())
        moved |= own.outputs()
    if not moved and len(nodes) == len(entries_of(plain.get("nodes"))):
        return plain, False
    return {**plain, "nodes": nodes, "links": [_moved(link, moved) for link in links], "groups": frames}, True


def _group_of(node: Any, groups: Mapping[str, Group]) -> Group | None:
    kind = KIND.fullmatch(str(node.get("type"))) if isinstance(node, dict) else None
    stays = kind is None or node.get("mode") == BYPASS or node.get("id") is None
    return None if kind is None or stays else groups.get(kind[1])


def _moved(link: Any, moved: Mapping[tuple[str, int], tuple[str, int]]) -> Any:
    """Return a link `[id, source, slot, ...]` from the node inside that it really comes from."""
    if not isinstance(link, list) or len(link) < 5 or not isinstance(link[2], int):
        return link
    key, source, slot, *rest = link
    return [key, *moved.get((str(source), slot), (source, slot)), *rest]


def entries_of(plain: Any) -> list[Any]:
    """Return what is listed; nothing if it is no list."""
    return plain if isinstance(plain, list) else []


@dataclass
class Group:
    """What a group is made of."""

    nodes: list[dict[str, Any]] = field(default_factory=list)
    links: list[tuple[int, int, int, int]] = field(default_factory=list)  # source, slot, target, slot
    external: set[Place] = field(default_factory=set)
    config: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, plain: Any) -> Group:
        """Read a definition; what is no node or link of the group is passed over."""
        plain = plain if isinstance(plain, dict) else {}
        nodes = [node if isinstance(node, dict) else {} for node in entries_of(plain.get("nodes"))]
        links = [(a, b, c, d) for a, b, c, d, *_ in _of_nodes(plain.get("links"), 4, len(nodes))]
        ends = [_flat(end) for end in entries_of(plain.get("external"))]
        external = {(a, b) for a, b, *_ in _of_nodes(ends, 2, len(nodes))}
        config = plain.get("config")
        return cls(nodes, links, external, config if isinstance(config, dict) else {})

    def inputs(self) -> list[tuple[Place, dict[str, Any]]]:
        """Return the inputs that nothing inside feeds."""
        fed = {(target, slot) for _, _, target, slot in self.links}
        return [(place, entry) for place, entry in self._all("inputs") if place not in fed]

    def outputs(self) -> list[tuple[Place, dict[str, Any]]]:
        """Return the outputs that lead out, or nowhere."""
        used = {(source, slot) for source, slot, _, _ in self.links} - self.external
        return [(place, entry) for place, entry in self._all("outputs") if place not in used]

    def _all(self, side: str) -> Iterator[tuple[Place, dict[str, Any]]]:
        for index, node in enumerate(self.nodes):
            for slot, entry in enumerate(entries(node, side)):
                yield (index, slot), entry

    def values(self, given: Any, specs: Mapping[str, NodeSpec]) -> list[Any]:
        """Share the widget values of the node that stands for the group out among its nodes."""
        own = [node.get("widgets_values") for node in self.nodes]
        lengths = [len(values) if isinstance(values, list) else 0 for values in own]
        if not isinstance(given, list):
            return own
        if sum(lengths) == len(given):
            parts = iter(given)
            return [[next(parts) for _ in range(n)] if n else mine for n, mine in zip(lengths, own, strict=True)]
        slots = [slot for index in range(len(self.nodes)) for slot in self._slots(index, specs)]
        found = aligned(slots, given).values
        return [self._named(index, mine, found, specs) for index, mine in enumerate(own)]

    def _slots(self, index: int, specs: Mapping[str, NodeSpec]) -> Iterator[Slot]:
        """Give the widgets of a node that the group shows, named `index/name`."""
        node, spec = self.nodes[index], specs.get(str(self.nodes[index].get("type")))
        told = self.config.get(str(index))
        shown = told.get("input") if isinstance(told, dict) else None
        hidden = {k for k, v in shown.items() if isinstance(v, dict) and v.get("visible") is False} if shown else set()
        hidden |= {str(entry["name"]) for (i, _), entry in self._all("inputs") if i == index and "name" in entry}
        for slot in slots_of(spec, list(entries(node, "inputs"))) if spec else ():
            if slot.name not in hidden:
                yield Slot(f"{index}/{slot.name}", slot.type, slot.choices, slot.file)

    def _named(self, index: int, own: Any, found: Mapping[str, Any], specs: Mapping[str, NodeSpec]) -> Any:
        spec = specs.get(str(self.nodes[index].get("type")))
        if spec is None or not isinstance(own, list):
            return own
        start = f"{index}/"
        mine = {key.removeprefix(start): value for key, value in found.items() if key.startswith(start)}
        return aligned(slots_of(spec, list(entries(self.nodes[index], "inputs"))), own).values | mine


class _Unfolded:
    """The nodes and links that take the place of one group node."""

    def __init__(self, outer: Mapping[str, Any], group: Group, specs: Mapping[str, NodeSpec]) -> None:
        self.outer, self.group = outer, group
        corner = [min(side) for side in zip(*(pair(n.get("pos"), (0, 0)) for n in group.nodes), strict=True)]
        self.corner = tuple(corner) if corner else (0.0, 0.0)
        values = group.values(outer.get("widgets_values"), specs)
        self.nodes = [self._node(index, each) for index, each in enumerate(values)]
        self.links = [self._link(number, link) for number, link in enumerate(group.links)]
        listed = list(entries(outer, "inputs"))
        for entry, place in zip(listed, matched(listed, group.inputs()), strict=True):
            if place is not None:
                self.nodes[place[0]]["inputs"][place[1]]["link"] = entry.get("link")

    def _name(self, index: int) -> str:
        return f"{self.outer['id']}:{index}"

    def _node(self, index: int, values: Any) -> dict[str, Any]:
        plain = self.group.nodes[index]
        x, y = (self._origin()[i] + pair(plain.get("pos"), (0, 0))[i] - self.corner[i] for i in (0, 1))
        inputs = [{**entry, "link": None} for entry in entries(plain, "inputs")]
        mode = self.outer.get("mode") or plain.get("mode")
        here = {"id": self._name(index), "pos": [x, y], "inputs": inputs, "widgets_values": values, "mode": mode}
        return {**plain, **here}

    def _link(self, number: int, link: tuple[int, int, int, int]) -> list[Any]:
        source, slot, target, into = link
        key = f"{self.outer['id']}:link {number}"
        inputs = self.nodes[target]["inputs"]
        if into < len(inputs):
            inputs[into]["link"] = key
        return [key, self._name(source), slot, self._name(target), into]

    def _origin(self) -> tuple[float, float]:
        return pair(self.outer.get("pos"), (0, 0))

    def outputs(self) -> dict[tuple[str, int], tuple[str, int]]:
        """Return where the outputs of the node that stood for the group are now."""
        places = enumerate(matched(list(entries(self.outer, "outputs")), self.group.outputs()))
        return {(str(self.outer["id"]), slot): (self._name(at[0]), at[1]) for slot, at in places if at is not None}

    def frame(self) -> dict[str, Any]:
        """Return a frame around the nodes, named as the group."""
        x, y = self._origin()
        ends = [[at + side for at, side in zip(n["pos"], pair(n.get("size"), SIZE), strict=True)] for n in self.nodes]
        right, bottom = (max((end[i] for end in ends), default=self._origin()[i]) for i in (0, 1))
        kind = KIND.fullmatch(str(self.outer.get("type")))
        title = self.outer.get("title") or (kind[1] if kind else "")
        return {"title": title, "bounding": [x, y - TITLE_HEIGHT, right - x, bottom - y + TITLE_HEIGHT]}


def matched(shown: Iterable[Mapping[str, Any]], inner: Sequence[tuple[Place, Mapping[str, Any]]]) -> list[Place | None]:
    """Find for each entry of a group node, in order, the place inside that it stands for.

    A name that two nodes inside have comes after the title of its node; renamed entries are told by type and order.
    """
    left, found = list(inner), list[Place | None]()
    for entry in shown:
        same = [each for each in left if each[1].get("type") == entry.get("type")]
        named = [each for each in same if f" {entry.get('name')}".endswith(f" {each[1].get('name')}")]
        best = next(iter(named or same), None)
        if best is not None:
            left.remove(best)
        found.append(best[0] if best else None)
    return found


def _of_nodes(listed: Any, count: int, nodes: int) -> Iterator[list[Any]]:
    """Give the entries that begin with `count` numbers, every other of them a node's; not those from outside."""
    for each in entries_of(listed):
        start = each[:count] if isinstance(each, list) else []
        numbers = [n for n in start if isinstance(n, int) and not isinstance(n, bool) and n >= 0]
        if len(numbers) == count and max(numbers[::2]) < nodes:
            yield each


def _flat(end: Any) -> Any:
    """Return an end as index and slot; old files have the whole node in the place of its index."""
    is_node = isinstance(end, list) and end and isinstance(end[0], dict)
    return [end[0].get("index"), *end[1:]] if is_node else end
