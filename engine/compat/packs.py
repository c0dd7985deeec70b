"""ComfyUI's node packs: found, trusted once by their content, loaded in the worker, reported if they fail.

A pack is code that can do whatever its user can, so none of it runs before a person has said so. What is trusted is the
digest of all files of its folder: once one changes, the pack has to be trusted again. Packs of our own protocol are
told apart by reading, not by importing.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from engine.compat.v1_call import Caller
from engine.compat.v1_spec import V1Class
from engine.errors import BadInput, NotFound
from engine.files import FileStore
from engine.registry import Registry, catalogue_path, import_file, pack_name, packs
from engine.settings import Settings
from engine.workflow import nearest

SIGNS = re.compile(rb"NODE_CLASS_MAPPINGS|comfy_entrypoint")
APART = {"__pycache__", ".git"}
CHUNK = 2**20
REASON = "It is not trusted yet. Read its code, then: python3 main.py packs trust {name}"
CHANGED = "Its files have changed since it was trusted. Look at them, then: python3 main.py packs trust {name}"


@dataclass(frozen=True)
class Pack:
    """A pack as people see it: the digest of its files, and whether that is what was trusted."""

    name: str
    digest: str
    trusted: bool
    files: int
    reason: str = ""


class Trust:
    """Which packs a person trusts, by the digest of their files. Kept in the data folder."""

    def __init__(self, settings: Settings) -> None:
        self._path = settings.data_dir / "trusted_packs.json"

    def read(self) -> dict[str, str]:
        """Return name -> digest of what is trusted."""
        try:
            plain = json.loads(self._path.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return plain if isinstance(plain, dict) else {}

    def write(self, trusted: Mapping[str, str]) -> None:
        """Keep what is trusted, whole or not at all."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_name(f"{self._path.name}.tmp-{os.getpid()}")
        temporary.write_text(json.dumps(dict(trusted), indent=1), "utf-8")
        temporary.replace(self._path)


@dataclass
class PackRegistry(Registry):
    """A registry that knows ComfyUI's packs too; `classes` are their node classes by name."""

    trusted: Mapping[str, str] = field(default_factory=dict)
    classes: dict[str, V1Class] = field(default_factory=dict)

    def add_pack(self, place: Path) -> None:
        """Add a pack of either protocol."""
        if not is_foreign(place):
            return super().add_pack(place)
        name, digest = pack_name(place), digest_of(place)[0]
        reason = _why_not(self.trusted, name, digest)
        if reason:
            self.failed[name] = reason
        else:
            self.attempt(name, lambda: self._add_foreign(name, place, digest))

    def _add_foreign(self, name: str, place: Path, digest: str) -> None:
        from engine.compat import shims

        shims.install()
        found = _classes(_import(name, place), name, digest)
        for each in found:
            self._add_class(each)

    def _add_class(self, each: V1Class) -> None:
        """Add a class; core classes cannot be replaced, and a later pack takes the place of an earlier one."""
        known = self.specs.get(each.name)
        if known is not None and not known.open:
            return
        spec = each.spec()
        caller = Caller(each, spec, self.specs)
        self.classes[each.name] = each
        self.specs[each.name], self.functions[each.name], self.marks[each.name] = spec, caller, caller.mark

    def refresh(self, names: set[str]) -> None:
        """Read the inputs of these classes anew, as their lists are live."""
        for name in names & self.classes.keys():
            each = self.classes[name]
            each.read()
            self.specs[name] = each.spec()


def load_all(settings: Settings, files: FileStore | None = None) -> PackRegistry:
    """Return the registry of a worker: our nodes, our packs, and ComfyUI's that are trusted."""
    from engine.compat import shims
    from engine.compat.graph import pass_on
    from engine.compat.shims import core_nodes, folder_paths

    registry = PackRegistry(trusted=Trust(settings).read())
    registry.add(pass_on)
    folder_paths.settle(settings, files)
    registry.add_package("nodes")
    core_nodes.settle(registry)
    shims.install()
    for pack in packs(settings.custom_nodes):
        registry.add_pack(pack)
    core_nodes.settle_packs(registry.classes)
    return registry


def is_foreign(place: Path) -> bool:
    """Say whether a pack is written for ComfyUI: one of its files names what such packs export."""
    files = place.rglob("*.py") if place.is_dir() else [place]
    return any(SIGNS.search(file.read_bytes()) for file in files if file.is_file())


def listed(settings: Settings) -> list[Pack]:
    """Return ComfyUI's packs in the custom node folders."""
    trusted = Trust(settings).read()
    found = []
    for place in filter(is_foreign, packs(settings.custom_nodes)):
        name, (digest, count) = pack_name(place), digest_of(place)
        reason = _why_not(trusted, name, digest)
        found.append(Pack(name, digest, not reason, count, reason))
    return found


def trust(settings: Settings, name: str, *, digest: str | None = None) -> Pack:
    """Trust a pack as it is now; `digest` is what was looked at, if that was some time ago."""
    pack = _find(settings, name)
    if digest is not None and digest != pack.digest:
        raise BadInput(f"The files of {name} have changed since you looked at them: look again.", field="digest")
    record = Trust(settings)
    record.write({**record.read(), name: pack.digest})
    catalogue_path(settings).unlink(missing_ok=True)
    return _find(settings, name)


def distrust(settings: Settings, name: str) -> Pack:
    """No longer trust a pack; a worker that has loaded it goes on with it until it starts anew."""
    record = Trust(settings)
    record.write({n: d for n, d in record.read().items() if n != name})
    catalogue_path(settings).unlink(missing_ok=True)
    return _find(settings, name)


def digest_of(place: Path) -> tuple[str, int]:
    """Return the digest of all files of a pack with their names, and how many there are."""
    every = [place] if place.is_file() else sorted(p for p in place.rglob("*") if p.is_file())
    files = [p for p in every if not APART & set(p.relative_to(place.parent).parts)]
    hashed = hashlib.sha256(b"sfumato-pack/1")
    for file in files:
        hashed.update(f"\0{file.relative_to(place.parent).as_posix()}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as content:
            while chunk := content.read(CHUNK):
                hashed.update(chunk)
    return hashed.hexdigest(), len(files)


def _why_not(trusted: Mapping[str, str], name: str, digest: str) -> str:
    if trusted.get(name) == digest:
        return ""
    return (CHANGED if name in trusted else REASON).format(name=name)


def _find(settings: Settings, name: str) -> Pack:
    known = {pack.name: pack for pack in listed(settings)}
    if name not in known:
        raise NotFound(f"There is no ComfyUI pack {name[:80]!r}.{nearest(name[:80], known)}")
    return known[name]


def _import(name: str, place: Path) -> ModuleType:
    """Import a pack's first file under a name of its own; its folder is where its relative imports look."""
    file = place / "__init__.py" if place.is_dir() else place
    module = f"custom_nodes.{name}"
    if getattr(sys.modules.get(module), "__file__", None) != str(file):
        sys.modules.pop(module, None)
    return import_file(file, module)


def _classes(module: ModuleType, pack: str, code: str) -> list[V1Class]:
    """Return the node classes of a module; one that cannot say its inputs is left out."""
    titles = getattr(module, "NODE_DISPLAY_NAME_MAPPINGS", None) or {}
    mappings: Mapping[str, Any] = getattr(module, "NODE_CLASS_MAPPINGS", None) or {}
    given = [(str(name), cls, str(titles.get(name, ""))) for name, cls in mappings.items()]
    if not mappings and hasattr(module, "comfy_entrypoint"):
        from engine.compat.v3 import as_v1, nodes_of

        given = [as_v1(node) for node in nodes_of(module.comfy_entrypoint)]
    if not given:
        raise ImportError("it has no NODE_CLASS_MAPPINGS and no comfy_entrypoint")
    return [V1Class(name, cls, pack, code, title) for name, cls, title in given]
