"""Nodes are found; packs that fail harm no other."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from engine import registry
from engine.context import Context
from engine.registry import Registry
from engine.settings import Settings
from tests.engine import lab

PACK = '''
from engine.node import node
from engine.types import Record
from dataclasses import dataclass


@dataclass(frozen=True)
class Own(Record):
    number: int


@node(category="pack")
def {name}() -> int:
    """A node of a pack."""
    return {value}
'''


@pytest.fixture
def packs(tmp_path: Path) -> Path:
    folder = tmp_path / "packs"
    for name, body in {
        "good/__init__.py": "from .deep.more import more\n",
        "good/A.py": PACK.format(name="a", value=1) + "from .deep import more as module\n",
        "good/deep/more.py": PACK.format(name="more", value=2),
        "good/.hidden/x.py": "raise ValueError",
        "single.py": PACK.format(name="single", value=3),
        "raises/x.py": "raise ValueError('broken')",
        "leaves.py": "raise SystemExit(3)",
        "twice.py": PACK.format(name="single", value=4),
        "_private.py": "raise ValueError",
        ".git/x.py": "raise ValueError",
        "notes.txt": "",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(body)
    return folder


@pytest.fixture
def settings(packs: Path, tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", custom_nodes=(packs, tmp_path / "missing"))


def test_packs_are_loaded_or_explained(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    """Folders and single files; hidden and private ones are left alone; a failed pack leaves nothing behind."""
    loaded = registry.load(settings)
    assert {"a", "more", "single", "if_else"} <= loaded.specs.keys()
    assert loaded.failed.keys() == {"raises", "leaves", "twice"}
    assert "ValueError: broken" in loaded.failed["raises"]
    assert "the node id 'single' is already taken by single" in loaded.failed["twice"]
    assert "custom_nodes.raises.x" not in sys.modules
    assert loaded.specs["more"].pack == "good"
    assert loaded.functions["more"](Context()) == 2
    assert sys.modules["custom_nodes.good.A"].module is sys.modules["custom_nodes.good.deep.more"]
    assert "node pack raises failed to load" in caplog.text


def test_a_taken_id_is_an_error() -> None:
    made = Registry()
    made.add(lab.const)
    with pytest.raises(ValueError, match="'const' is already taken by a built-in node"):
        made.add(lab.const)


def test_code_that_cannot_be_a_module_is_refused(tmp_path: Path) -> None:
    made = Registry()
    (tmp_path / "pack.txt").write_text("")
    made.add_pack(tmp_path / "pack.txt")
    assert "is not a Python module" in made.failed["pack"]


def test_helpers_count_as_code(tmp_path: Path) -> None:
    """What a file is called counts as well as what is in it."""
    a, b = tmp_path / "a.py", tmp_path / "b.py"
    a.write_text("1")
    b.write_text("1")
    digest = registry.digest_of_code(a)
    assert digest == registry.digest_of_code(a) != registry.digest_of_code(b)
    a.write_text("2")
    assert registry.digest_of_code(a) != digest
    assert registry.digest_of_code(tmp_path) != registry.digest_of_code(a, b)


def test_the_catalogue_is_cached_by_its_source(settings: Settings, packs: Path) -> None:
    """A changed pack makes a new one due; so does a damaged file."""
    assert registry.read_catalogue(settings) is None
    written = registry.write_catalogue(settings, registry.load(settings))
    assert registry.read_catalogue(settings) == json.loads(json.dumps(written))
    assert registry.specs_of(written)["single"].doc == "A node of a pack."
    assert next(t["color"] for t in written["types"] if t["socket"] == "IMAGE") == "blue"
    assert [f["pack"] for f in written["failed"]] == ["leaves", "raises", "twice"]
    registry.catalogue_path(settings).write_text("[]")
    assert registry.read_catalogue(settings) is None
    registry.catalogue_path(settings).write_text("{")
    assert registry.read_catalogue(settings) is None
    registry.write_catalogue(settings, registry.load(settings))
    (packs / "single.py").write_text(PACK.format(name="renamed", value=1))
    assert registry.read_catalogue(settings) is None
    assert registry.read_catalogue(replace(settings, custom_nodes=())) is None
