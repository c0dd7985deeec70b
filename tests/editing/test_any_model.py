"""Every editing workflow runs on a random Stable Diffusion 1.x model too, from a folder and from a single file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.events import Event, StepCached, StepProgress, StepStarted
from engine.jobs.execute import Engine
from engine.run import RunResult
from engine.settings import ROOT
from tests.editing.conftest import engine_in

FILES = [f for f in sorted((ROOT / "nodes" / "editing").glob("*.json")) if "nodes" in json.loads(f.read_text())]


FILE, FOLDER = ("load_checkpoint", {"file": "tiny.safetensors"}), ("load_diffusers", {"folder": "tiny"})


def on_tiny(file: Path, loader: tuple[str, dict[str, str]] = FOLDER) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(file.read_text())
    for node in plain["nodes"].values():
        inputs = node["inputs"]
        if node["type"] == "load_embedded":
            node["type"], node["inputs"] = loader
        if "steps" in inputs:
            inputs["steps"] = 2
        if node["type"] == "empty_latent" and (inputs["width"] or loader == FILE):
            inputs["width"], inputs["height"] = 40, 16
        if node["type"] == "fit_to_model" and loader == FILE:  # no file says its size: it is taken for 64 x 64 cells
            inputs["scale"] = 0.25
        if node["type"] == "rank_captions":
            inputs.update(looks=1, keep=2, last_looks=2)
        if node["type"] == "make_list" and inputs["a"] == ["fine", "model"]:
            inputs["a"] = ["loader", "model"]  # the LoRA is of another model
    plain["nodes"].pop("fine", None)
    plain.pop("layout"), plain.pop("form")
    return plain


def learnt(plain: dict[str, Any]) -> dict[str, Any]:
    """Return the editing of real pictures with null text that is learnt, as its help says."""
    nodes = plain["nodes"]
    nodes["empty"] = {"type": "encode_text", "inputs": {"clip": ["loader", "clip"], "text": ""}}
    parts = {"trajectory": ["invert", "trajectory"], "caption": ["source", "conditioning"]}
    more = {"model": ["loader", "model"], "empty": ["empty", "conditioning"], "inner": 2, "tolerance": 0.0,
            "scale": nodes["guider"]["inputs"]["scale"]}  # fmt: skip
    nodes["negative"] = {"type": "null_text_inversion", "inputs": {**parts, **more}}
    nodes["guider"]["inputs"]["negative"] = ["negative", "negative"]
    return plain


CASES = {file.stem: on_tiny(file) for file in FILES}
CASES["null_text, learnt"] = learnt(on_tiny(ROOT / "nodes" / "editing" / "null_text.json"))
each = pytest.mark.parametrize("plain", CASES.values(), ids=list(CASES))


FROM_FILE = {f"{file.stem}, a file": on_tiny(file, FILE) for file in FILES}


@pytest.mark.parametrize("plain", [*CASES.values(), *FROM_FILE.values()], ids=[*CASES, *FROM_FILE])
def test_it_runs(plain: dict[str, Any], engine: Engine) -> None:
    result = engine.run(plain)
    assert [str(p) for p in result.problems] == []
    assert [ref for ui in result.ui.values() for part in ui for ref in part.get("files", [])]


@pytest.mark.parametrize("file", FILES, ids=lambda p: p.stem)
def test_every_prompt_is_written_in_one_place(file: Path) -> None:
    """Else a form would change one of them, and what it says would be done to another."""
    nodes = json.loads(file.read_text())["nodes"].values()
    texts = [v for node in nodes for v in node["inputs"].values() if isinstance(v, str) and len(v.split()) > 2]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("name", ["blended", "diffedit", "sdedit"])
def test_an_edit_can_be_compared_with_what_it_began_from(name: str) -> None:
    types = [node["type"] for node in CASES[name]["nodes"].values()]
    assert types.count("compare_images") == 1


CHANGES: list[tuple[str, str, Any, set[str], set[str]]] = [
    ("diffedit", "mask.grow", 8, {"mask", "keep", "edit"}, {"invert", "contrast", "encode"}),
    ("diffedit", "mask.threshold", 0.6, {"mask", "keep", "edit"}, {"invert", "contrast", "encode"}),
    ("diffedit", "query.text", "a castle on a beach", {"contrast", "mask", "edit"}, {"invert", "encode"}),
    ("null_text", "inject.cross", 0.15, {"inject", "pair"}, {"invert", "align"}),
    ("null_text", "local.threshold", 0.6, {"local", "pair"}, {"invert", "inject"}),
    ("null_text", "guider.scale", 6.0, {"pair"}, {"invert", "inject", "local"}),
    ("prompt_to_prompt", "arrows.words", {"bus": 2.0}, {"arrows", "pair"}, {"inject", "source", "target"}),
    ("prompt_to_prompt", "look.row", 1, {"look"}, {"pair", "before"}),
    ("ddim_inversion", "report.frames", 3, {"report"}, {"invert", "encode"}),
    ("ddib", "translate.guidance_scale", 1.5, {"translate"}, {"invert"}),
    ("ddib", "target.text", "an ink drawing of a house", {"target", "translate"}, {"invert", "encode"}),
    ("ddib_domains", "styles.text", "ink drawing of a house on a beach", {"translate"}, {"invert", "source"}),
    ("color_transfer", "transfer.amount", 0.5, {"transfer"}, {"sampler", "reference"}),
    ("blended", "best.count", 2, {"best"}, {"edit", "blend", "paste", "rank"}),
    ("decoder_refit", "refit.rate", 0.001, {"refit", "sheet"}, {"edit", "plain", "paste"}),
    ("sdedit", "sdedit.seed", 99, {"sdedit"}, {"strokes", "encode"}),
    ("plug_and_play", "plug.features", 0.5, {"plug", "pair"}, {"plain", "source", "target"}),
    ("multidiffusion", "fuse.weight", "ramp", {"fuse", "sample"}, {"left", "right", "sigmas"}),
    ("regions", "bootstrap.until", 0.2, {"bootstrap", "sample"}, {"regions", "sigmas"}),
    ("collage", "guider.scale", 2.5, {"sample"}, {"encode", "words"}),
    ("paint_words", "maps.words", "car", {"maps"}, {"sample", "decode"}),
    ("time_editing", "time.strength", 0.01, {"time", "after"}, {"before", "canvas"}),
    ("time_audit", "audit.looks", 2, {"audit"}, {"time"}),
    ("imagic", "amounts.stop", 1.0, {"between", "sampler"}, {"learn", "tune", "encode"}),
    ("imagic", "sampler.cfg", 4.0, {"sampler"}, {"learn", "tune", "between"}),
    ("diffusion_classifier", "map.opacity", 0.4, {"map"}, {"rank", "where"}),
    ("tree_ring", "noise.seed", 77, {"noise", "sample", "invert"}, {"prompt", "sigmas"}),
    ("tree_ring", "detect.threshold", 0.05, {"detect"}, {"sample", "invert"}),
    ("expert_router", "guider.scale", 2.5, {"sample"}, {"prompt", "sigmas"}),
]


def test_every_method_has_a_change_here() -> None:
    assert {name for name, *_ in CHANGES} == {f.stem for f in FILES}


@pytest.mark.parametrize(("name", "changed", "value", "anew", "kept"), CHANGES, ids=[f"{c[0]}-{c[1]}" for c in CHANGES])
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


MANY_CALLS = {
    "sample", "sample_custom", "sample_edit", "sample_pair", "sample_experts", "sdedit", "ddim_invert", "replay",
    "ddib_translate", "inversion_report", "noise_contrast", "rank_latents", "rank_captions", "caption_matches",
    "optimise_embedding", "finetune_on_picture", "null_text_inversion", "decode_refitted", "edit_audit", "color_bridge",
}  # fmt: skip
"""Nodes that take step after step."""


@pytest.fixture(scope="module")
def another(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine with a cache of its own."""
    yield from engine_in(tmp_path_factory.mktemp("another"))


@each
def test_broken_off_in_each_long_step_and_resumed_it_ends_the_same(
    plain: dict[str, Any], engine: Engine, another: Engine
) -> None:
    types = {name: node["type"] for name, node in plain["nodes"].items()}
    started: list[str] = []
    ever, going, ended = (set[str]() for _ in range(3))

    def watch(event: Event) -> None:
        if isinstance(event, StepStarted):
            started.append(event.node)
            ever.add(event.node)
        if isinstance(event, StepProgress):
            (going if event.done < event.total else ended).add(event.node)

    broken: set[str] = set()
    finished: set[str] = set()
    while True:
        started.clear(), going.clear()
        result = another.run(plain, emit=watch, cancelled=lambda: bool(going - broken))
        assert not finished & set(started)
        if result.state != "cancelled":
            break
        (stopped,) = going - broken
        broken.add(stopped)
        finished |= {n for n in started if n != stopped and not another.registry.specs[types[n]].effect}
    assert result.problems == ()
    long = {name for name in ever if types[name] in MANY_CALLS}  # the rest an earlier workflow has left in the cache
    assert long <= broken
    assert long <= ended
    assert shown(result) == shown(engine.run(plain))


def shown(result: RunResult) -> list[tuple[str, str, list[str]]]:
    """Return node, text and digests of the files of all that a run shows."""
    parts = ((node, part) for node, ui in sorted(result.ui.items()) for part in ui)
    return [(node, part.get("text", ""), [ref["digest"] for ref in part.get("files", [])]) for node, part in parts]


@pytest.mark.parametrize("node", ["learn", "tune"])
def test_learning_goes_on_at_the_step_where_it_was_broken_off(node: str, engine: Engine) -> None:
    plain = on_tiny(ROOT / "nodes" / "editing" / "imagic.json")
    plain["nodes"][node]["inputs"] |= {"steps": 6, "seed": 5}
    done: list[int] = []

    def watch(event: Event) -> None:
        if isinstance(event, StepProgress) and event.node == node:
            done.append(event.done)

    looked = 0

    def cancelled() -> bool:
        nonlocal looked
        looked += bool(done)
        return looked > 3

    assert engine.run(plain, emit=watch, cancelled=cancelled).state == "cancelled"
    assert done[0] == 0
    done.clear()
    assert engine.run(plain, emit=watch).problems == ()
    assert done[0] > 1
    assert done[-1] == 6
