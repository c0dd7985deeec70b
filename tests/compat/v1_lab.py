"""A laboratory for ComfyUI's packs: prompts checked and run by the real engine, without a server or models."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine import graph
from engine.call import Services
from engine.compat import packs
from engine.compat.api_format import from_api
from engine.compat.v1_check import Checked, check
from engine.disk import Disk
from engine.events import Event
from engine.files import FileStore
from engine.run import Run, RunResult
from engine.settings import Settings
from engine.store import Store
from engine.trace import Traces

PACKS = Path(__file__).parent / "v1_packs"


@dataclass
class Ran:
    """A run: its result, what it told, and the classes that were called, in order."""

    result: RunResult
    events: list[Event]
    calls: list[str]

    def shown(self, node: str, key: str = "text") -> list[Any]:
        """Return what an output node showed."""
        return [value for item in self.result.ui.get(node, []) for value in item.get("extra", {}).get(key, [])]

    def kinds(self, kind: str) -> list[Any]:
        return [event for event in self.events if event.kind == kind]


@dataclass
class V1Lab:
    """An engine with the packs in `tests/compat/v1_packs` that are named, trusted."""

    folder: Path
    names: tuple[str, ...] = ("semantics",)
    services: Services = field(init=False)

    def __post_init__(self) -> None:
        place = self.folder / "custom_nodes"
        for name in self.names:
            if not (place / name).exists():
                shutil.copytree(PACKS / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        self.settings = Settings(data_dir=self.folder / "data", output_dir=self.folder / "out", custom_nodes=(place,))
        for name in self.names:
            packs.trust(self.settings, name)
        self.files = FileStore(self.settings, examples=self.folder)
        self.registry = packs.load_all(self.settings, self.files)
        self.disk = Disk(self.folder / "data" / "store", 2**30)
        self.services = Services(
            functions=self.registry.functions, specs=self.registry.specs, store=Store(2**26, self.disk),
            traces=Traces(self.disk), files=self.files, file_digest=self.files.digest, marks=self.registry.marks,
        )  # fmt: skip

    @property
    def pack(self) -> Any:
        """The module of the first pack."""
        return __import__("sys").modules[f"custom_nodes.{self.names[0]}"]

    def check(self, prompt: Mapping[str, Any], **options: Any) -> Checked:
        return check(prompt, self.registry, **options)

    def run(self, prompt: Mapping[str, Any], *, wanted: tuple[str, ...] = (), job: str = "", **options: Any) -> Ran:
        """Check and run a prompt."""
        calls = self.pack.CALLS
        calls.clear()
        checked = self.check(prompt, targets=wanted or None)
        assert checked.error is None, checked
        workflow, _ = from_api(checked.prompt, self.registry.specs)
        plain = {**workflow.to_json(), "comfyui": {"prompt": checked.prompt, "extra_data": {"extra_pnginfo": {"a": 1}}}}
        events: list[Event] = []
        built = graph.build(workflow, self.registry.specs, wanted=checked.outputs)
        run = Run(built, self.services, emit=events.append, job=job, workflow=plain, **options)
        return Ran(run.execute(), events, list(calls))

    def restarted(self) -> V1Lab:
        """Return the engine as it is after a restart."""
        self.close()
        return V1Lab(self.folder, self.names)

    def close(self) -> None:
        self.disk.close()
        self.files.close()


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    """Return a node of a prompt."""
    return {"class_type": class_type, "inputs": inputs}
