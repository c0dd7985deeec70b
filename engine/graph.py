"""Workflow + catalogue -> Graph: what is wanted, links typed, values within bounds, all problems at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from engine.errors import BadInput, Problem, WorkflowInvalid
from engine.flatten import Flat, fits, flatten
from engine.node import PYTHON_TYPES, Expansion, InputSpec, NodeSpec
from engine.workflow import Link, Workflow, parse

WRITTEN = PYTHON_TYPES.keys() | {"ANY"}  # socket types whose values a file can hold
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
    type: str
    source: str


@dataclass(frozen=True, slots=True)
class GraphNode:
    """A node ready to plan: `inputs` are values (checked) and links; unset optional inputs hold their defaults."""

    id: str
    spec: NodeSpec
    inputs: Mapping[str, Any]

    def sources(self, *, lazy: bool) -> list[str]:
        """Return the nodes that its inputs are linked to; without `lazy`, lazy inputs are left out."""
        linked = ((i, self.inputs[i.name]) for i in self.spec.inputs)
        return [v.node for i, v in linked if isinstance(v, Link) and (lazy or not i.lazy)]


@dataclass(frozen=True)
class Graph:
    """Typed nodes by id in file order, and the ids whose results are wanted."""

    nodes: Mapping[str, GraphNode]
    wanted: tuple[str, ...]


def build(
    workflow: Workflow,
    specs: Mapping[str, NodeSpec],
    *,
    wanted: Iterable[str] = (),
    whole: bool = False,
) -> Graph:
    """Check a workflow against the catalogue and return its Graph; WorkflowInvalid lists every problem.

    Only what the `wanted` nodes depend on is checked and kept (default: the nodes that save or show something, else
    those nothing depends on), so that a half-drawn branch does not stop the rest. `whole` checks everything.
    """
    flat = flatten(workflow, specs)
    targets = _targets(flat, wanted) or _default_outputs(flat)
    for name in [n for n in targets if n not in flat.nodes]:
        reason = "is muted, or needs something muted" if name in flat.muted else "does not exist"
        flat.problem("unknown_node", f"The wanted node {reason}.{flat.nearest(name, flat.nodes)}", name)
    kept = flat.nodes.keys() if whole else _reachable(flat, targets)
    if not flat.nodes:
        flat.problems.append(Problem("empty", "The workflow has no nodes to run."))
    nodes = {name: checked for name in flat.nodes if name in kept and (checked := _check(flat, name, {}))}
    if not flat.problems:
        _check_cycles(flat, nodes)
    if flat.problems:
        raise WorkflowInvalid(flat.problems)
    return Graph(nodes, targets)


# What is wanted ------------------------------------------------------------------------------------------------------


def _targets(flat: Flat, wanted: Iterable[str]) -> tuple[str, ...]:
    """Return the wanted nodes; a subgraph stands for those behind its outputs and those in it that show something."""
    found: dict[str, None] = {}
    for name in wanted:
        behind: list[str] = []
        if name not in flat.nodes:
            links = (flat.follow(alias) for alias in flat.aliases if alias.node == name)
            behind += [v.node for v in links if isinstance(v, Link)]
            behind += [n for n in flat.nodes if n.startswith(f"{name}/") and _shows(flat, n)]
        found.update(dict.fromkeys(behind or [name]))
    return tuple(found)


def _default_outputs(flat: Flat) -> tuple[str, ...]:
    shown = tuple(name for name in flat.nodes if _shows(flat, name))
    if shown:
        return shown
    consumers = flat.consumers()
    specs = {name: flat.specs.get(node.type) for name, node in flat.nodes.items()}
    sinks = tuple(name for name, spec in specs.items() if name not in consumers and (spec is None or spec.outputs))
    return sinks or tuple(flat.nodes)


def _shows(flat: Flat, name: str) -> bool:
    spec = flat.specs.get(flat.nodes[name].type)
    return spec is not None and (spec.output or spec.effect)


def _reachable(flat: Flat, targets: Iterable[str]) -> set[str]:
    found: set[str] = set()
    todo = [t for t in targets if t in flat.nodes]
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            links = (v for v in flat.nodes[name].inputs.values() if isinstance(v, Link))
            todo.extend(v.node for v in links if v.node in flat.nodes)
    return found


# Checks --------------------------------------------------------------------------------------------------------------


def _check(flat: Flat, name: str, outer: Mapping[str, GraphNode]) -> GraphNode | None:
    """Return a node with checked inputs; links may also lead to nodes `outer`, of the graph around an expansion."""
    raw = flat.nodes[name]
    spec = flat.specs.get(raw.type)
    if spec is None:
        hint = flat.nearest(raw.type, flat.specs) or " Is its node pack installed?"
        flat.problem("unknown_type", f"There is no node type {raw.type[:200]!r}.{hint}", name)
        return None
    spec = spec.taking(field for field, value in raw.inputs.items() if isinstance(value, (Link, Given)))
    for field in raw.inputs:
        if spec.input(field) is None:
            hint = flat.nearest(field, [i.name for i in spec.inputs])
            flat.problem("unknown_input", f"{spec.title} has no input {field!r}.{hint}", name, field)
    checks = _Checks(flat, name, spec, outer)
    return GraphNode(name, spec, {i.name: checks.input(i, raw.inputs.get(i.name)) for i in spec.inputs})


@dataclass(frozen=True, slots=True)
class _Checks:
    """Checks the inputs of one node."""

    flat: Flat
    name: str
    spec: NodeSpec
    outer: Mapping[str, GraphNode]

    def input(self, wanted: InputSpec, value: Any) -> Any:
        """Return what the input holds: a checked value, a link, or the default."""
        if isinstance(value, Link):
            self._link(wanted, value)
        elif isinstance(value, Given):
            self._type(wanted, value.type, "the node that expanded into this")
        elif value is not None:
            return self._value(wanted, value)
        elif wanted.required:
            message = f"{self.spec.title} needs {wanted.name} ({wanted.type}): connect it or give a value."
            self.flat.problem("missing_input", message, self.name, wanted.name)
        else:
            return wanted.default
        return value

    def _value(self, wanted: InputSpec, value: Any) -> Any:
        """Check a value written in the file; only plain types can be written."""
        try:
            if not wanted.types & WRITTEN:
                raise BadInput(f"{wanted.name} needs {wanted.type} from another node: connect it.")
            if not wanted.list:
                return wanted.check(value)
            return [wanted.check(v) for v in (value if isinstance(value, list) else [value])]
        except BadInput as error:
            self.flat.problem(error.code, error.message, self.name, wanted.name)
            return None

    def _link(self, wanted: InputSpec, link: Link) -> None:
        flat = self.flat
        if link.node in flat.nodes:
            spec = flat.specs.get(flat.nodes[link.node].type)
        elif link.node in self.outer:
            spec = self.outer[link.node].spec
        else:
            hint = flat.nearest(link.node, flat.nodes)
            message = f"{wanted.name} is linked to node {link.node!r}, which does not exist.{hint}"
            return flat.problem("unknown_node", message, self.name, wanted.name)
        output = spec.output_named(link.output) if spec else None
        if output is not None:
            self._type(wanted, output.type, link.node)
        elif spec is not None:  # an unknown type is reported on that node
            names = ", ".join(o.name for o in spec.outputs) or "none"
            message = f"{spec.title} ({link.node}) has no output {link.output!r}; it has: {names}."
            flat.problem("unknown_output", message, self.name, wanted.name)

    def _type(self, wanted: InputSpec, given: str, source: str) -> None:
        if not fits(wanted.type, given):
            converter = CONVERTERS.get((given, wanted.type))
            advice = f"Insert {converter!r} between them" if converter else "Connect another output"
            message = f"{wanted.name} got {given} from {source}, needs {wanted.type}. {advice}."
            self.flat.problem("bad_type", message, self.name, wanted.name)


def _check_cycles(flat: Flat, nodes: Mapping[str, GraphNode]) -> None:
    """Report one cycle with its path, if there is any (Kahn's algorithm, then a walk)."""
    sources = {n: [s for s in node.sources(lazy=True) if s in nodes] for n, node in nodes.items()}
    waiting = {n: len(used) for n, used in sources.items()}
    consumers: dict[str, list[str]] = {}
    for name, used in sources.items():
        for source in used:
            consumers.setdefault(source, []).append(name)
    ready = [n for n, count in waiting.items() if not count]
    while ready:
        done = ready.pop()
        del waiting[done]
        for name in consumers.get(done, ()):
            waiting[name] -= 1
            if not waiting[name]:
                ready.append(name)
    if waiting:
        path: dict[str, None] = {}
        name = next(iter(waiting))
        while name not in path:
            path[name] = None
            name = next(source for source in sources[name] if source in waiting)
        loop = [*list(path)[list(path).index(name) :], name]
        shown = " <- ".join(loop if len(loop) < 12 else [*loop[:6], "...", *loop[-5:]])
        flat.problem("cycle", f"These nodes wait for each other: {shown}. Remove one of the links.", name)


# Expansion at run time -----------------------------------------------------------------------------------------------


def expand(
    expansion: Expansion,
    node: GraphNode,
    prefix: str,
    own: Mapping[str, Any],
    *,
    outer: Mapping[str, GraphNode],
    specs: Mapping[str, NodeSpec],
) -> tuple[dict[str, GraphNode], dict[str, Link]]:
    """Turn what `node` expanded into (see Expansion) into nodes under `prefix`, and its outputs into links.

    `own` holds the node's inputs for links `["@", name]`: values, Given results, or links to nodes of the graph `outer`
    (lazy inputs that were not asked for). WorkflowInvalid on problems.
    """
    try:
        workflow = parse({"nodes": expansion.nodes})
    except WorkflowInvalid as error:
        problems = [replace(p, node=f"{prefix}{p.node or ''}") for p in error.problems]
        raise WorkflowInvalid(problems) from None
    flat = flatten(workflow, specs, prefix=prefix, own=own)
    nodes = {name: checked for name in flat.nodes if (checked := _check(flat, name, outer))}
    if not flat.problems:
        _check_cycles(flat, nodes)
    outputs: dict[str, Link] = {}
    for output in node.spec.outputs:
        link = expansion.outputs.get(output.name)
        if link and _gives(nodes, meant := flat.follow(Link(prefix + link[0], link[1])), output.type):
            outputs[output.name] = meant
        else:
            message = f"The expansion gives nothing of type {output.type} as {output.name}."
            flat.problem("bad_expansion", message, node.id)
    if flat.problems:
        raise WorkflowInvalid(flat.problems)
    return nodes, outputs


def _gives(nodes: Mapping[str, GraphNode], link: Any, wanted: str) -> bool:
    source = nodes.get(link.node) if isinstance(link, Link) else None
    output = source.spec.output_named(link.output) if source else None
    return output is not None and fits(wanted, output.type)
