"""Ready-made workflows, and workflows out of files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from engine import examples
from engine.pictures import Format, encode
from tests.web.fakes import WORKFLOW, Served

PNG = encode(np.zeros((4, 4, 3), np.uint8))
FILE = {"format": "sfumato/1", "name": "Numbers", **WORKFLOW}
BINARY = {"Content-Type": "application/octet-stream"}


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "nodes" / "editing"
    folder.mkdir(parents=True)
    monkeypatch.setattr(examples, "SHIPPED", folder.parent)
    (folder / "numbers.json").write_text(json.dumps(FILE))
    (folder / "numbers.md").write_text("# Many numbers\n\nA number\nbecomes text. More of it.\n\nThe end.")
    (folder / "numbers.before.png").write_bytes(PNG)
    (folder / "other.json").write_text('{"a": 1}')
    (folder / "broken.json").write_text("{")
    measured = {"numbers": {"needs": ["a picture"], "seconds": 3, "threads": 2}}
    (folder / "gallery.json").write_text(json.dumps(measured))
    return folder


@pytest.mark.usefixtures("shipped")
async def test_the_gallery_reads_what_lies_beside_the_nodes(served: Served) -> None:
    found = [e for e in await served.json("GET", "/api/examples") if e["group"] == "editing"]
    assert [(e["id"], e["name"], e["sentence"]) for e in found] == [
        ("numbers", "Many numbers", "A number becomes text.")
    ]
    assert found[0]["pictures"] == ["before"]
    assert (found[0]["needs"], found[0]["seconds"], found[0]["threads"]) == (["a picture"], 3.0, 2)
    one = await served.json("GET", "/api/examples/editing/numbers")
    assert one["workflow"]["nodes"] == WORKFLOW["nodes"]
    answer = await served.client.get("/api/examples/editing/numbers/before")
    assert (answer.content_type, await answer.read()) == ("image/png", PNG)


@pytest.mark.parametrize("kept", [{}, {"numbers": 3}, {"numbers": {"needs": 1, "seconds": "x", "threads": None}}])
async def test_what_was_not_measured_is_left_out(served: Served, shipped: Path, kept: object) -> None:
    (shipped / "gallery.json").write_text(json.dumps(kept))
    (found,) = (e for e in await served.json("GET", "/api/examples") if e["group"] == "editing")
    assert (found["needs"], found["seconds"], found["threads"]) == ([], None, None)


async def test_only_what_is_listed_can_be_had(served: Served, shipped: Path) -> None:
    (shipped.parent.parent / "secret.json").write_text(json.dumps(FILE))
    for path in ("editing/other", "editing/nothing", "..%2f/secret", "editing/numbers/after", "editing/numbers/json"):
        await served.json("GET", f"/api/examples/{path}", status=404)


@pytest.mark.parametrize("form", ["png", "webp", "jpeg"])
async def test_a_picture_gives_its_workflow_back(served: Served, form: Format) -> None:
    data = encode(np.zeros((4, 4, 3), np.uint8), form, workflow=FILE)
    found = await served.json("POST", "/api/import", data=data, headers=BINARY)
    assert (found["name"], found["workflow"]) == ("Numbers", FILE)


async def test_json_is_read_whole_or_bare(served: Served) -> None:
    for plain in (FILE, WORKFLOW, WORKFLOW["nodes"]):
        found = await served.json("POST", "/api/import", data=json.dumps(plain), headers=BINARY)
        assert found["workflow"]["nodes"] == WORKFLOW["nodes"]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (PNG, "no workflow in this picture"),
        (b"hello", "neither a picture"),
        (b"[1]", "an object with `nodes`"),
        (b'{"nodes": 1}', "an object of nodes by id"),
        (b'{"format": "sfumato/9", "nodes": {}}', "is unknown"),
        (b"\x89PNG\r\n\x1a\nrest", "PNG"),
    ],
)
async def test_other_files_are_refused_with_a_reason(served: Served, data: bytes, sentence: str) -> None:
    answer = await served.json("POST", "/api/import", status=400, data=data, headers=BINARY)
    assert sentence in answer["error"]["message"]
