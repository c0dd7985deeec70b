"""Workflow + catalogue -> Graph: subgraphs flattened, mute and bypass resolved, links typed, all problems at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from engine.errors import BadInput, Problem, WorkflowInvalid
from engine.node import Expansion, InputSpec, NodeSpec
from engine.workflow import OWN_INPUT, SUBGRAPH, Link, Workflow, WorkflowNode, nearest, parse

CONVERSIONS = {("INT", "FLOAT"), ("BOOLEAN", "STRING"), ("INT", "STRING"), ("FLOAT", "STRING")}
# What to put between two sockets that do not fit, for the sentence of a refusal
CONVERTERS = {
    ("IMAGE", "LATENT"): "vae_encode",
    ("LATENT", "IMAGE"): "vae_decode",
    ("IMAGE", "MASK"): "mask_from_channel",
    ("MASK", "IMAGE"): "mask_to_image",
    ("STRING", "CONDITIONING"): "encode_text",
    ("FLOAT", "INT"): "math",
}


@dataclass(frozen=True, slots=True)
class Given:
    """A result that is known already, handed to a node by digest: one value's, or those of a list. `source` made it."""

    result: str | tuple[str, ...]
    source: Link | None = None


@dataclass(frozen=True, slots=True)
class GraphNode:
    """A node ready to plan: `inputs` are values (checked) and links; unset optional inputs hold their defaults."""

    id: str
    spec: NodeSpec
    inputs: Mapping[str, Any]

    def links(self, *, lazy: bool | None = None) -> Iterator[tuple[InputSpec, Link]]:
        """Yield the linked inputs; `lazy` keeps only lazy (True) or eager (False) ones."""
        for spec in self.spec.inputs:
            value = self.inputs.get(spec.name)
            if isinstance(value, Link) and (lazy is None or spec.lazy is lazy):
                yield spec, value


@dataclass(frozen=True)
class Graph:
    """Typed nodes by id in file order, and the ids whose results are wanted."""

    nodes: Mapping[str, GraphNode]
    wanted: tuple[str, ...]


@dataclass
class _Build:
    """What one call of `build` collects."""

    specs: Mapping[str, NodeSpec]
    raw: dict[str, WorkflowNode] = field(default_factory=dict)
    aliases: dict[Link, Any] = field(default_factory=dict)  # a subgraph's or bypassed node's output -> what it means
    problems: list[Problem] = field(default_factory=list)

    def problem(self, code: str, message: str, node: str, field: str | None = None) -> None:
        self.problems.append(Problem(code, message, node, field))


def build(
    workflow: Workflow,
    specs: Mapping[str, NodeSpec],
    *,
    wanted: Iterable[str] = (),
    whole: bool = False,
) -> Graph:
    """Check a workflow against the catalogue and return its Graph; WorkflowInvalid lists every problem.

    Only what the `wanted` nodes depend on is checked and kept (default: the nodes that save or show something, else those
    nothing depends on), so that a half-drawn branch does not stop the rest. `whole` checks everything.
    """
    state = _Build(specs)
    _flatten(state, workflow.nodes, workflow, "", ())
    _resolve_modes(state)
    targets = _targets(state, wanted) or _default_outputs(state)
    for name in targets:
        if name not in state.raw:
            state.problem("unknown_node", f"The wanted node does not exist.{nearest(name, state.raw)}", name)
    kept = set(state.raw) if whole else _reachable(state, targets)
    if not state.raw:
        state.problems.append(Problem("empty", "The workflow has no nodes to run."))
    nodes = {name: checked for name in state.raw if name in kept and (checked := _check(state, name))}
    if not state.problems:
        _check_cycles(state, nodes)
    if state.problems:
        raise WorkflowInvalid(state.problems)
    return Graph(nodes, targets)


# Subgraphs, mute, bypass ---------------------------------------------------------------------------------------------


def _flatten(
    state: _Build, nodes: Mapping[str, WorkflowNode], workflow: Workflow, prefix: str, inside: tuple[str, ...]
) -> None:
    """Copy `nodes` under `prefix`, subgraph instances replaced by their nodes."""
    for name, node in nodes.items():
        full = prefix + name
        inputs = {k: _rescope(v, prefix) for k, v in node.inputs.items()}
        if not node.type.startswith(SUBGRAPH):
            state.raw[full] = replace(node, inputs=inputs)
            continue
        kind = node.type.removeprefix(SUBGRAPH)
        body = workflow.subgraphs.get(kind)
        if body is None or kind in inside:
            reason = "contains itself" if body else f"is not in this file.{nearest(kind, workflow.subgraphs)}"
            state.problem("bad_subgraph", f"Subgraph {kind!r} {reason}", full)
            continue
        for port in inputs.keys() - body.inputs.keys():
            state.problem("unknown_input", f"Subgraph {kind!r} has no port {port!r}.{nearest(port, body.inputs)}", full, port)
        for port, default in body.inputs.items():
            state.aliases[Link(f"{full}/{OWN_INPUT}", port)] = inputs.get(port, default)
        for port, link in body.outputs.items():
            state.aliases[Link(full, port)] = _rescope(link, full + "/")
        modes = {n: replace(w, mode=node.mode) if node.mode != "run" else w for n, w in body.nodes.items()}
        _flatten(state, modes, workflow, full + "/", (*inside, kind))


def _rescope(value: Any, prefix: str) -> Any:
    return Link(prefix + value.node, value.output) if isinstance(value, Link) else value


def _resolve_modes(state: _Build) -> None:
    """Drop muted nodes and their dependents; make bypassed nodes aliases of their inputs."""
    for name in [n for n, w in state.raw.items() if w.mode == "bypass"]:
        node = state.raw.pop(name)
        spec = state.specs.get(node.type)
        for output in spec.outputs if spec else ():
            state.aliases[Link(name, output.name)] = _passed_through(spec, node, output.name, output.type)
    gone = [n for n, w in state.raw.items() if w.mode == "mute"]
    for name in gone:
        del state.raw[name]
    muted = set(gone)
    for name, node in state.raw.items():
        inputs = {k: _follow(state, v) for k, v in node.inputs.items()}
        state.raw[name] = replace(node, inputs=inputs)
    _cascade(state, muted)


def _passed_through(spec: NodeSpec | None, node: WorkflowNode, output: str, kind: str) -> Any:
    """Return the input that a bypassed node hands on as `output`: the one of that name, else the first of that type."""
    fitting = [i.name for i in (spec.inputs if spec else ()) if _fits(i.type, kind) and i.name in node.inputs]
    name = output if output in fitting else next(iter(fitting), None)
    return node.inputs[name] if name is not None else None


def _follow(state: _Build, value: Any) -> Any:
    """Resolve a link through aliases; None when what it led to was bypassed without a matching input."""
    seen = 0
    while isinstance(value, Link) and value in state.aliases and seen <= len(state.aliases):
        value = state.aliases[value]
        seen += 1
    return value


def _cascade(state: _Build, muted: set[str]) -> None:
    """Cut links to muted nodes; a node that needs one is muted too."""
    consumers = _consumers(state.raw)
    todo = list(muted)
    while todo:
        gone = todo.pop()
        for name in consumers.get(gone, ()):
            node = state.raw.get(name)
            if node is None:
                continue
            spec = state.specs.get(node.type)
            cut = {k for k, v in node.inputs.items() if isinstance(v, Link) and v.node == gone}
            needed = {i.name for i in spec.inputs if i.required} if spec else cut
            if cut & needed:
                del state.raw[name]
                todo.append(name)
            else:
                state.raw[name] = replace(node, inputs={k: v for k, v in node.inputs.items() if k not in cut})


# What is wanted ------------------------------------------------------------------------------------------------------


def _consumers(raw: Mapping[str, WorkflowNode]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, node in raw.items():
        for value in node.inputs.values():
            if isinstance(value, Link):
                found.setdefault(value.node, []).append(name)
    return found


def _targets(state: _Build, wanted: Iterable[str]) -> tuple[str, ...]:
    """Return the wanted nodes; a subgraph stands for the nodes behind its outputs."""
    found: dict[str, None] = {}
    for name in wanted:
        behind = [v.node for k in state.aliases if k.node == name and isinstance(v := _follow(state, k), Link)]
        found.update(dict.fromkeys(behind if behind and name not in state.raw else [name]))
    return tuple(found)


def _default_outputs(state: _Build) -> tuple[str, ...]:
    specs = {name: state.specs.get(node.type) for name, node in state.raw.items()}
    shown = tuple(name for name, spec in specs.items() if spec and (spec.output or spec.effect))
    if shown:
        return shown
    consumers = _consumers(state.raw)
    sinks = tuple(n for n in state.raw if n not in consumers and (specs[n] is None or specs[n].outputs))  # type: ignore[union-attr]
    return sinks or tuple(state.raw)


def _reachable(state: _Build, targets: Iterable[str]) -> set[str]:
    found: set[str] = set()
    todo = [t for t in targets if t in state.raw]
    while todo:
        name = todo.pop()
        if name in found:
            continue
        found.add(name)
        links = (v for v in state.raw[name].inputs.values() if isinstance(v, Link))
        todo.extend(v.node for v in links if v.node in state.raw)
    return found


# Checks --------------------------------------------------------------------------------------------------------------


def _check(state: _Build, name: str) -> GraphNode | None:
    node = state.raw[name]
    spec = state.specs.get(node.type)
    if spec is None:
        hint = nearest(node.type, state.specs) or " Is its node pack installed?"
        state.problem("unknown_type", f"There is no node type {node.type!r}.{hint}", name)
        return None
    known = {i.name for i in spec.inputs}
    for field_name in node.inputs.keys() - known:
        message = f"{spec.title} has no input {field_name!r}.{nearest(field_name, known)}"
        state.problem("unknown_input", message, name, field_name)
    inputs = {i.name: _check_input(state, name, spec, i) for i in spec.inputs}
    return GraphNode(name, spec, inputs)


def _check_input(state: _Build, name: str, spec: NodeSpec, wanted: InputSpec) -> Any:
    raw = state.raw[name].inputs
    value = raw.get(wanted.name)
    if wanted.name not in raw or (value is None and not wanted.required):
        if wanted.required:
            message = f"{spec.title} needs {wanted.name} ({wanted.type}): connect it or give a value."
            state.problem("missing_input", message, name, wanted.name)
        return wanted.default
    if isinstance(value, Given):
        return value
    if isinstance(value, Link):
        _check_link(state, name, wanted, value)
        return value
    try:
        return _check_value(wanted, value)
    except BadInput as error:
        state.problem(error.code, error.message, name, wanted.name)
        return None


def _check_value(wanted: InputSpec, value: Any) -> Any:
    """Check a value written in the file; only plain types can be written."""
    if wanted.list and isinstance(value, list):
        return [wanted.check(v) for v in value]
    if value is None or not wanted.types & {"BOOLEAN", "INT", "FLOAT", "STRING", "JSON", "ANY"}:
        raise BadInput(f"{wanted.name} needs {wanted.type} from another node: connect it.", field=wanted.name)
    return wanted.check(value)


def _check_link(state: _Build, name: str, wanted: InputSpec, link: Link) -> None:
    source = state.raw.get(link.node)
    if source is None:
        message = f"{wanted.name} is linked to node {link.node!r}, which does not exist.{nearest(link.node, state.raw)}"
        state.problem("unknown_node", message, name, wanted.name)
        return
    spec = state.specs.get(source.type)
    if spec is None:
        return  # reported on that node
    output = spec.output_named(link.output)
    if output is None:
        names = ", ".join(o.name for o in spec.outputs) or "none"
        message = f"{spec.title} ({link.node}) has no output {link.output!r}; it has: {names}."
        state.problem("unknown_output", message, name, wanted.name)
    elif not _fits(wanted.type, output.type):
        state.problem("bad_type", _misfit(wanted, link, output.type), name, wanted.name)


def _fits(wanted: str, given: str) -> bool:
    """Say whether an output of type `given` may be linked to an input of type `wanted` (unions `A|B`)."""
    into, out = set(wanted.split("|")), set(given.split("|"))
    return "ANY" in into | out or bool(into & out) or any((o, i) in CONVERSIONS for o in out for i in into)


def _misfit(wanted: InputSpec, link: Link, given: str) -> str:
    converter = CONVERTERS.get((given, wanted.type))
    advice = f"Insert {converter!r} between them" if converter else "Connect another output"
    return f"{wanted.name} got {given} from {link.node}, needs {wanted.type}. {advice}."


def _check_cycles(state: _Build, nodes: Mapping[str, GraphNode]) -> None:
    """Report one cycle with its path, if there is any (Kahn's algorithm, then a walk)."""
    waiting = {n: sum(1 for _ in node.links()) for n, node in nodes.items()}
    consumers: dict[str, list[str]] = {}
    for name, node in nodes.items():
        for _, link in node.links():
            consumers.setdefault(link.node, []).append(name)
    ready = [n for n, count in waiting.items() if not count]
    while ready:
        done = ready.pop()
        del waiting[done]
        for name in consumers.get(done, ()):
            waiting[name] -= 1
            if not waiting[name]:
                ready.append(name)
    if waiting:
        path = [next(iter(waiting))]
        while path[-1] not in path[:-1]:
            path.append(next(link.node for _, link in nodes[path[-1]].links() if link.node in waiting))
        loop = path[path.index(path[-1]) :]
        state.problem("cycle", f"These nodes wait for each other: {' <- '.join(loop)}. Remove one of the links.", loop[0])


# Expansion at run time -----------------------------------------------------------------------------------------------


def expand(
    expansion: Expansion, prefix: str, own: Mapping[str, Any], specs: Mapping[str, NodeSpec]
) -> tuple[dict[str, GraphNode], dict[str, Link]]:
    """Turn what a node expanded into (see Expansion) into nodes under `prefix`, and its outputs into links.

    `own` holds the expanding node's inputs for links `["@", name]`: values, or Given results. WorkflowInvalid on problems.
    """
    workflow = parse({"nodes": expansion.nodes})
    state = _Build(specs)
    _flatten(state, workflow.nodes, workflow, prefix, ())
    for name, value in own.items():
        state.aliases[Link(prefix + OWN_INPUT, name)] = value
    _resolve_modes(state)
    nodes = {name: checked for name in state.raw if (checked := _check(state, name))}
    if not state.problems:
        _check_cycles(state, nodes)
    outputs = {name: _rescope(Link(*link), prefix) for name, link in expansion.outputs.items()}
    for link in outputs.values():
        if link.node not in nodes or nodes[link.node].spec.output_named(link.output) is None:
            state.problem("bad_expansion", f"The expansion gives {link.node}.{link.output}, which it does not have.", link.node)
    if state.problems:
        raise WorkflowInvalid(state.problems)
    return nodes, outputs
