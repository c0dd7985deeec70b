"""Every editing workflow runs on a random Stable Diffusion 1.x model too: nothing in it is of one family."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.events import Event, StepCached, StepStarted
from engine.jobs.execute import Engine
from engine.settings import ROOT, Settings
from tests.diffusion_models import tiny

FILES = sorted((ROOT / "nodes" / "editing").glob("*.json"))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("any_model")
    tiny.write_folder(folder / "models" / "diffusers" / "tiny")
    made = Engine(
        Settings(data_dir=folder / "data", output_dir=folder / "output", models_dir=folder / "models", custom_nodes=())
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


CHANGES = [
    ("diffedit", "mask.grow", 0, {"mask", "keep", "edit"}, {"invert", "contrast", "encode"}),
    ("null_text", "inject.cross", 0.15, {"inject", "pair"}, {"invert", "align"}),
    ("ddib", "translate.guidance_scale", 1.5, {"translate"}, {"invert"}),
    ("blended", "rank.samples", 3, {"rank"}, {"edit", "blend"}),
]


@pytest.mark.parametrize(("name", "changed", "value", "anew", "kept"), CHANGES, ids=lambda v: str(v)[:20])
def test_what_does_not_depend_on_a_change_comes_from_the_cache(
    name: str, changed: str, value: float, anew: set[str], kept: set[str], engine: Engine
) -> None:
    plain = on_tiny(ROOT / "nodes" / "editing" / f"{name}.json")
    engine.run(plain)
    events: list[Event] = []
    node, _, field = changed.partition(".")
    plain["nodes"][node]["inputs"][field] = value
    assert engine.run(plain, emit=events.append).problems == ()
    ran = {e.node for e in events if isinstance(e, StepStarted)}
    assert anew <= ran
    assert not kept & ran
    assert kept <= {e.node for e in events if isinstance(e, StepCached)}


@pytest.mark.parametrize(("name", "node"), [("ddim_inversion", "invert"), ("prompt_to_prompt", "pair"),
                                            ("diffusion_classifier", "rank")])  # fmt: skip
def test_long_steps_can_be_cancelled_and_resumed(name: str, node: str, engine: Engine) -> None:
    plain = on_tiny(ROOT / "nodes" / "editing" / f"{name}.json")
    plain["nodes"][node]["inputs"] |= {"seed": 99} if name == "diffusion_classifier" else {}
    for each in plain["nodes"].values():
        if "steps" in each["inputs"]:
            each["inputs"]["steps"] = 7
    started: list[str] = []

    def watch(event: Event) -> None:
        if isinstance(event, StepStarted):
            started.append(event.node)

    assert engine.run(plain, emit=watch, cancelled=lambda: node in started).state == "cancelled"
    assert started[-1] == node
    before = set(started) - {node}
    started.clear()
    assert engine.run(plain, emit=watch).problems == ()
    assert node in started
    assert not before & set(started)
