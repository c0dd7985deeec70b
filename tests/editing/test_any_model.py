"""Every editing workflow runs on a random Stable Diffusion 1.x model too: nothing in it is of one family."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.jobs.execute import Engine
from engine.settings import ROOT, Settings
from tests.diffusion_models import tiny

FILES = sorted((ROOT / "nodes" / "editing").glob("*.json"))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("any_model")
    tiny.write_folder(folder / "models" / "diffusers" / "tiny")
    made = Engine(
        Settings(
            data_dir=folder / "data", output_dir=folder / "output", models_dir=folder / "models", custom_nodes=()
        )
    )
    yield made
    made.close()


def on_tiny(file: Path) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(file.read_text())
    for node in plain["nodes"].values():
        inputs = node["inputs"]
        if node["type"] == "load_embedded":
            node["type"], node["inputs"] = "load_diffusers", {"folder": "tiny"}
        if "steps" in inputs:
            inputs["steps"] = 2
        if node["type"] == "empty_latent" and inputs["width"]:
            inputs["width"], inputs["height"] = 40, 16
        if node["type"] == "rank_captions":
            inputs.update(looks=1, keep=2, last_looks=2)
        if node["type"] == "make_list" and inputs["a"] == ["fine", "model"]:
            inputs["a"] = ["loader", "model"]  # the LoRA is of another model
    plain["nodes"].pop("fine", None)
    plain.pop("layout"), plain.pop("form")
    return plain


@pytest.mark.parametrize("file", FILES, ids=lambda p: p.stem)
def test_it_runs(file: Path, engine: Engine) -> None:
    result = engine.run(on_tiny(file))
    assert [str(p) for p in result.problems] == []
    assert [ref for ui in result.ui.values() for part in ui for ref in part.get("files", [])]
