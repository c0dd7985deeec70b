"""A node of ours as ComfyUI's clients see one: its entry in `/object_info`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from engine.spec import InputSpec, NodeSpec
from engine.types import Saved

Names = Callable[[str], Sequence[str]]
CORE = "comfyui/"  # begins the categories of ComfyUI's own classes


def info_of(spec: NodeSpec, names: Names = lambda kind: ()) -> dict[str, Any]:
    """Return the entry of a node. `names` gives the files of a kind, which are the choices of inputs that name one."""
    sections: dict[str, dict[str, Any]] = {"required": {}}
    for each in spec.inputs:
        is_widget = each.default is not None or bool(each.file) or each.choices is not None
        must = each.required or (is_widget and spec.category.startswith(CORE))  # there, a default is the editor's alone
        section = "required" if must else "optional"
        sections.setdefault(section, {})[each.name] = _config(each, names)
    outputs = [o for o in spec.outputs if o.type != Saved.socket]
    return {
        "input": sections,
        "input_order": {section: list(inputs) for section, inputs in sections.items()},
        "output": [o.type.replace("|", ",").replace("ANY", "*") for o in outputs],
        "output_is_list": [o.list for o in outputs],
        "output_name": [o.name.upper() if o.name == o.type.lower() else o.name for o in outputs],
        "name": spec.id,
        "display_name": spec.title,
        "description": spec.doc,
        "python_module": "nodes" if not spec.pack else f"custom_nodes.{spec.pack}",
        "category": spec.category.removeprefix(CORE),
        "output_node": spec.output,
    }


def _config(spec: InputSpec, names: Names) -> list[Any]:
    options: dict[str, Any] = {} if spec.default is None else {"default": spec.default}
    options |= {"tooltip": spec.help} if spec.help else {}
    if spec.file or spec.choices is not None:
        if spec.file == "input":
            options["image_upload"] = True
        return [list(names(spec.file) if spec.file else spec.choices or ()), options]
    if spec.types & {"INT", "FLOAT"} and spec.low is not None and spec.high is not None:
        whole = spec.types == {"INT"}
        options |= {"min": int(spec.low), "max": int(spec.high)} if whole else {"min": spec.low, "max": spec.high}
        options |= {"step": spec.step} if spec.step else {}
        options |= {"control_after_generate": True} if spec.widget == "seed" else {}
    if spec.multiline:
        options["multiline"] = True
    options |= {"lazy": True} if spec.lazy else {}
    kind = spec.type.replace("|", ",").replace("ANY", "*")
    return [kind, options] if options else [kind]
