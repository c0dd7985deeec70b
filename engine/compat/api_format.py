"""ComfyUI's prompt ("API format") to a Workflow.

`{"<id>": {"class_type": str, "inputs": {name: value or ["<source id>", slot]}, "_meta": {"title": str}}}`. A node type
here has the name of its class there, and slot k is its k-th output; a class that is not known keeps its name, all its
values and links, and its outputs are called by their slot.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from engine.compat.report import Report
from engine.compat.values import fitted
from engine.spec import NodeSpec
from engine.workflow import ID_MAX, OWN_INPUT, Link, Workflow, WorkflowNode

LITERAL = "__value__"  # `{"__value__": [...]}` is a list that is no link


def from_api(prompt: Mapping[str, Any], specs: Mapping[str, NodeSpec]) -> tuple[Workflow, Report]:
    """Read a prompt against the catalogue. Ids are kept where they can be; `report.ids` maps them back."""
    report = Report("comfyui-api")
    known = {str(old): node for old, node in prompt.items() if is_node(node)}
    ids = safe_ids(known)
    report.ids = {new: old for old, new in ids.items()}
    report.remarks += [f"{key!r} is no node and was left out." for key in map(str, prompt) if key not in known]
    nodes = {ids[old]: _node(ids[old], node, known, ids, specs, report) for old, node in known.items()}
    titles = {ids[old]: title for old, node in known.items() if (title := title_of(node)) is not None}
    rest = {"layout": {"nodes": laid_out(nodes, titles)}} if nodes else {}
    return Workflow(nodes, rest=rest), report


def is_node(plain: Any) -> bool:
    """Say whether this is a node of a prompt."""
    return isinstance(plain, dict) and isinstance(plain.get("class_type"), str)


def is_prompt(plain: Any) -> bool:
    """Say whether this is a prompt in API format."""
    return isinstance(plain, dict) and bool(plain) and any(map(is_node, plain.values()))


def title_of(node: Mapping[str, Any]) -> str | None:
    """Return the title that a person gave to a node."""
    meta = node.get("_meta")
    title = meta.get("title") if isinstance(meta, dict) else None
    return title if isinstance(title, str) and title else None


def safe_ids(ids: Mapping[str, Any]) -> dict[str, str]:
    """Return an id that our format takes for each of theirs, the same one almost always."""
    found: dict[str, str] = {}
    taken = set(ids)
    for old in ids:
        new = "".join(c if c.isprintable() and c != "/" else "_" for c in old)[: ID_MAX - 8]
        new = "node" if new in ("", OWN_INPUT) else new
        number, free = 2, new
        while free != old and free in taken:
            number, free = number + 1, f"{new}_{number}"
        taken.add(free)
        found[old] = free
    return found


def output_name(spec: NodeSpec | None, slot: int) -> str:
    """Return the name of a class's output number `slot`; of an unknown class it is the number."""
    return spec.outputs[slot].name if spec is not None and 0 <= slot < len(spec.outputs) else str(slot)


def is_link(value: Any) -> bool:
    """Say whether a value of a prompt is a link: `[source id, slot]`."""
    if not isinstance(value, list) or len(value) != 2:
        return False
    source, slot = value
    number = isinstance(slot, (int, float)) and not isinstance(slot, bool) and math.isfinite(slot)
    return isinstance(source, (str, int)) and number


def laid_out(nodes: Mapping[str, WorkflowNode], titles: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Place nodes in columns by their distance from a source, since a prompt has no places."""
    depth: dict[str, int] = {}
    for name in nodes:
        _measure(name, nodes, depth)
    rows: dict[int, int] = {}
    places: dict[str, dict[str, Any]] = {}
    for name in nodes:
        column = depth[name]
        places[name] = {"x": 340 * column, "y": 320 * rows.get(column, 0)}
        places[name] |= {"title": titles[name]} if name in titles else {}
        rows[column] = rows.get(column, 0) + 1
    return places


def _measure(start: str, nodes: Mapping[str, WorkflowNode], depth: dict[str, int]) -> None:
    """Set the depth of `start` and all before it; a cycle ends where it began."""
    todo, open_ = [start], set[str]()
    while todo:
        name = todo[-1]
        sources = [v.node for v in nodes[name].inputs.values() if isinstance(v, Link) and v.node in nodes]
        waiting = [s for s in sources if s not in depth and s not in open_]
        if name in depth or not waiting:
            depth.setdefault(name, 1 + max((depth[s] for s in sources if s in depth), default=-1))
            todo.pop()
        else:
            open_.add(name)
            todo += waiting


def _node(
    name: str, plain: Mapping[str, Any], prompt: Mapping[str, Any], ids: Mapping[str, str],
    specs: Mapping[str, NodeSpec], report: Report,
) -> WorkflowNode:  # fmt: skip
    kind = plain["class_type"]
    report.add(name, kind)
    spec = specs.get(kind)
    if spec is None:
        report.remark(name, f"There is no node class {kind!r} here; its values and links are kept.", "unknown")
    written = plain.get("inputs")
    given: dict[str, Any] = written if isinstance(written, dict) else {}
    inputs: dict[str, Any] = {}
    spec = None if spec is None else spec.taking(field for field, value in given.items() if is_link(value))
    for field, value in given.items():
        if is_link(value):
            source = str(value[0])
            kept = Link(ids.get(source, source), output_name(_spec(prompt, source, specs), int(value[1])))
        else:
            kept = value[LITERAL] if isinstance(value, dict) and value.keys() == {LITERAL} else value
        if spec is not None and spec.input(field) is None and not (spec.open and isinstance(kept, Link)):
            continue  # as there, what a class does not declare is ignored
        inputs[field] = kept if spec is None or isinstance(kept, Link) else fitted(spec, field, kept, name, report)
    return WorkflowNode(kind, inputs)


def _spec(prompt: Mapping[str, Any], node: str, specs: Mapping[str, NodeSpec]) -> NodeSpec | None:
    return specs.get(prompt[node]["class_type"]) if node in prompt else None
