"""validate, convert, nodes, queue, models, bench, and how the command line is read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from engine.cli.bench import table
from engine.cli.parser import make_parser, settings_of
from engine.jobs.database import open_ledger
from engine.jobs.ledger import Ledger
from engine.pictures import encode
from tests.cli.conftest import WORKFLOW, Command


def test_validate_lists_every_problem_at_once(command: Command, place: Path) -> None:
    assert command("validate", place / "flow.json")[:2] == (
        0, f"{place / 'flow.json'} is valid: 2 nodes; running it computes keep.\n",
    )  # fmt: skip
    broken = {"a": {"type": "probe_drow"}, "b": {"type": "probe_keep", "inputs": {"text": 7, "txt": "x"}}}
    (place / "bad.json").write_text(json.dumps({"nodes": broken}))
    code, _, err = command("validate", place / "bad.json")
    assert code == 2
    assert "'probe_draw'" in err
    assert "node b" in err


@pytest.mark.parametrize("form", ["png", "webp", "jpeg"])
def test_convert_takes_the_workflow_out_of_a_picture(command: Command, place: Path, form: str) -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    picture = place / f"picture.{form}"
    picture.write_bytes(encode(pixels, form, workflow={"format": "sfumato/1", "name": "mine", "nodes": WORKFLOW}))
    code, out, _ = command("convert", picture)
    assert (code, json.loads(out)) == (0, {"format": "sfumato/1", "name": "mine", "nodes": WORKFLOW})
    assert command("convert", picture, "--out", place / "new.json")[:2] == (0, f"{place / 'new.json'}\n")
    assert (place / "new.json").read_text() == out
    assert command("convert", picture, "--out", place / "no" / "new.json")[0] == 2


def test_a_picture_without_a_workflow_says_so(command: Command, place: Path) -> None:
    (place / "bare.png").write_bytes(encode(np.zeros((8, 8, 3), np.uint8)))
    code, _, err = command("convert", place / "bare.png")
    assert code == 2
    assert "holds no workflow" in err


def test_nodes_lists_and_explains(command: Command) -> None:
    code, out, _ = command("nodes")
    assert code == 0
    assert "probe_draw" in out
    assert "Make a text from a seed." in out
    _, out, _ = command("nodes", "probe_draw")
    assert 'word: STRING; default "x"\n      What to write.' in out
    assert "seed: INT; 0 to 9007199254740991; default 5" in out
    code, _, err = command("nodes", "probe_drew")
    assert code == 3
    assert "'probe_draw'" in err
    assert json.loads(command("nodes", "probe_draw", "--json")[1])["id"] == "probe_draw"


def test_a_pack_that_does_not_load_is_named(command: Command, place: Path) -> None:
    (place / "packs" / "broken.py").write_text("import no_such_module")
    code, _, err = command("nodes")
    assert code == 0
    assert "Node pack broken did not load" in err


def test_the_queue_is_listed_paused_moved_and_cancelled(command: Command, place: Path) -> None:
    (place / "data").mkdir()
    database = open_ledger(place / "data")
    jobs = Ledger(database)
    first, second = (jobs.enqueue({"nodes": WORKFLOW}).id for _ in range(2))
    assert [line.split()[0] for line in command("queue")[1].splitlines()] == [first, second]
    assert command("queue", "move", second[:12], "--before", first)[0] == 0
    assert [j["id"] for j in json.loads(command("queue", "--json")[1])["jobs"]] == [second, first]
    command("queue", "pause")
    assert "paused" in command("queue", "list")[1]
    command("queue", "resume")
    command("queue", "pause", first)
    assert [j.paused for j in jobs.queue().jobs] == [False, True]
    assert command("queue", "cancel", "zz")[0] == 3
    assert command("queue", "cancel", "")[0] == 3
    assert command("queue", "cancel", first)[1] == f"{first} is cancelled.\n"
    assert command("queue", "cancel", "--all")[1] == "Cancelled 1 jobs.\n"
    assert command("queue")[1] == "Nothing runs and nothing waits.\n"
    database.close()


def test_models_says_what_was_recognised_and_why(command: Command) -> None:
    code, out, _ = command("models", "--json")
    found = {m["name"]: m for m in json.loads(out)["models"]}
    assert code == 0
    assert found["bozzetto"]["entries"]
    assert all(entry["why"] for entry in found["bozzetto"]["entries"])


def test_a_table_keeps_every_figure() -> None:
    figures = {"kills": 100, "p50_ms": 1.23456, "sizes": [1, 2], "cold": {"chain": 12345.6}}
    assert list(table(figures)) == ["kills   100", "p50_ms  1.235", "sizes   1, 2", "cold", "  chain  12346"]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("start", "--count", "3"), "counts nothing"),
        (("engine", "--write"), "writes nothing"),
        (("model", "--method", "sdedit"), "no methods"),
        (("methods", "--method", "sdedti"), "prompt_to_prompt"),
    ],
)
def test_a_bench_says_what_it_cannot_do(command: Command, flags: tuple[str, ...], told: str) -> None:
    code, _, err = command("bench", *flags)
    assert code == 2
    assert told in err


def test_settings_come_from_flags_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFUMATO_PORT", "9000")
    monkeypatch.setenv("SFUMATO_BUDGET", "1GiB")
    args = make_parser().parse_args(["serve", "--budget", "4GiB", "--custom-nodes", "a", "--custom-nodes", "b"])
    settings = settings_of(args)
    assert (settings.port, settings.budget) == (9000, 4 * 2**30)
    assert settings.custom_nodes == (Path("a"), Path("b"))
    assert settings.no_token is False


@pytest.mark.parametrize(
    "line", ["run", "fly", "serve --budget lots", "serve --port 99999", "run x --nope", "run x --repeat 0"]
)
def test_a_wrong_command_line_gives_2(command: Command, line: str) -> None:
    code, _, err = command(*line.split())
    assert code == 2
    assert "main.py" in err


def test_a_folder_that_cannot_be_made_is_named(command: Command, place: Path) -> None:
    code, _, err = command("queue", "--data-dir", place / "flow.json" / "data")
    assert code == 2
    assert err.startswith(str(place / "flow.json"))
