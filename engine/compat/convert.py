"""Any file with a workflow in it, as a Workflow: ours, ComfyUI's two formats, pictures that hold one, A1111's text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine import workflow
from engine.compat.a1111 import from_parameters, is_parameters
from engine.compat.api_format import from_api, is_prompt
from engine.compat.report import Report
from engine.compat.ui_format import from_ui, is_ui
from engine.errors import BadFile
from engine.files import UNKNOWN_MEDIA, sniff
from engine.spec import NodeSpec
from engine.workflow import Workflow


@dataclass(frozen=True)
class Opened:
    """A workflow and what became of its nodes on the way."""

    workflow: Workflow
    report: Report


def opened(plain: Any, specs: Mapping[str, NodeSpec]) -> Opened:
    """Read a workflow from JSON of any kind. Only our own can be wrong (WorkflowInvalid); others tell it by node."""
    if is_ui(plain):
        return Opened(*from_ui(plain, specs))
    if is_prompt(plain):
        return Opened(*from_api(plain, specs))
    if isinstance(plain, dict) and "nodes" not in plain:
        inner = _enclosed(plain)
        if inner is not None:
            return opened(inner, specs)
    parsed = workflow.parse(plain)
    report = Report("sfumato")
    for name, node in parsed.nodes.items():
        report.add(name, node.type)
    return Opened(parsed, report)


def is_foreign(plain: Any) -> bool:
    """Say whether JSON is of another program, and needs the catalogue to be read."""
    return is_ui(plain) or is_prompt(plain) or (isinstance(plain, dict) and _enclosed(plain) is not None)


def open_file(data: bytes, specs: Mapping[str, NodeSpec]) -> Opened:
    """Read a workflow from a file's content; BadFile if there is none. It is hostile input: never run it unasked."""
    if sniff(data[:16]) != UNKNOWN_MEDIA:
        return _in_picture(data, specs)
    try:
        text = data.decode()
        plain = json.loads(text)
    except (ValueError, RecursionError) as error:
        text = data.decode(errors="ignore")
        if is_parameters(text):
            return Opened(*from_parameters(text))
        raise BadFile("This is neither a picture (PNG, WebP, JPEG) nor a workflow in JSON.") from error
    if not isinstance(plain, dict):
        raise BadFile("A workflow in JSON is an object with `nodes`.")
    return opened(plain, specs)


def _in_picture(data: bytes, specs: Mapping[str, NodeSpec]) -> Opened:
    from engine.pictures import embedded_parameters, embedded_workflow  # NumPy and Pillow take a fifth of a second

    found = embedded_workflow(data)
    if found is not None:
        return opened(found, specs)
    text = embedded_parameters(data)
    if text is not None and is_parameters(text):
        return Opened(*from_parameters(text))
    raise BadFile("There is no workflow in this picture; many sites remove it. It can be used as an image.")


def _enclosed(plain: Mapping[str, Any]) -> Any:
    """Return the workflow or prompt inside the body of a job request or a history entry of ComfyUI."""
    extra = plain.get("extra_data")
    info = extra.get("extra_pnginfo") if isinstance(extra, dict) else None
    drawn = info.get("workflow") if isinstance(info, dict) else plain.get("workflow")
    if is_ui(drawn):
        return drawn
    return plain["prompt"] if is_prompt(plain.get("prompt")) else None
