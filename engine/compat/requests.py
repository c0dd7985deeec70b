"""What the server asks a worker for ComfyUI's clients: is this prompt right, and what node classes are there."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol

from engine import graph
from engine.compat.api_format import from_api
from engine.compat.core_info import CORE, info_of
from engine.compat.packs import PackRegistry
from engine.compat.shims.server import PromptServer
from engine.compat.v1_check import check as checked
from engine.compat.v1_check import error
from engine.context import Files
from engine.errors import NotFound, WorkflowInvalid


class Worker(Protocol):
    """What of a worker's engine is needed."""

    registry: PackRegistry

    @property
    def models(self) -> Any:
        """Weights by name."""

    @property
    def files(self) -> Files:
        """Files by name."""


def check(engine: Worker, asked: dict[str, Any]) -> dict[str, Any]:
    """Check a `prompt` for its `targets`, after packs have had a look; see `engine.compat.v1_check.Checked`.

    Where something can run, `workflow` and `wanted` are it in our format.
    """
    asked = PromptServer.instance.rewritten(asked)
    found = checked(
        asked["prompt"], engine.registry, targets=asked.get("targets"), names=lambda kind: names(engine, kind)
    )
    if found.error is not None:
        return found.to_json()
    workflow, report = from_api(found.prompt, engine.registry.specs)
    ours = {old: new for new, old in report.ids.items()}
    wanted = [ours[id] for id in found.outputs]
    try:
        graph.build(workflow, engine.registry.specs, wanted=wanted)
    except WorkflowInvalid as problems:
        found.error = error("prompt_outputs_failed_validation", "Prompt outputs failed validation", str(problems))
    return {**found.to_json(), "workflow": workflow.to_json(), "wanted": wanted}


def info(engine: Worker, asked: dict[str, Any]) -> dict[str, Any]:
    """Return `/object_info`: all classes, or the one called `name`."""
    wanted = asked.get("name")
    registry = engine.registry
    found: dict[str, Any] = {}
    for name, spec in registry.specs.items():
        if wanted in (None, name) and name not in registry.classes and spec.category.startswith(CORE):
            found[name] = info_of(spec, lambda kind: sorted(names(engine, kind)))
    for name, each in registry.classes.items():
        if wanted in (None, name):
            each.read()
            found[name] = each.info()
    return found


def metadata(engine: Worker, asked: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata in the header of the weights `name` of a `kind`."""
    found: dict[str, Any] = engine.models.library.metadata(asked["kind"], asked["name"])
    return found


def route(asked: dict[str, Any]) -> dict[str, Any]:
    """Answer a request to a pack's own address; see `engine.compat.pack_routes.Routes.answer`."""
    return PromptServer.instance.routes.answer(asked)


def models(engine: Worker) -> dict[str, Any]:
    """Return the names of all weights by kind."""
    return {kind: sorted(engine.models.names(kind)) for kind in engine.models.kinds()}


def names(engine: Worker, kind: str) -> Collection[str]:
    """Return the names of the files of a kind."""
    try:
        return engine.files.names(kind) if kind in ("input", "output") else engine.models.names(kind)
    except NotFound:
        return ()
