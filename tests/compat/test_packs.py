"""Packs: code runs only once a person has said so; one that fails says why and harms nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from engine.compat import packs
from engine.errors import BadInput, NotFound
from engine.settings import Settings

GOOD = """
class Good:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}
    RETURN_TYPES = ("INT",)
    FUNCTION = "run"
    def run(self):
        return (1,)

NODE_CLASS_MAPPINGS = {"GoodOfTest": Good}
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    place = tmp_path / "packs"
    (place / "good").mkdir(parents=True)
    (place / "good" / "__init__.py").write_text(GOOD)
    (place / "bad.py").write_text("import a_module_that_is_nowhere\nNODE_CLASS_MAPPINGS = {}\n")
    (place / "ours.py").write_text("'''No pack of ComfyUI.'''\n")
    return Settings(data_dir=tmp_path / "data", output_dir=tmp_path / "out", custom_nodes=(place,))


def test_nothing_of_a_pack_runs_before_it_is_trusted(settings: Settings) -> None:
    marker = settings.custom_nodes[0] / "good" / "__init__.py"
    marker.write_text("import sys\nsys.modules['a_pack_has_run'] = sys\n" + GOOD)
    registry = packs.load_all(settings)
    assert "a_pack_has_run" not in sys.modules
    assert "packs trust good" in registry.failed["good"]
    assert [(p.name, p.trusted) for p in packs.listed(settings)] == [("bad", False), ("good", False)]


def test_a_pack_that_hides_what_it_exports_is_known_too(settings: Settings) -> None:
    file = settings.custom_nodes[0] / "good" / "__init__.py"
    file.write_text("import sys\nsys.modules['a_pack_has_run'] = sys\nfrom .inner import *\n")
    (file.parent / "inner.py").write_text(GOOD)
    assert "packs trust good" in packs.load_all(settings).failed["good"]
    assert "a_pack_has_run" not in sys.modules


def test_a_trusted_pack_loads_and_one_that_fails_says_why(settings: Settings) -> None:
    for name in ("good", "bad"):
        packs.trust(settings, name)
    registry = packs.load_all(settings)
    assert registry.failed == {"bad": "ModuleNotFoundError: No module named 'a_module_that_is_nowhere'"}
    assert "GoodOfTest" in registry.specs
    assert "KSampler" in registry.specs


def test_changed_files_are_trusted_anew(settings: Settings) -> None:
    seen = packs.trust(settings, "good")
    assert seen.trusted
    (settings.custom_nodes[0] / "good" / "more.py").write_text("x = 1\n")
    assert "changed since" in packs.load_all(settings).failed["good"]
    with pytest.raises(BadInput, match="look again"):
        packs.trust(settings, "good", digest=seen.digest)
    assert packs.trust(settings, "good").trusted
    assert not packs.distrust(settings, "good").trusted


def test_an_unknown_pack_is_a_sentence(settings: Settings) -> None:
    with pytest.raises(NotFound, match="Did you mean 'good'"):
        packs.trust(settings, "goood")


def test_a_pack_cannot_take_the_place_of_a_core_class(settings: Settings) -> None:
    file = settings.custom_nodes[0] / "good" / "__init__.py"
    file.write_text(GOOD.replace("GoodOfTest", "KSampler"))
    packs.trust(settings, "good")
    registry = packs.load_all(settings)
    assert "KSampler" not in registry.classes
    assert registry.specs["KSampler"].category.startswith("comfyui/")
