"""`main.py run`: results, overrides, repeats, failures, cancelling and exit codes."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path

import pytest

from engine.cli.run import overrides
from engine.errors import BadInput
from tests.cli.conftest import WORKFLOW, Command


def flow(place: Path, **nodes: object) -> Path:
    path = place / "changed.json"
    path.write_text(json.dumps({"nodes": {**WORKFLOW, **nodes}}))
    return path


def test_a_run_prints_the_path_and_what_each_node_took(command: Command, place: Path) -> None:
    code, out, err = command("run", place / "flow.json")
    path = Path(out.splitlines()[0])
    assert (code, path.read_text(), path.parent) == (0, "w5", place / "out")
    assert "draw: 0.0" in err
    assert "done in" in err
    assert "2 nodes ran, 0 were cached" in err


def test_json_is_one_object_and_nothing_else(command: Command, place: Path) -> None:
    code, out, err = command("run", place / "flow.json", "--json", "--set", "draw.seed=7", "--set", "draw.word=red car")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert found.keys() == {"state", "seconds", "outputs", "ran", "cached", "problems"}
    file, text = found["outputs"]
    assert Path(file["path"]).read_text() == "red car7"
    assert (file["node"], text) == ("keep", {"node": "keep", "text": "red car7"})


def test_repeat_raises_every_seed_by_one(command: Command, place: Path) -> None:
    _, out, _ = command("run", place / "flow.json", "--repeat", "3", "--json", "--out", place / "elsewhere")
    texts = [o["text"] for o in json.loads(out)["outputs"] if "text" in o]
    assert texts == ["w5", "w6", "w7"]
    assert sorted(p.read_text() for p in (place / "elsewhere").glob("note_*.txt")) == texts


def test_a_second_run_takes_finished_nodes_from_the_cache(command: Command, place: Path) -> None:
    command("run", place / "flow.json")
    _, out, _ = command("run", place / "flow.json", "--json")
    assert json.loads(out)["cached"] >= 1


def test_only_computes_the_named_node(command: Command, place: Path) -> None:
    _, out, _ = command("run", place / "flow.json", "--only", "draw", "--json")
    found = json.loads(out)
    assert (found["ran"], found["outputs"]) == (1, [])


def test_a_failing_node_gives_its_sentence_and_1(command: Command, place: Path) -> None:
    path = flow(place, bad={"type": "probe_break", "inputs": {"text": ["draw", "string"]}})
    code, _, err = command("run", path, "--only", "bad")
    assert code == 1
    assert "node bad" in err
    assert "This text will not do." in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [("drawn.seed=1", "'draw'"), ("draw.sed=1", "'seed'"), ("draw.seed=-1", "from 0 to"), ("seed", "NODE.INPUT=VALUE")],
)
def test_a_wrong_override_is_explained_and_gives_2(command: Command, place: Path, argument: str, sentence: str) -> None:
    code, _, err = command("run", place / "flow.json", "--set", argument)
    assert code == 2
    assert sentence in err


def test_a_missing_file_names_the_nearest_and_gives_3(command: Command, place: Path) -> None:
    code, _, err = command("run", place / "flaw.json")
    assert code == 3
    assert "'flow.json'" in err


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "7", '{"format": "sfumato/999", "nodes": {}}', '{"nodes": {}}'])
def test_what_is_no_workflow_gives_2(command: Command, place: Path, text: str) -> None:
    (place / "bad.json").write_text(text)
    code, _, err = command("run", place / "bad.json")
    assert code == 2
    assert err
    assert "Traceback" not in err


def test_ctrl_c_cancels_and_keeps_what_has_finished(command: Command, place: Path) -> None:
    path = flow(place, wait={"type": "probe_wait", "inputs": {"text": ["draw", "string"]}})
    before = signal.getsignal(signal.SIGINT)
    timer = threading.Timer(2.0, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    code, _, err = command("run", path, "--only", "wait")
    timer.join()
    assert code == 130
    assert "Cancelling" in err
    assert signal.getsignal(signal.SIGINT) is before
    _, out, _ = command("run", path, "--only", "draw", "--json")
    assert json.loads(out)["cached"] == 1


def test_values_are_json_or_else_text() -> None:
    given = ["a.b=7", 'a.c="7"', "a.d=seven", "a.e=[1,2]", "a.f=x=y", "a.g=", "s/b.h=true"]
    assert overrides(given) == {
        "a.b": 7, "a.c": "7", "a.d": "seven", "a.e": [1, 2], "a.f": "x=y", "a.g": "", "s/b.h": True,
    }  # fmt: skip
    with pytest.raises(BadInput, match=r"NODE\.INPUT=VALUE"):
        overrides(["steps=3"])
