"""A Workflow to ComfyUI's prompt ("API format"): subgraphs unfolded, muted and bypassed nodes gone, links by slot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.compat.api_format import LITERAL
from engine.compat.report import Report
from engine.flatten import Flat, flatten
from engine.spec import NodeSpec
from engine.workflow import Link, Workflow, WorkflowNode

SILENT = ("note",)  # nodes that do nothing: a prompt has none
# Our nodes that a class of ComfyUI does the same as: the class, and its names of our inputs where they differ.
CLASSES: dict[str, tuple[str, dict[str, str]]] = {
    "load_checkpoint": ("CheckpointLoaderSimple", {"file": "ckpt_name"}),
    "load_vae": ("VAELoader", {"file": "vae_name"}),
    "load_lora": ("LoraLoader", {"file": "lora_name"}),
    "load_image": ("LoadImage", {"file": "image"}),
    "encode_text": ("CLIPTextEncode", {}),
    "sample": ("KSampler", {"latent": "latent_image", "sampler": "sampler_name", "schedule": "scheduler",
                            "strength": "denoise"}),
    "vae_decode": ("VAEDecode", {"latent": "samples"}),
    "vae_encode": ("VAEEncode", {"image": "pixels"}),
    "empty_latent": ("EmptyLatentImage", {"batch": "batch_size"}),
    "save_image": ("SaveImage", {"image": "images", "prefix": "filename_prefix"}),
    "preview_image": ("PreviewImage", {"image": "images"}),
}  # fmt: skip


def to_api(workflow: Workflow, specs: Mapping[str, NodeSpec]) -> tuple[dict[str, Any], Report]:
    """Return the prompt. Our own nodes become classes of ComfyUI where one does the same; the report tells which."""
    report = Report("sfumato")
    flat = flatten(workflow, specs)
    report.remarks += [problem.message for problem in flat.problems]
    titles = _titles(workflow)
    prompt: dict[str, Any] = {}
    for name, node in flat.nodes.items():
        if node.type in SILENT or node.mode != "run":  # one that is bypassed still is of an unknown class
            continue
        report.add(name, node.type)
        kind, names = _class_of(node.type, name, specs, report)
        inputs = {
            names.get(field, field): _value(value, flat, specs)
            for field, value in node.inputs.items()
            if value is not None and _wanted(kind, names.get(field, field), node.type, specs)
        }
        prompt[_id(name)] = {"class_type": kind, "inputs": inputs}
        if name in titles:
            prompt[_id(name)]["_meta"] = {"title": titles[name]}
    return prompt, report


def _class_of(kind: str, name: str, specs: Mapping[str, NodeSpec], report: Report) -> tuple[str, Mapping[str, str]]:
    spec = specs.get(kind)
    if kind in CLASSES:
        theirs, names = CLASSES[kind]
        report.remark(name, f"It became {theirs}.")
        return theirs, names
    if spec is None or not (spec.category.startswith("comfyui/") or spec.pack):
        report.remark(name, f"ComfyUI has no class {kind!r}.", "unknown")
    return kind, {}


def _wanted(kind: str, field: str, own: str, specs: Mapping[str, NodeSpec]) -> bool:
    """Say whether a class takes an input: what only our node has is left out."""
    spec = specs.get(kind)
    return kind == own or spec is None or spec.input(field) is not None


def _value(value: Any, flat: Flat, specs: Mapping[str, NodeSpec]) -> Any:
    if not isinstance(value, Link):
        return {LITERAL: value} if isinstance(value, (list, tuple)) else value
    source: WorkflowNode | None = flat.nodes.get(value.node)
    spec = specs.get(source.type) if source else None
    slot = spec.position.get(value.output) if spec else None
    if slot is None:
        slot = int(value.output) if value.output.isdecimal() else 0
    return [_id(value.node), slot]


def _id(name: str) -> str:
    """Return a flat id as ComfyUI writes it: node 5 inside of 12 is 12:5."""
    return name.replace("/", ":")


def _titles(workflow: Workflow) -> dict[str, str]:
    layout = workflow.rest.get("layout")
    places = layout.get("nodes") if isinstance(layout, dict) else None
    named = places.items() if isinstance(places, dict) else ()
    return {name: p["title"] for name, p in named if isinstance(p, dict) and isinstance(p.get("title"), str)}
