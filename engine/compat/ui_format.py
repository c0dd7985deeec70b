"""ComfyUI's workflow files ("UI format") to a Workflow: subgraphs, places, titles and groups are kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from engine.compat.api_format import output_name, safe_ids
from engine.compat.group_nodes import unfolded
from engine.compat.report import Report
from engine.compat.ui_graph import (
    BYPASS,
    ENTRY,
    GET,
    MUTE,
    NOTES,
    PRIMITIVE,
    REROUTES,
    SET,
    Constant,
    Scope,
    Wire,
    entries,
    first_value,
    pair,
    read_scope,
)
from engine.compat.values import fitted
from engine.compat.widgets import WIDGETS, Aligned, Slot, aligned, slots_of
from engine.spec import NodeSpec
from engine.workflow import OWN_INPUT, SUBGRAPH, Link, Mode, Subgraph, Workflow, WorkflowNode

VIRTUAL = (*REROUTES, PRIMITIVE, SET, GET)  # nodes that are only there for people: links are led past them
MODES: dict[str, Mode] = {str(MUTE): "mute", str(BYPASS): "bypass"}
LEFT_OVER = "widgets_values"  # where an unknown class keeps the values whose names nobody knows
FRAME = (320.0, 240.0)


def is_ui(plain: Any) -> bool:
    """Say whether this is a workflow file of ComfyUI."""
    return isinstance(plain, dict) and isinstance(plain.get("nodes"), list)


def from_ui(plain: Mapping[str, Any], specs: Mapping[str, NodeSpec]) -> tuple[Workflow, Report]:
    """Read a workflow file against the catalogue. Nothing refuses to open: the report says what is not as it was."""
    return _Reader(unfolded(plain, specs), specs).read()


class _Reader:
    """Reads one file."""

    def __init__(self, plain: Mapping[str, Any], specs: Mapping[str, NodeSpec]) -> None:
        self.plain, self.specs = plain, specs
        self.report = Report("comfyui-ui")
        definitions = plain.get("definitions")
        bodies = definitions.get("subgraphs") if isinstance(definitions, dict) else None
        found = [b for b in bodies if isinstance(b, dict) and b.get("id")] if isinstance(bodies, list) else []
        self.bodies = {str(body["id"]): body for body in found}
        self.names = _names(self.bodies)
        self.layouts: dict[str, Any] = {}
        self.inner: dict[tuple[str, int], Any] = {}  # (subgraph, port) -> value of the widget that the port stands for
        self.known = {**specs, **self.bodies}

    def read(self) -> tuple[Workflow, Report]:
        """Read all of it."""
        nodes, layout = self._nodes(read_scope(self.plain), self.plain, "")
        subgraphs = {self.names[key]: self._subgraph(key, body) for key, body in self.bodies.items()}
        if self.layouts:
            layout["subgraphs"] = self.layouts
        return Workflow(nodes, subgraphs, {"layout": layout}), self.report

    # Scopes --------------------------------------------------------------------------------------------------------

    def _subgraph(self, key: str, body: Mapping[str, Any]) -> Subgraph:
        name, scope = self.names[key], read_scope(body)
        nodes, self.layouts[name] = self._nodes(scope, body, f"{name}/")
        ids = safe_ids(scope.nodes)
        outputs: dict[str, Link] = {}
        for place, port in enumerate(entries(body, "outputs")):
            source = scope.follow(scope.wires.get(scope.ends.get(place)), self.known)
            if isinstance(source, Wire):
                outputs[_port(port, place)] = self._linked(scope, source, ids, body)
        ports = {_port(port, i): self.inner.get((key, i)) for i, port in enumerate(entries(body, "inputs"))}
        return Subgraph(nodes, ports, outputs)

    def _nodes(
        self, scope: Scope, body: Mapping[str, Any], where: str
    ) -> tuple[dict[str, WorkflowNode], dict[str, Any]]:
        """Read the nodes of a scope; `where` begins their names in the report."""
        ids = safe_ids(scope.nodes)
        nodes: dict[str, WorkflowNode] = {}
        places: dict[str, Any] = {}
        for old, plain in scope.nodes.items():
            kind = str(plain.get("type"))
            if kind in VIRTUAL:
                continue
            name = ids[old]
            self.report.ids[where + name] = where + old
            self.report.add(where + name, kind)
            nodes[name] = self._node(scope, plain, kind, ids, body, where + name)
            places[name] = _place(plain, self.specs.get(kind))
        frames = {f"group_{i + 1}": frame for i, g in enumerate(entries(body, "groups")) if (frame := _frame(g))}
        return nodes, {"nodes": places} | ({"frames": frames} if frames else {})

    # Nodes ---------------------------------------------------------------------------------------------------------

    def _node(
        self, scope: Scope, plain: Mapping[str, Any], kind: str, ids: Mapping[str, str], body: Mapping[str, Any],
        name: str,
    ) -> WorkflowNode:  # fmt: skip
        mode = MODES.get(str(plain.get("mode")), "run")
        if kind in NOTES:
            return WorkflowNode("note", {"text": _note(plain)})
        inputs = self._values(plain, kind, name)
        spec = self.specs.get(kind)
        if spec is not None:
            spec = spec.taking(str(entry.get("name")) for entry in entries(plain, "inputs"))
        for entry in entries(plain, "inputs"):
            wire, field = scope.into(entry), str(entry.get("name"))
            if wire is None:
                continue
            source = scope.follow(wire, self.known)
            if spec is not None and spec.input(field) is None:
                self.report.remark(name, f"Its input {field!r} is none of this class here; the link was left out.")
            elif isinstance(source, Wire):
                if source.source == ENTRY:
                    self.inner.setdefault((str(body["id"]), source.slot), inputs.get(field))
                inputs[field] = self._linked(scope, source, ids, body)
            elif isinstance(source, Constant):
                inputs[field] = source.value if spec is None else fitted(spec, field, source.value, name, self.report)
            else:
                self.report.remark(name, f"Nothing comes through the link into {field!r}; it was left out.")
        return WorkflowNode(SUBGRAPH + self.names[kind] if kind in self.bodies else kind, inputs, mode)

    def _linked(self, scope: Scope, wire: Wire, ids: Mapping[str, str], body: Mapping[str, Any]) -> Link:
        if wire.source == ENTRY:
            return Link(OWN_INPUT, _port_at(body, "inputs", wire.slot))
        kind = str(scope.nodes[wire.source].get("type"))
        if kind in self.bodies:
            ports = list(entries(self.bodies[kind], "outputs"))
            return Link(
                ids[wire.source], _port(ports[wire.slot], wire.slot) if wire.slot < len(ports) else str(wire.slot)
            )
        return Link(ids[wire.source], output_name(self.specs.get(kind), wire.slot))

    # Values --------------------------------------------------------------------------------------------------------

    def _values(self, plain: Mapping[str, Any], kind: str, name: str) -> dict[str, Any]:
        """Return a node's widget values by name, as far as their names can be known."""
        given = plain.get("widgets_values")
        spec = self.specs.get(kind)
        found = self._named(plain, kind, given)
        if spec is None and kind not in self.bodies:
            self.report.remark(name, f"There is no node class {kind!r} here; its values and links are kept.", "unknown")
            return {**found.values, **({LEFT_OVER: list(found.left)} if found.left else {})}
        if found.left:
            shown = json.dumps(list(found.left), ensure_ascii=False)[:200]
            self.report.remark(name, f"Values whose widget is not known were left out: {shown}.")
        if spec is None:
            return found.values
        own = {field: value for field, value in found.values.items() if spec.input(field) is not None}
        return {field: fitted(spec, field, value, name, self.report) for field, value in own.items()}

    def _named(self, plain: Mapping[str, Any], kind: str, given: Any) -> Aligned:
        if isinstance(given, dict):
            return Aligned({k: v for k, v in given.items() if isinstance(k, str)}, ())
        values = given if isinstance(given, list) else []
        spec = self.specs.get(kind)
        if spec is not None:
            return aligned(slots_of(spec, list(entries(plain, "inputs"))), values)
        if kind in self.bodies:
            return aligned(_ports(plain, self.bodies[kind]), values)
        widgets = [e for e in entries(plain, "inputs") if isinstance(e.get("widget"), dict)]
        return aligned([Slot(str(e["widget"].get("name")), str(e.get("type"))) for e in widgets], values)


def _names(bodies: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return a name for each subgraph, told apart by a number where two have the same."""
    found: dict[str, str] = {}
    for key, body in bodies.items():
        name = free = str(body.get("name") or "Subgraph").replace("/", "_")
        number = 2
        while free in found.values():
            number, free = number + 1, f"{name} {number}"
        found[key] = free
    return found


def _port(port: Mapping[str, Any], place: int) -> str:
    return str(port.get("name") or place)


def _port_at(body: Mapping[str, Any], side: str, place: int) -> str:
    ports = list(entries(body, side))
    return _port(ports[place], place) if 0 <= place < len(ports) else str(place)


def _ports(plain: Mapping[str, Any], body: Mapping[str, Any]) -> list[Slot]:
    """Return the widgets that an instance of a subgraph shows, in the order of its values.

    `proxyWidgets` says which, if it is there: those of the inner node -1 are ports, the others keep their own values.
    """
    types = {_port(port, i): str(port.get("type")) for i, port in enumerate(entries(body, "inputs"))}
    properties = plain.get("properties")
    listed = properties.get("proxyWidgets") if isinstance(properties, dict) else None
    if not isinstance(listed, list) or not listed:
        return [Slot(name, kind) for name, kind in types.items() if kind in WIDGETS]
    pairs = [pair for pair in listed if isinstance(pair, list) and len(pair) >= 2]
    return [Slot(str(name), types.get(str(name), "ANY")) for _, name, *_ in pairs]


def _note(plain: Mapping[str, Any]) -> str:
    text = first_value(plain)
    return "" if text is None else str(text)


def _place(plain: Mapping[str, Any], spec: NodeSpec | None) -> dict[str, Any]:
    x, y = pair(plain.get("pos"), (0.0, 0.0))
    place: dict[str, Any] = {"x": x, "y": y}
    title = plain.get("title")
    if isinstance(title, str) and title and title not in (plain.get("type"), spec.title if spec else None):
        place["title"] = title
    flags = plain.get("flags")
    if isinstance(flags, dict) and flags.get("collapsed"):
        place["collapsed"] = True
    return place


def _frame(plain: Mapping[str, Any]) -> dict[str, Any] | None:
    box = plain.get("bounding")
    if not isinstance(box, list) or len(box) < 4:
        return None
    x, y = pair(box[:2], (0.0, 0.0))
    width, height = pair(box[2:4], FRAME)
    return {"x": x, "y": y, "width": width, "height": height, "title": str(plain.get("title") or "")}
