"""The workflows beside the nodes: each is valid, explained, laid out, and runs.

They run on the embedded model, or on tiny random ones in place of the checkpoints that people bring.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch

from engine import graph, pictures, workflow
from engine.jobs.execute import Engine
from engine.settings import ROOT, Settings
from nodes.basics._pixels import resample
from tests.diffusion_models import tiny, zoo
from tests.nodes.test_conformance import registry

FILES = sorted(
    p for p in (ROOT / "nodes").rglob("*.json") if json.loads(p.read_text()).get("format", "").startswith("sfumato/")
)
OWN = {
    "sd_xl_base_1.0": "sdxl", "sd_xl_refiner_1.0": "sdxl refiner", "sd-v1-5-inpainting": "sd1 inpaint",
    "instruct-pix2pix-00-22000": "sd1 instruct",
}  # fmt: skip
"""People's own checkpoints -> the tiny models in their place."""

each = pytest.mark.parametrize("file", FILES, ids=lambda p: p.stem)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("ready_made")
    for name, kind in OWN.items():
        tiny.write_file(folder / "models" / "checkpoints" / f"{name}.safetensors", zoo.ldm_state(kind))
    places = {f"{name}_dir": folder / name for name in ("data", "output", "models")}
    made = Engine(Settings(**places, custom_nodes=()))
    yield made
    made.close()


def read(file: Path) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(file.read_text())
    return plain


@each
def test_it_is_valid_as_a_whole(file: Path) -> None:
    built = graph.build(workflow.parse(read(file)), registry().specs, whole=True)
    assert set(built.nodes) == set(read(file)["nodes"])


@each
def test_it_is_explained_and_laid_out(file: Path) -> None:
    plain = read(file)
    assert file.with_suffix(".md").read_text().startswith(f"# {plain['name']}\n\n")
    assert set(plain["layout"]["nodes"]) == set(plain["nodes"])
    places = [(n["x"], n["y"]) for n in plain["layout"]["nodes"].values()]
    assert len(set(places)) == len(places)
    for entry in plain["form"]:
        spec = registry().specs[plain["nodes"][entry["node"]]["type"]]
        assert spec.input(entry["input"]), entry
        assert entry["label"]


@each
def test_it_runs(file: Path, engine: Engine) -> None:
    plain = with_few_steps(read(file))
    if any(node["type"] == "load_checkpoint" for node in plain["nodes"].values()):
        make_small(plain)
    result = engine.run(plain)
    assert [str(p) for p in result.problems] == []
    parts = (part for ui in result.ui.values() for part in ui if part["ui"] == "images")
    shown = [ref for part in parts for ref in part["files"]]
    assert shown
    for ref in shown:
        data = engine.files.open(ref["digest"])[0].read_bytes()
        assert pictures.decode(data).rgb.std() > 0.01
        assert pictures.embedded_workflow(data) is not None


def with_few_steps(plain: dict[str, Any]) -> dict[str, Any]:
    plain = deepcopy(plain)
    for node in plain["nodes"].values():
        if "steps" in node["inputs"]:
            node["inputs"]["steps"] = 2
    return plain


def make_small(plain: dict[str, Any]) -> None:
    """Make pictures of 32 pixels where a tiny random model's own size would take long."""
    small = {"fit_to_model": {"scale": 0.25}, "empty_latent": {"width": 32, "height": 32}}
    for node in plain["nodes"].values():
        node["inputs"] |= small.get(node["type"], {})


def test_outpainting_leaves_the_old_picture_alone(engine: Engine) -> None:
    plain = with_few_steps(read(ROOT / "nodes" / "basics" / "outpaint.json"))
    result = engine.run(plain)
    (ref,) = (ref for ui in result.ui.values() for part in ui for ref in part["files"])
    got = torch.from_numpy(pictures.decode(engine.files.open(ref["digest"])[0].read_bytes()).rgb)
    whole = torch.from_numpy(pictures.decode(engine.files.find("input", "house_on_beach.png").read_bytes()).rgb)
    side, pad = got.shape[0], plain["nodes"]["pad"]["inputs"]
    old = resample(whole[None], side, side)[0]
    kept = side - pad["feather"]
    assert got.shape == (side, side + pad["right"], 3)
    assert (got[:, :kept] - old[:, :kept]).abs().max() < 1 / 255
    assert (got[:, side:] - old[:, -1:]).abs().mean() > 0.01  # more than the edge drawn out
