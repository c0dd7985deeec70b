"""Every editing workflow runs on a random Stable Diffusion 1.x model too: nothing in it is of one family."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.events import Event, StepCached, StepProgress, StepStarted
from engine.jobs.execute import Engine
from engine.settings import ROOT

FILES = [f for f in sorted((ROOT / "nodes" / "editing").glob("*.json")) if "nodes" in json.loads(f.read_text())]


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


CHANGES: list[tuple[str, str, Any, set[str], set[str]]] = [
    ("diffedit", "mask.grow", 0, {"mask", "keep", "edit"}, {"invert", "contrast", "encode"}),
    ("diffedit", "mask.threshold", 0.6, {"mask", "keep", "edit"}, {"invert", "contrast", "encode"}),
    ("null_text", "inject.cross", 0.15, {"inject", "pair"}, {"invert", "align"}),
    ("null_text", "local.threshold", 0.6, {"local", "pair"}, {"invert", "inject"}),
    ("prompt_to_prompt", "arrows.words", {"bus": 2.0}, {"arrows", "pair"}, {"inject", "source", "target"}),
    ("prompt_to_prompt", "look.row", 1, {"look"}, {"pair", "before"}),
    ("ddim_inversion", "report.frames", 3, {"report"}, {"invert", "encode"}),
    ("ddib", "translate.guidance_scale", 1.5, {"translate"}, {"invert"}),
    ("ddib_domains", "styles.text", "ink drawing of a house on a beach", {"translate"}, {"invert", "source"}),
    ("color_transfer", "transfer.amount", 0.5, {"transfer"}, {"sampler", "reference"}),
    ("blended", "rank.samples", 3, {"rank"}, {"edit", "blend"}),
    ("decoder_refit", "refit.rate", 0.001, {"refit", "sheet"}, {"edit", "plain", "paste"}),
    ("sdedit", "sdedit.seed", 99, {"sdedit"}, {"strokes", "encode"}),
    ("plug_and_play", "plug.features", 0.5, {"plug", "pair"}, {"plain", "source", "target"}),
    ("multidiffusion", "fuse.weight", "ramp", {"fuse", "sample"}, {"left", "right", "sigmas"}),
    ("collage", "guider.scale", 2.5, {"sample"}, {"encode", "words"}),
    ("paint_words", "maps.words", "car", {"maps"}, {"sample", "decode"}),
    ("time_editing", "time.strength", 0.01, {"time", "after"}, {"before", "canvas"}),
    ("time_audit", "audit.looks", 2, {"audit"}, {"time"}),
    ("imagic", "amounts.stop", 1.0, {"between", "sampler"}, {"learn", "tune", "encode"}),
    ("imagic", "sampler.cfg", 4.0, {"sampler"}, {"learn", "tune", "between"}),
    ("diffusion_classifier", "map.opacity", 0.4, {"map"}, {"rank", "where"}),
    ("tree_ring", "noise.seed", 77, {"noise", "sample", "invert"}, {"prompt", "sigmas"}),
    ("expert_router", "guider.scale", 2.5, {"sample"}, {"prompt", "sigmas"}),
]


def test_every_method_has_a_change_here() -> None:
    assert {name for name, *_ in CHANGES} | {"regions"} == {f.stem for f in FILES}


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


LONG = [
    ("blended", "edit"), ("blended", "rank"), ("collage", "sample"), ("color_transfer", "transfer"),
    ("ddib", "translate"), ("ddim_inversion", "invert"), ("diffedit", "contrast"), ("diffusion_classifier", "rank"),
    ("expert_router", "sample"), ("imagic", "learn"), ("imagic", "tune"), ("multidiffusion", "sample"),
    ("paint_words", "sample"), ("plug_and_play", "pair"), ("prompt_to_prompt", "pair"), ("sdedit", "sdedit"),
    ("time_audit", "audit"), ("tree_ring", "invert"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "node"), LONG)
def test_long_steps_can_be_cancelled_and_resumed(name: str, node: str, engine: Engine) -> None:
    plain = on_tiny(ROOT / "nodes" / "editing" / f"{name}.json")
    for each in plain["nodes"].values():  # what no other test has run
        if "steps" in each["inputs"]:
            each["inputs"]["steps"] = 7 + LONG.index((name, node))
        if each["type"] in ("rank_captions", "rank_latents", "noise_contrast"):
            each["inputs"]["seed"] = 99 + LONG.index((name, node))
    started: list[str] = []

    def watch(event: Event) -> None:
        if isinstance(event, StepStarted):
            started.append(event.node)

    assert engine.run(plain, emit=watch, cancelled=lambda: node in started).state == "cancelled"
    assert started[-1] == node
    before = {n for n in started if n != node and plain["nodes"][n]["type"] != "save_image"}  # that runs in every job
    started.clear()
    assert engine.run(plain, emit=watch).problems == ()
    assert node in started
    assert not before & set(started)


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
