"""Workflow -> plain nodes by id: subgraphs replaced by their nodes, mute and bypass resolved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.errors import Problem
from engine.node import NodeSpec
from engine.workflow import OWN_INPUT, SUBGRAPH, Link, Subgraph, Workflow, WorkflowNode, nearest

FLAT_MAX = 20_000  # nodes once all subgraphs are unfolded: a small file can stand for billions
NESTED_MAX = 64
HINTS_MAX = 20  # problems that get a "Did you mean"; finding it takes a look at every name
CONVERSIONS = {("INT", "FLOAT"), ("BOOLEAN", "STRING"), ("INT", "STRING"), ("FLOAT", "STRING")}


@dataclass
class Flat:
    """Nodes without subgraphs, `muted` and bypassed ones taken out; `problems` collects all that is wrong."""

    specs: Mapping[str, NodeSpec]
    nodes: dict[str, WorkflowNode] = field(default_factory=dict)
    aliases: dict[Link, Any] = field(default_factory=dict)  # a subgraph's or bypassed node's output -> what it means
    muted: set[str] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)
    unfolded: int = 0  # nodes that came out of subgraphs

    def problem(self, code: str, message: str, node: str, field: str | None = None) -> None:
        """Note something that is wrong."""
        self.problems.append(Problem(code, message, node, field))

    def nearest(self, name: str, known: Iterable[str]) -> str:
        """Return a hint at what `name` may have meant, for the first problems only."""
        return nearest(name, known) if len(self.problems) < HINTS_MAX else ""

    def follow(self, value: Any) -> Any:
        """Return what a link means in the end; None if that was bypassed and nothing took its place."""
        for _ in range(len(self.aliases) + 1):
            if not isinstance(value, Link) or value not in self.aliases:
                break
            value = self.aliases[value]
        return value

    def consumers(self) -> dict[str, list[str]]:
        """Return the nodes that use each node."""
        found: dict[str, list[str]] = {}
        for name, node in self.nodes.items():
            for value in node.inputs.values():
                if isinstance(value, Link):
                    found.setdefault(value.node, []).append(name)
        return found


def flatten(
    workflow: Workflow, specs: Mapping[str, NodeSpec], *, prefix: str = "", own: Mapping[str, Any] | None = None
) -> Flat:
    """Return the workflow's nodes under `prefix`. `own` gives the meaning of links to `@`, in an expansion."""
    flat = Flat(specs)
    _unfold(flat, workflow.nodes, workflow, prefix, ())
    for name, value in (own or {}).items():
        flat.aliases[Link(prefix + OWN_INPUT, name)] = value
    _bypass(flat)
    if flat.aliases:
        for name, node in flat.nodes.items():
            inputs = {k: flat.follow(v) for k, v in node.inputs.items()}
            flat.nodes[name] = WorkflowNode(node.type, inputs, node.mode)
    _mute(flat)
    return flat


def fits(wanted: str, given: str) -> bool:
    """Say whether an output of type `given` may be linked to an input of type `wanted` (unions `A|B`)."""
    if wanted == given:
        return True
    into, out = set(wanted.split("|")), set(given.split("|"))
    return "ANY" in into | out or bool(into & out) or any((o, i) in CONVERSIONS for o in out for i in into)


# Subgraphs ---------------------------------------------------------------------------------------------------------


def _unfold(
    flat: Flat, nodes: Mapping[str, WorkflowNode], workflow: Workflow, prefix: str, inside: tuple[str, ...]
) -> None:
    """Copy `nodes` under `prefix`, subgraph instances replaced by their nodes."""
    for name, node in nodes.items():
        full = prefix + name
        inputs = {k: _rescope(v, prefix) for k, v in node.inputs.items()}
        if not node.type.startswith(SUBGRAPH):
            flat.nodes[full] = WorkflowNode(node.type, inputs, node.mode)
            continue
        kind = node.type.removeprefix(SUBGRAPH)
        body = _body(flat, workflow, kind, full, inside)
        if body is None:
            continue
        for port in [p for p in inputs if p not in body.inputs]:
            message = f"Subgraph {kind!r} has no port {port!r}.{flat.nearest(port, body.inputs)}"
            flat.problem("unknown_input", message, full, port)
        for port, default in body.inputs.items():
            flat.aliases[Link(f"{full}/{OWN_INPUT}", port)] = inputs.get(port, default)
        if node.mode == "bypass":
            flat.aliases.update({Link(full, port): _around(flat, body, port, inputs) for port in body.outputs})
            continue
        for port, link in body.outputs.items():
            flat.aliases[Link(full, port)] = _rescope(link, full + "/")
        muted = {n: WorkflowNode(w.type, w.inputs, "mute") for n, w in body.nodes.items()}
        _unfold(flat, muted if node.mode == "mute" else body.nodes, workflow, full + "/", (*inside, kind))


def _body(flat: Flat, workflow: Workflow, kind: str, full: str, inside: tuple[str, ...]) -> Subgraph | None:
    """Return the subgraph of an instance, or note why it cannot be unfolded."""
    body = workflow.subgraphs.get(kind)
    reason = ""
    if body is None:
        reason = f"is not in this file.{flat.nearest(kind, workflow.subgraphs)}"
    elif kind in inside:
        reason = "contains itself."
    elif len(inside) >= NESTED_MAX:
        reason = f"is nested more than {NESTED_MAX} deep."
    elif flat.unfolded + len(body.nodes) > FLAT_MAX:
        reason = f"makes this more than {FLAT_MAX} nodes."
    if reason or body is None:
        flat.problem("bad_subgraph", f"Subgraph {kind!r} {reason}", full)
        return None
    flat.unfolded += len(body.nodes) + 1
    return body


def _rescope(value: Any, prefix: str) -> Any:
    return Link(prefix + value.node, value.output) if prefix and isinstance(value, Link) else value


# Bypass ------------------------------------------------------------------------------------------------------------


def _bypass(flat: Flat) -> None:
    """Make the outputs of bypassed nodes aliases of their inputs."""
    for name in [n for n, w in flat.nodes.items() if w.mode == "bypass"]:
        spec = flat.specs.get(flat.nodes[name].type)
        if spec is not None:
            inputs = flat.nodes.pop(name).inputs
            takes = {i.name: i.type for i in spec.inputs}
            flat.aliases.update({Link(name, o.name): _passed(o.name, o.type, takes, inputs) for o in spec.outputs})


def _around(flat: Flat, body: Subgraph, port: str, inputs: Mapping[str, Any]) -> Any:
    """Return what a bypassed subgraph hands on at `port`. Types of ports are those of the nodes behind them."""
    source = body.outputs[port]
    spec = flat.specs.get(body.nodes[source.node].type) if source.node in body.nodes else None
    output = spec.output_named(source.output) if spec else None
    takes = dict.fromkeys(body.inputs, "ANY")
    for node in body.nodes.values():
        inner = flat.specs.get(node.type)
        for wanted in inner.inputs if inner else ():
            value = node.inputs.get(wanted.name)
            if isinstance(value, Link) and value.node == OWN_INPUT:
                takes[value.output] = wanted.type
    return _passed(port, output.type if output else "ANY", takes, inputs)


def _passed(output: str, kind: str, takes: Mapping[str, str], inputs: Mapping[str, Any]) -> Any:
    """Return the input that goes on as `output`: the one of that name, else the first one of its type."""
    fitting = [name for name, wanted in takes.items() if name in inputs and fits(wanted, kind)]
    name = output if output in fitting else next(iter(fitting), None)
    return None if name is None else inputs[name]


# Mute --------------------------------------------------------------------------------------------------------------


def _mute(flat: Flat) -> None:
    """Drop muted nodes and cut links to them; a node that needs such a link is muted too."""
    todo = [n for n, w in flat.nodes.items() if w.mode == "mute"]
    consumers = flat.consumers() if todo else {}
    while todo:
        gone = todo.pop()
        flat.nodes.pop(gone, None)
        flat.muted.add(gone)
        for name in dict.fromkeys(consumers.get(gone, ())):
            if name in flat.nodes:
                cut = {k for k, v in flat.nodes[name].inputs.items() if isinstance(v, Link) and v.node == gone}
                if _needs(flat, flat.nodes[name], cut):
                    todo.append(name)
                else:
                    node = flat.nodes[name]
                    kept = {k: v for k, v in node.inputs.items() if k not in cut}
                    flat.nodes[name] = WorkflowNode(node.type, kept, node.mode)


def _needs(flat: Flat, node: WorkflowNode, cut: set[str]) -> bool:
    spec = flat.specs.get(node.type)
    return spec is None or any(i.required and i.name in cut for i in spec.inputs)
