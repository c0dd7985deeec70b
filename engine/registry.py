"""Finds nodes: the built-in ones and people's packs. A duplicate id is an error; a pack that fails harms no other."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import json
import logging
import os
import pkgutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from engine.codec import canonical
from engine.node import NodeSpec
from engine.settings import ROOT, Settings
from engine.types import Value

log = logging.getLogger(__name__)


@dataclass
class Registry:
    """Nodes by id: `specs` as data, `functions` to call as `(context, **inputs)`; `failed` packs with their reasons.

    `marks`: of nodes that know more about when their results change, see `engine.call.Services`.
    """

    specs: dict[str, NodeSpec] = field(default_factory=dict)
    functions: dict[str, Callable[..., Any]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    marks: dict[str, Callable[..., str | None]] = field(default_factory=dict)

    def add(self, function: Callable[..., Any], *, pack: str = "", code: str = "") -> None:
        """Add one `@node` function; ValueError if its id is taken."""
        spec: NodeSpec = function.__dict__["__node__"]
        if spec.id in self.specs:
            owner = self.specs[spec.id].pack or "a built-in node"
            raise ValueError(f"the node id {spec.id!r} is already taken by {owner}")
        self.specs[spec.id] = replace(spec, pack=pack, code=code)
        takes_context = "ctx" in inspect.signature(function).parameters
        self.functions[spec.id] = function if takes_context else _without_context(function)

    def add_module(self, module: ModuleType, *, pack: str = "", code: str = "") -> None:
        """Add the nodes that a module defines itself; `code` is the digest of the source they depend on."""
        for function in vars(module).values():
            if inspect.isfunction(function) and "__node__" in vars(function) and function.__module__ == module.__name__:
                self.add(function, pack=pack, code=code)

    def add_package(self, name: str) -> None:
        """Add the nodes of a built-in package; all of it counts as code of each, since they share functions."""
        package = importlib.import_module(name)
        code = digest_of_code(*map(Path, package.__path__))
        for info in pkgutil.walk_packages(package.__path__, f"{name}."):
            self.add_module(importlib.import_module(info.name), code=code)

    def add_pack(self, place: Path) -> None:
        """Add a custom pack (a folder of Python files or one file); `failed` says why where one adds nothing."""
        name = pack_name(place)
        code = digest_of_code(place)

        def read() -> None:
            for file in _python_files(place):
                module = import_file(file, _module_name(f"custom_nodes.{name}", place, file))
                self.add_module(module, pack=name, code=code)

        self.attempt(name, read)

    def attempt(self, pack: str, read: Callable[[], None]) -> None:
        """Let `read` add a pack; if it fails, nothing of it is kept and `failed` says why."""
        before = dict(self.specs), dict(self.functions), dict(self.marks)
        error = tried(read)
        if error is not None:
            log.error("node pack %s failed to load", pack, exc_info=error)
            self.failed[pack] = f"{type(error).__name__}: {error}"
            self.specs, self.functions, self.marks = before

    def catalogue(self, source: str) -> dict[str, Any]:
        """Return the catalogue that clients read: nodes, socket types, failed packs and the hash of its source."""
        return {
            "hash": source,
            "nodes": [spec.to_json() for _, spec in sorted(self.specs.items())],
            "types": [{"socket": t.socket, "color": t.color, "doc": inspect.getdoc(t) or ""} for t in _value_types()],
            "failed": [{"pack": pack, "reason": reason} for pack, reason in sorted(self.failed.items())],
        }


def load(settings: Settings, registry: Registry | None = None) -> Registry:
    """Import the built-in nodes and the packs of the custom node folders."""
    registry = registry or Registry()
    registry.add_package("nodes")
    for pack in packs(settings.custom_nodes):
        registry.add_pack(pack)
    return registry


def tried(call: Callable[[], Any]) -> Exception | SystemExit | None:
    """Call code of a plugin outside a step; return what it raised. This is a boundary: anything may go wrong in it."""
    try:
        call()
    except (Exception, SystemExit) as error:
        return error
    return None


def pack_name(place: Path) -> str:
    """Return the name of the pack at a place."""
    return place.name if place.is_dir() else place.stem


def packs(folders: Iterable[Path]) -> Iterator[Path]:
    """Yield the packs in these folders: sub-folders and single files, hidden ones left out."""
    for folder in folders:
        for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
            if not entry.name.startswith((".", "_")) and (entry.is_dir() or entry.suffix == ".py"):
                yield entry


def catalogue_path(settings: Settings) -> Path:
    """Return where the catalogue is cached."""
    return settings.data_dir / "catalogue.json"


def source_hash(settings: Settings) -> str:
    """Return the hash of all code that declares nodes, so that a cached catalogue is known to be right."""
    own = [ROOT / "engine" / name for name in ("node.py", "spec.py", "types.py", "registry.py", "diffusion", "compat")]
    return digest_of_code(ROOT / "nodes", *own, *packs(settings.custom_nodes))


def digest_of_code(*places: Path) -> str:
    """Return the digest of the Python files at these places, of their names and order too."""
    hashed = hashlib.sha256(b"sfumato-code/1")
    for place in places:
        for file in _python_files(place):
            body = file.read_bytes()
            hashed.update(f"\0{file.relative_to(place.parent)}\0{len(body)}\0".encode())
            hashed.update(body)
    return hashed.hexdigest()[:16]


def read_catalogue(settings: Settings) -> dict[str, Any] | None:
    """Return the cached catalogue if it was made from the code that is there now."""
    try:
        catalogue = json.loads(catalogue_path(settings).read_text())
    except (OSError, ValueError):
        return None
    fits = isinstance(catalogue, dict) and catalogue.get("hash") == source_hash(settings)
    return catalogue if fits else None


def write_catalogue(settings: Settings, registry: Registry) -> dict[str, Any]:
    """Make the catalogue and cache it."""
    catalogue = registry.catalogue(source_hash(settings))
    path = catalogue_path(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    temporary.write_bytes(canonical(catalogue))
    temporary.replace(path)
    return catalogue


def specs_of(catalogue: dict[str, Any]) -> dict[str, NodeSpec]:
    """Return the node specs of a catalogue by id."""
    return {plain["id"]: NodeSpec.from_json(plain) for plain in catalogue["nodes"]}


def _without_context(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(context: Any, /, **inputs: Any) -> Any:
        return function(**inputs)

    return call


def _python_files(place: Path) -> list[Path]:
    """Return a file, or a folder's files: a package's own first, as the others may need it; hidden folders left out."""
    if not place.is_dir():
        return [place]
    files = (f for f in place.rglob("*.py") if not any(part.startswith(".") for part in f.relative_to(place).parts))
    return sorted(files, key=lambda f: (f.parent, f.name != "__init__.py", f.name))


def import_file(file: Path, name: str) -> ModuleType:
    """Import a file as the module `name`, once."""
    loaded = sys.modules.get(name)
    if loaded is not None and loaded.__file__ == str(file):
        return loaded  # another module of its pack has imported it
    package = [str(file.parent)] if file.name == "__init__.py" else None
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=package)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file.name} is not a Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with ExitStack() as undo:
        undo.callback(sys.modules.pop, name)
        spec.loader.exec_module(module)
        undo.pop_all()
    return module


def _module_name(pack: str, folder: Path, file: Path) -> str:
    if file == folder or file == folder / "__init__.py":
        return pack
    return ".".join([pack, *file.relative_to(folder).with_suffix("").parts])


def _value_types() -> list[type[Value]]:
    found: list[type[Value]] = []
    todo: list[type[Value]] = [Value]
    while todo:
        kind = todo.pop()
        todo.extend(kind.__subclasses__())
        if kind.socket != "ANY" and not kind.__name__.startswith("_"):
            found.append(kind)
    return sorted(found, key=lambda t: t.socket)
