"""Graphs that v1 classes return in place of values: the builder they use, and the way into an Expansion of ours."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from engine.compat.api_format import LITERAL, output_name
from engine.compat.v1_values import ExecutionBlocker, from_v1
from engine.compat.values import coerced
from engine.context import Context
from engine.errors import NodeFailed
from engine.node import Expansion, node
from engine.spec import NodeSpec, OutputSpec
from engine.types import Value

PASS = "comfyui_pass"
LOCAL_MAX = 40  # loops name nodes after those that they were made from, and would double the length each time
INNER = "./"  # begins the id of a node of the same expansion, in what is noted of an expansion


@dataclass
class Current:
    """The call under way: its context, the id that its class knows it by, and how many graphs it has begun."""

    context: Context
    unique_id: str
    graphs: int = 0


CURRENT: ContextVar[Current | None] = ContextVar("the call of a v1 class", default=None)


@node(category="comfyui", id=PASS, title="Pass on")
def pass_on(value: Any) -> Any:
    """Give a value as it is; expansions of custom nodes hand theirs on with it.

    Args:
        value: Anything.
    """
    return value


def is_link(value: Any) -> bool:
    """Say whether a value is a link `[node id, slot]`."""
    if not isinstance(value, list) or len(value) != 2:
        return False
    return isinstance(value[0], str) and isinstance(value[1], (int, float)) and not isinstance(value[1], bool)


class Node:
    """A node of a graph under construction."""

    def __init__(self, id: str, class_type: str, inputs: dict[str, Any]) -> None:
        self.id = id
        self.class_type = class_type
        self.inputs = inputs
        self.override_display_id: str | None = None

    def out(self, index: int) -> list[Any]:
        """Return a link to one of its outputs."""
        return [self.id, index]

    def set_input(self, key: str, value: Any) -> None:
        """Set an input, to a value or a link; None removes it."""
        if value is None:
            self.inputs.pop(key, None)
        else:
            self.inputs[key] = value

    def get_input(self, key: str) -> Any:
        """Return an input."""
        return self.inputs.get(key)

    def set_override_display_id(self, override_display_id: str) -> None:
        """Let another node show what this one does."""
        self.override_display_id = override_display_id

    def serialize(self) -> dict[str, Any]:
        """Return the node as it is in a prompt."""
        plain: dict[str, Any] = {"class_type": self.class_type, "inputs": self.inputs}
        if self.override_display_id is not None:
            plain["override_display_id"] = self.override_display_id
        return plain


class GraphBuilder:
    """Builds the graph that a class returns as `expand`. Ids are unique and the same every time."""

    _default_prefix_root = ""
    _default_prefix_call_index = 0
    _default_prefix_graph_index = 0

    def __init__(self, prefix: str | None = None) -> None:
        self.prefix = self.alloc_prefix() if prefix is None else prefix
        self.nodes: dict[str, Node] = {}
        self.id_gen = 1

    @classmethod
    def set_default_prefix(cls, prefix_root: str, call_index: int, graph_index: int = 0) -> None:
        """Do nothing: the prefix comes from the call under way."""

    @classmethod
    def alloc_prefix(
        cls, root: str | None = None, call_index: int | None = None, graph_index: int | None = None
    ) -> str:
        """Return a prefix that no other graph has: `node.call.graph.`."""
        current = CURRENT.get()
        number = current.graphs if current else 0
        if current:
            current.graphs += 1
        root = (current.unique_id if current else "") if root is None else root
        return f"{root}.{call_index or 0}.{number if graph_index is None else graph_index}."

    def node(self, class_type: str, id: str | None = None, **kwargs: Any) -> Node:
        """Add a node, or return the one there is under this id."""
        if id is None:
            id, self.id_gen = str(self.id_gen), self.id_gen + 1
        full = self.prefix + id
        if full not in self.nodes:
            self.nodes[full] = Node(full, class_type, kwargs)
        return self.nodes[full]

    def lookup_node(self, id: str) -> Node | None:
        """Return a node by its id without the prefix."""
        return self.nodes.get(self.prefix + id)

    def finalize(self) -> dict[str, Any]:
        """Return the graph as a prompt."""
        return {id: node.serialize() for id, node in self.nodes.items()}

    def replace_node_output(self, node_id: str, index: int, new_value: Any) -> None:
        """Put a value, or nothing (None), in the place of an output wherever it is used."""
        link = [self.prefix + node_id, index]
        for each in self.nodes.values():
            for key in [k for k, v in each.inputs.items() if v == link]:
                each.set_input(key, new_value)

    def remove_node(self, id: str) -> None:
        """Remove a node."""
        del self.nodes[self.prefix + id]


def add_graph_prefix(graph: Mapping[str, Any], outputs: Any, prefix: str) -> tuple[dict[str, Any], tuple[Any, ...]]:
    """Return a graph and its outputs with `prefix` before every id of a node and link."""

    def moved(value: Any) -> Any:
        return [prefix + value[0], value[1]] if is_link(value) else value

    nodes = {
        prefix + id: {**plain, "inputs": {k: moved(v) for k, v in plain["inputs"].items()}}
        for id, plain in graph.items()
    }
    return nodes, tuple(moved(value) for value in outputs)


# What nodes of a run are told ---------------------------------------------------------------------------------------


@dataclass
class DynamicPrompt:
    """The graph as classes look it up: the prompt that was posted, and what expansions of this run added to it."""

    prompt: Mapping[str, Any]
    memo: Mapping[str, Any] = field(default_factory=dict)

    @property
    def original_prompt(self) -> Mapping[str, Any]:
        """The prompt as it was posted."""
        return self.prompt

    def places(self) -> dict[str, str]:
        """Return the id here of each node that expansions added, by the id it has there."""
        return {shown(name): name for name in self.memo}

    def has_node(self, node_id: str) -> bool:
        """Say whether there is a node."""
        return node_id in self.prompt or node_id in self.places()

    def get_node(self, node_id: str) -> dict[str, Any]:
        """Return a node as it is in a prompt; KeyError if there is none."""
        if node_id in self.prompt:
            return dict(self.prompt[node_id])
        name = self.places()[node_id]
        parent = name.rpartition("/")[0]
        found = dict(self.memo[name])
        found["inputs"] = {key: _absolute(value, parent) for key, value in found["inputs"].items()}
        return found

    def all_node_ids(self) -> set[str]:
        """Return the ids of all nodes."""
        return {*self.prompt, *self.places()}

    def get_original_prompt(self) -> Mapping[str, Any]:
        """Return the prompt as it was posted."""
        return self.prompt

    def get_parent_node_id(self, node_id: str) -> str | None:
        """Return the node that expanded into this one."""
        name = self.places().get(node_id)
        return None if name is None else shown(name.rpartition("/")[0].rpartition("/")[0])

    def get_real_node_id(self, node_id: str) -> str:
        """Return the node of the posted prompt that this one came from."""
        return self.places().get(node_id, node_id).partition("/")[0]

    def get_display_node_id(self, node_id: str) -> str:
        """Return the node that shows what this one does."""
        return self.get_real_node_id(node_id)


def shown(name: str) -> str:
    """Return the id that a node of ours has there: `5/0/0.2` is `5.0.0.2`."""
    return name.replace("/", ".")


def _absolute(value: Any, parent: str) -> Any:
    if is_link(value) and value[0].startswith(INNER):
        return [shown(f"{parent}/{value[0].removeprefix(INNER)}"), value[1]]
    return value


# Into ours ---------------------------------------------------------------------------------------------------------


@dataclass
class Unfolding:
    """The Expansion that a returned graph becomes: inner ids lose their prefix, links out of it are named."""

    graph: Mapping[str, Any]
    current: Current
    dynamic: DynamicPrompt
    specs: Mapping[str, NodeSpec]
    nodes: dict[str, Any] = field(default_factory=dict)
    given: dict[str, Any] = field(default_factory=dict)
    outer: dict[str, tuple[str, str]] = field(default_factory=dict)
    memo: dict[str, Any] = field(default_factory=dict)

    def expansion(self, values: tuple[Any, ...], outputs: tuple[OutputSpec, ...]) -> Expansion:
        """Return the Expansion whose outputs are `values`: links into the graph or around it, or plain values."""
        for id, plain in self.graph.items():
            self._add(id, plain)
        ends = {output.name: self._end(value, output) for value, output in zip(values, outputs, strict=True)}
        return Expansion(self.nodes, ends, self.given, self.outer, self.memo)

    def local(self, id: str) -> str:
        """Return the id here of a node of the graph."""
        own = f"{self.current.unique_id}.0."
        local = (id.removeprefix(own) or id).replace("/", ".")
        return local if len(local) <= LOCAL_MAX else hashlib.sha256(local.encode()).hexdigest()[:LOCAL_MAX]

    def _add(self, id: str, plain: Mapping[str, Any]) -> None:
        kind, inputs = plain["class_type"], plain.get("inputs", {})
        spec = self.specs.get(kind)
        kept = {
            name: self._input(spec, name, value) for name, value in inputs.items() if self._takes(spec, name, value)
        }
        self.nodes[self.local(id)] = {"type": kind, "inputs": kept}
        self.memo[self.local(id)] = {"class_type": kind, "inputs": dict(self._noted(inputs))}

    def _takes(self, spec: NodeSpec | None, name: str, value: Any) -> bool:
        return spec is None or spec.input(name) is not None or (spec.open and is_link(value))

    def _input(self, spec: NodeSpec | None, name: str, value: Any) -> Any:
        if is_link(value):
            return list(self._link(value))
        if isinstance(value, dict) and value.keys() == {LITERAL}:
            value = value[LITERAL]
        wanted = spec.input(name) if spec else None
        value = coerced(wanted, value) if wanted else value
        if _is_json(value):
            return {"$value": value} if isinstance(value, (list, dict)) else value
        return list(self._hand_on(value, wanted.type if wanted else "ANY"))

    def _link(self, link: list[Any]) -> tuple[str, str]:
        """Return a link of ours; one that leads out of the graph goes through a name of its own."""
        id, slot = str(link[0]), int(link[1])
        if id in self.graph:
            return self.local(id), output_name(self.specs.get(self.graph[id]["class_type"]), slot)
        if not self.dynamic.has_node(id):
            raise NodeFailed(f"The graph that it returned links to node {id!r}, which is not there.")
        if id == self.current.unique_id or self.current.unique_id.startswith(f"{id}."):
            raise NodeFailed(f"The graph that it returned waits for node {id!r}, which waits for that graph: a cycle.")
        kind = self.dynamic.get_node(id)["class_type"]
        name = f"outer {id} {slot}"
        self.outer[name] = self.dynamic.places().get(id, id), output_name(self.specs.get(kind), slot)
        return "@", name

    def _hand_on(self, value: Any, kind: str) -> tuple[str, str]:
        name = f"given {len(self.given)}"
        self.given[name] = from_v1(value, kind)
        return "@", name

    def _end(self, value: Any, output: OutputSpec) -> tuple[str, str]:
        """Return the link to an output; what is no node of the graph is passed on by one."""
        if is_link(value) and value[0] in self.graph:
            return self._link(value)
        is_outer = is_link(value) and self.dynamic.has_node(value[0])
        source = self._link(value) if is_outer else self._hand_on(value, output.type)
        name = f"result {output.name}".replace("/", "_")
        self.nodes[name] = {"type": PASS, "inputs": {"value": list(source)}}
        return name, "any"

    def _noted(self, inputs: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Give inputs as other nodes may look them up; links inside the graph do not depend on where it stands."""
        for name, value in inputs.items():
            if is_link(value):
                inner = str(value[0]) in self.graph
                yield name, [INNER + self.local(str(value[0])) if inner else str(value[0]), value[1]]
            elif _is_json(value):
                yield name, value


def _is_json(value: Any) -> bool:
    if value is None or isinstance(value, (bool, int, float, str)):
        return not isinstance(value, Value)
    if isinstance(value, list):
        return all(map(_is_json, value))
    return isinstance(value, dict) and all(isinstance(k, str) and _is_json(v) for k, v in value.items())


def is_expansion(result: Any) -> bool:
    """Say whether a class returned a graph with at least one node."""
    return isinstance(result, dict) and bool(result.get("expand"))


__all__ = [
    "CURRENT", "Current", "DynamicPrompt", "ExecutionBlocker", "GraphBuilder", "Node", "Unfolding", "add_graph_prefix",
    "is_expansion", "is_link", "pass_on",
]  # fmt: skip
