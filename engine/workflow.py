"""Workflow files: JSON to `Workflow` and back. Knows nothing of execution.

The saved file is the API request. A link is `[node id, output name]`; any other JSON is a value. A list of two texts
that is meant as a value is written `{"$value": ["a", "b"]}`. See docs/workflow.md.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from engine.errors import Problem, WorkflowInvalid

FORMAT = "sfumato/1"
MIGRATIONS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {}  # format -> one step towards FORMAT
NODES_MAX = 5_000
ID_MAX = 200
OWN_INPUT = "@"  # the node part of a link to the enclosing subgraph's or expanding node's own input
SUBGRAPH = "subgraph:"
Mode = Literal["run", "mute", "bypass"]
MODES = ("run", "mute", "bypass")


@dataclass(frozen=True, slots=True)
class Link:
    """A reference to another node's output."""

    node: str
    output: str


@dataclass(frozen=True)
class WorkflowNode:
    """A node as written: `inputs` holds values and links by name."""

    type: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    mode: Mode = "run"


@dataclass(frozen=True)
class Subgraph:
    """A reusable group of nodes. `inputs` maps each port to its default (None = must be given), `outputs` to a link."""

    nodes: Mapping[str, WorkflowNode]
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Link]


@dataclass(frozen=True)
class Workflow:
    """A parsed workflow. `rest` keeps what only people and the editor need: id, name, layout, form, requires."""

    nodes: Mapping[str, WorkflowNode]
    subgraphs: Mapping[str, Subgraph] = field(default_factory=dict)
    rest: Mapping[str, Any] = field(default_factory=dict)

    def with_inputs(self, overrides: Mapping[str, Any]) -> Workflow:
        """Return the workflow with `{"node.input": value}` set; WorkflowInvalid says which of them are unknown."""
        nodes, problems = dict(self.nodes), []
        for target, value in overrides.items():
            node, _, name = target.rpartition(".")
            if node in nodes and name:
                nodes[node] = replace(nodes[node], inputs={**nodes[node].inputs, name: _value(value)})
            else:
                sentence = f"There is no node {node or name!r} to set {target!r} on.{nearest(node or name, nodes)}"
                problems.append(Problem("unknown_node", sentence))
        if problems:
            raise WorkflowInvalid(problems)
        return replace(self, nodes=nodes)

    def to_json(self) -> dict[str, Any]:
        """Return the file's form."""
        plain: dict[str, Any] = {"format": FORMAT, **self.rest, "nodes": _nodes_json(self.nodes)}
        if self.subgraphs:
            plain["subgraphs"] = {
                name: {
                    "nodes": _nodes_json(s.nodes),
                    "inputs": {k: _plain(v) for k, v in s.inputs.items()},
                    "outputs": {k: _plain(v) for k, v in s.outputs.items()},
                }
                for name, s in self.subgraphs.items()
            }
        return plain


def parse(plain: Any) -> Workflow:
    """Read a workflow from JSON, either the whole file or only its `nodes`; WorkflowInvalid lists all that is wrong."""
    if not isinstance(plain, dict):
        raise WorkflowInvalid([Problem("bad_workflow", "A workflow is a JSON object with `nodes`.")])
    if "format" not in plain and "nodes" not in plain:
        plain = {"nodes": plain}
    plain = _migrate(plain)
    problems: list[Problem] = []
    nodes = _nodes(plain.get("nodes"), problems, "workflow")
    subgraphs = _subgraphs(plain.get("subgraphs", {}), problems)
    count = len(nodes) + sum(len(s.nodes) for s in subgraphs.values())
    if count > NODES_MAX:
        problems.append(Problem("too_many_nodes", f"A workflow may have {NODES_MAX} nodes at most, this has {count}."))
    if problems:
        raise WorkflowInvalid(problems)
    rest = {k: v for k, v in plain.items() if k not in {"format", "nodes", "subgraphs"}}
    return Workflow(nodes, subgraphs, rest)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ` Did you mean ...?` with the names most like `name`, or an empty text."""
    close = difflib.get_close_matches(name[:ID_MAX], list(known)[:NODES_MAX], n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(repr(c) for c in close)}?" if close else ""


def _migrate(plain: dict[str, Any]) -> dict[str, Any]:
    version = plain.get("format", FORMAT)
    while version != FORMAT:
        step = MIGRATIONS.get(version) if isinstance(version, str) else None
        if step is None:
            sentence = f"The format {version!r} is unknown; this Sfumato reads {FORMAT}, a newer one may read more."
            raise WorkflowInvalid([Problem("unknown_format", sentence)])
        plain = step(plain)
        version = plain.get("format")
    return plain


def _nodes(plain: Any, problems: list[Problem], where: str) -> dict[str, WorkflowNode]:
    if not isinstance(plain, dict):
        problems.append(Problem("bad_workflow", f"The {where} needs `nodes`: an object of nodes by id."))
        return {}
    found: dict[str, WorkflowNode] = {}
    for name, node in plain.items():
        sentence = _wrong_with(name, node)
        if sentence:
            problems.append(Problem("bad_node", sentence, node=str(name)[:ID_MAX]))
        else:
            inputs = {k: _value(v) for k, v in node.get("inputs", {}).items()}
            found[name] = WorkflowNode(node["type"], inputs, node.get("mode", "run"))
    return found


def _wrong_with(name: Any, node: Any) -> str:
    if not isinstance(name, str) or not 0 < len(name) <= ID_MAX or "/" in name or not name.isprintable():
        return f"A node id is a text of 1 to {ID_MAX} printable characters without '/'."
    if name == OWN_INPUT:
        return f"The id {OWN_INPUT!r} is kept for the inputs of subgraphs."
    if not isinstance(node, dict) or not isinstance(node.get("type"), str):
        return "A node is an object with a `type` (text) and `inputs`."
    if not isinstance(node.get("inputs", {}), dict):
        return "`inputs` must be an object of values and links by name."
    if node.get("mode", "run") not in MODES:
        return f"`mode` must be one of {', '.join(MODES)}, got {node['mode']!r}."
    return ""


def _subgraphs(plain: Any, problems: list[Problem]) -> dict[str, Subgraph]:
    if not isinstance(plain, dict):
        problems.append(Problem("bad_workflow", "`subgraphs` must be an object by name."))
        return {}
    found: dict[str, Subgraph] = {}
    for name, body in plain.items():
        ports = body if isinstance(body, dict) else {}
        nodes = _nodes(ports.get("nodes"), problems, f"subgraph {name!r}")
        inputs, outputs = _ports(ports.get("inputs", {})), _ports(ports.get("outputs", {}))
        if _are_links(inputs, False) and _are_links(outputs, True):
            found[name] = Subgraph(nodes, inputs or {}, outputs or {})
        else:
            sentence = f"Subgraph {name!r} needs `inputs` (port: default value) and `outputs` (port: link)."
            problems.append(Problem("bad_subgraph", sentence))
    return found


def _ports(plain: Any) -> dict[str, Any] | None:
    return {port: _value(value) for port, value in plain.items()} if isinstance(plain, dict) else None


def _are_links(ports: dict[str, Any] | None, expected: bool) -> bool:
    return ports is not None and all(isinstance(value, Link) is expected for value in ports.values())


def _value(plain: Any) -> Any:
    """Read an input: a link, an escaped value, or the value itself."""
    if isinstance(plain, (list, tuple)):
        if len(plain) == 2 and isinstance(plain[0], str) and isinstance(plain[1], str):
            return Link(plain[0], plain[1])
    elif isinstance(plain, dict) and plain.keys() == {"$value"}:
        return plain["$value"]
    return plain


def _plain(value: Any) -> Any:
    """Write an input, the inverse of `_value`."""
    if isinstance(value, Link):
        return [value.node, value.output]
    needs_escape = _value(value) is not value
    return {"$value": value} if needs_escape else value


def _nodes_json(nodes: Mapping[str, WorkflowNode]) -> dict[str, Any]:
    return {
        name: {"type": n.type, "inputs": {k: _plain(v) for k, v in n.inputs.items()}}
        | ({"mode": n.mode} if n.mode != "run" else {})
        for name, n in nodes.items()
    }
