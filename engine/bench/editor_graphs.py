"""Large graphs for the editor's bench, in our form and, node for node, in the one that ComfyUI's frontend reads."""

from __future__ import annotations

import json
from itertools import count, islice
from typing import Any

from engine.settings import ROOT

WRITTEN = frozenset({"INT", "FLOAT", "STRING", "BOOLEAN"})
GAP = 80
ASPECT = 1.7  # of the canvas
WORKFLOW = ROOT / "nodes" / "basics" / "text_to_image.json"


def graph(size: int) -> dict[str, Any]:
    """Return a workflow of `size` nodes: text to image again and again, side by side."""
    plain = json.loads(WORKFLOW.read_text())
    places = plain["layout"]["nodes"]
    width = max(place["x"] for place in places.values()) + 320 + GAP
    height = max(place["y"] for place in places.values()) + 320 + GAP
    columns = max(1, round((size / len(plain["nodes"]) * height / width * ASPECT) ** 0.5))
    nodes: dict[str, Any] = {}
    layout: dict[str, Any] = {}
    for copy, name in islice(((c, n) for c in count() for n in plain["nodes"]), size):
        node = plain["nodes"][name]
        inputs = {key: _renamed(value, copy) for key, value in node["inputs"].items()}
        nodes[f"{name}{copy}"] = {**node, "inputs": inputs}
        x, y = copy % columns * width, copy // columns * height
        layout[f"{name}{copy}"] = {**places[name], "x": places[name]["x"] + x, "y": places[name]["y"] + y}
    return {"format": plain["format"], "name": f"Bench {size}", "nodes": nodes, "layout": {"nodes": layout}}


def foreign(plain: dict[str, Any], specs: dict[str, Any]) -> dict[str, Any]:
    """Return the same graph as ComfyUI's frontend reads it: nodes, sizes, links and values."""
    ids = {name: number for number, name in enumerate(plain["nodes"], 1)}
    links: list[list[Any]] = []
    nodes = []
    for name, node in plain["nodes"].items():
        spec, place = specs[node["type"]], plain["layout"]["nodes"][name]
        inputs: list[dict[str, Any]] = []
        for entry in filter(_is_socket, spec["inputs"]):
            link, source = None, node["inputs"].get(entry["name"])
            if source:
                outputs = specs[plain["nodes"][source[0]]["type"]]["outputs"]
                slot = [output["name"] for output in outputs].index(source[1])
                link = len(links) + 1
                links.append([link, ids[source[0]], slot, ids[name], len(inputs), entry["type"]])
            inputs.append({"name": entry["name"], "type": entry["type"], "link": link})
        written = [entry for entry in spec["inputs"] if not _is_socket(entry)]
        nodes.append({
            "id": ids[name], "type": node["type"], "pos": [place["x"], place["y"]], "size": [240, 200], "flags": {},
            "order": ids[name], "mode": 0, "inputs": inputs, "properties": {},
            "outputs": [{"name": o["name"], "type": o["type"], "links": []} for o in spec["outputs"]],
            "widgets_values": [node["inputs"].get(entry["name"], entry.get("default")) for entry in written],
        })  # fmt: skip
    for link, source_id, slot, *_ in links:
        nodes[source_id - 1]["outputs"][slot]["links"].append(link)
    last = {"last_node_id": len(nodes), "last_link_id": len(links)}
    return {**last, "nodes": nodes, "links": links, "groups": [], "config": {}, "extra": {}, "version": 0.4}


def definitions(specs: dict[str, Any]) -> dict[str, Any]:
    """Return node types as ComfyUI's server describes them."""
    return {
        name: {
            "input": {"required": {entry["name"]: _definition(entry) for entry in spec["inputs"]}},
            "output": [output["type"] for output in spec["outputs"]],
            "output_is_list": [output["list"] for output in spec["outputs"]],
            "output_name": [output["name"] for output in spec["outputs"]],
            "name": name,
            "display_name": spec["title"],
            "description": spec["doc"],
            "python_module": "nodes",
            "category": spec["category"],
            "output_node": spec["output"],
        }
        for name, spec in specs.items()
    }


def _definition(entry: dict[str, Any]) -> list[Any]:
    if entry.get("choices"):
        return [entry["choices"], {"default": entry.get("default")}]
    options = {"default": entry.get("default"), "min": entry.get("low"), "max": entry.get("high")}
    given = {key: value for key, value in options.items() if value is not None}
    return [entry["type"], given if entry["type"] in WRITTEN else {}]


def _is_socket(entry: dict[str, Any]) -> bool:
    return entry["type"] not in WRITTEN


def _renamed(value: Any, copy: int) -> Any:
    return [f"{value[0]}{copy}", value[1]] if isinstance(value, list) else value
