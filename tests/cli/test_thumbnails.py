"""The gallery's pictures: which ones, how small, and what is written down."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pil

from engine import examples
from engine.cli.thumbnails import BYTES_MAX, needed, pictured, small
from engine.errors import BadInput
from engine.pictures import encode
from engine.settings import ROOT
from engine.workflow import Link
from tests.cli.conftest import Command
from tests.nodes.test_conformance import registry

PHOTO = {"type": "load_image", "inputs": {"file": "house_on_beach.png"}}


def shows(*links: list[str], **more: Any) -> dict[str, Any]:
    saves = {f"save{n}": {"type": "save_image", "inputs": {"image": link}} for n, link in enumerate(links)}
    return {"format": "sfumato/1", "nodes": {"photo": PHOTO, **saves}, **more}


def pair(a: list[str], b: list[str]) -> dict[str, Any]:
    return {"type": "side_by_side", "inputs": {"a": a, "b": b}}


def test_the_first_picture_that_is_saved_and_the_one_that_was_loaded() -> None:
    plain = shows(["blur", "image"], ["photo", "image"])
    plain["nodes"]["blur"] = {"type": "invert_image", "inputs": {"image": ["photo", "image"]}}
    found = pictured(plain, registry().specs)
    assert found == {"before": Link("photo", "image"), "after": Link("blur", "image")}


def test_pictures_side_by_side_are_taken_apart() -> None:
    plain = shows(["all", "image"])
    plain["nodes"] |= {
        "two": pair(["photo", "image"], ["map", "image"]),
        "all": pair(["two", "image"], ["after", "image"]),
        "map": PHOTO,
        "after": PHOTO,
    }
    assert pictured(plain, registry().specs) == {"before": Link("photo", "image"), "after": Link("after", "image")}


def test_a_file_may_say_which() -> None:
    plain = shows(["photo", "image"], thumbnail={"after": ["other", "image"]})
    assert pictured(plain, registry().specs)["after"] == Link("other", "image")


def test_a_workflow_without_pictures_is_refused() -> None:
    with pytest.raises(BadInput, match="saves no picture"):
        pictured(shows(), registry().specs)


def test_what_people_have_to_bring() -> None:
    plain = shows()
    plain["nodes"] |= {
        "mask": PHOTO,
        "other": {"type": "load_mask", "inputs": {"file": "a.png"}},
        "loader": {"type": "load_embedded", "inputs": {}},
        "winter": {"type": "load_lora", "inputs": {"file": "bozzetto/winter.safetensors"}},
        "own": {"type": "load_lora", "inputs": {"file": "mine.safetensors"}},
        "group": {"type": "subgraph/x", "inputs": {}},
    }
    assert list(needed(plain, registry().specs)) == ["a picture", "a mask", "a mask", "loras: mine.safetensors"]


def test_even_noise_becomes_small_enough() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (600, 400, 3), np.uint8)
    data = small(encode(noise))
    assert len(data) <= BYTES_MAX
    assert Pil.open(io.BytesIO(data)).size == (171, 256)


def test_a_run_leaves_pictures_and_figures_beside_the_file(command: Command, tmp_path: Path) -> None:
    plain = json.loads((ROOT / "nodes" / "basics" / "inpaint.json").read_text())
    plain["nodes"]["sampler"]["inputs"]["steps"] = 1
    path = tmp_path / "inpaint.json"
    path.write_text(json.dumps(plain))
    code, out, err = command("thumbnails", path)
    assert (code, err) == (0, "")
    assert "needs a mask, a picture" in out
    assert [which for which, _ in examples.pictures(path)] == ["before", "after"]
    kept = json.loads((tmp_path / "gallery.json").read_text())["inpaint"]
    assert kept["needs"] == ["a mask", "a picture"]
    assert kept["seconds"] > 0
    (tmp_path / "none.json").write_text("{}")
    code, out, err = command("thumbnails", tmp_path / "none.json", path)
    assert (code, err) == (1, f"{tmp_path / 'none.json'}: This is no workflow of Sfumato.\n")
    assert "needs a mask" in out
