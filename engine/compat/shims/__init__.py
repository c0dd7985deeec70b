"""Modules under the names that ComfyUI's packs import, written anew from what packs and documentation say of them.

They stand in `sys.modules` of a worker only; see `install`. What modules of ComfyUI's packages do not have is
`hollow`, and so are those that are not here; a name that another lacks fails the import of the pack that wants it.
"""

from __future__ import annotations

import importlib
import sys
from functools import partial
from types import ModuleType

from engine.compat.shims.hollow import Absence, Finder, absent

HERE = __name__
# name that packs import -> module of this package; None is a package without content of its own
MODULES: dict[str, str | None] = {
    "comfy": None,
    "comfy.utils": "utils",
    "comfy.model_management": "model_management",
    "comfy.samplers": "samplers",
    "comfy.cli_args": "cli_args",
    "comfy.comfy_types": "comfy_types",
    "comfy.comfy_types.node_typing": "comfy_types",
    "comfy_execution": None,
    "comfy_execution.graph": "execution",
    "comfy_execution.graph_utils": "execution",
    "comfy_execution.utils": "execution",
    "comfy_api": None,
    "comfy_api.latest": "latest",
    "comfy_api.v0_0_1": "latest",
    "comfy_api.v0_0_2": "latest",
    "comfy_api.latest._io": "v3_io",
    "comfy_api.latest._ui": "v3_ui",
    "folder_paths": "folder_paths",
    "node_helpers": "node_helpers",
    "server": "server",
}


def install() -> None:
    """Put the modules in their places; those that are there already stay."""
    for name, source in MODULES.items():
        module = importlib.import_module(f"{HERE}.{source}") if source else _package(name)
        module = sys.modules.setdefault(name, module)
        if name.startswith("comfy"):
            module.__dict__.setdefault("__getattr__", partial(_lacking, name))
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
    _add_to_nodes()
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.append(Finder())


def _lacking(module: str, name: str) -> Absence:
    return absent(f"{module}.{name}", name)


def _package(name: str) -> ModuleType:
    package = ModuleType(name, "A package that packs import from.")
    package.__path__ = []  # makes it a package
    return package


def _add_to_nodes() -> None:
    """Give our package `nodes` the names that packs import from a module of that name."""
    ours, theirs = importlib.import_module("nodes"), importlib.import_module(f"{HERE}.core_nodes")
    for name in theirs.__all__:
        setattr(ours, name, getattr(theirs, name))
    ours.__dict__["__getattr__"] = theirs.__dict__["__getattr__"]
