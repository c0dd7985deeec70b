"""A node pack and data folder of their own, so that commands run in this process without touching anything else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.cli.app import start

PACK = '''
import time

from engine.context import Context
from engine.errors import BadInput
from engine.node import Seed, node
from engine.types import Saved


@node(category="probe")
def probe_draw(seed: Seed = 5, word: str = "x") -> str:
    """Make a text from a seed.

    Args:
        word: What to write.
    """
    return f"{word}{seed}"


@node(category="probe")
def probe_break(text: str) -> str:
    """Fail on purpose."""
    raise BadInput("This text will not do.", field="text")


@node(category="probe")
def probe_wait(ctx: Context, text: str) -> str:
    """Wait until cancelled."""
    for second in range(60_000):
        ctx.progress(second, 60_000)
        time.sleep(0.001)
    return text


@node(category="probe", effect=True)
def probe_keep(ctx: Context, text: str) -> Saved:
    """Save a text."""
    return Saved("text", (ctx.files.save(text.encode(), prefix="note", suffix="txt", media="text/plain"),), text)
'''
WORKFLOW = {
    "draw": {"type": "probe_draw", "inputs": {"word": "w"}},
    "keep": {"type": "probe_keep", "inputs": {"text": ["draw", "string"]}},
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a pack, a workflow and settings that keep all else inside it."""
    (tmp_path / "packs").mkdir()
    (tmp_path / "packs" / "probe.py").write_text(PACK)
    (tmp_path / "flow.json").write_text(json.dumps({"nodes": WORKFLOW}))
    for name, folder in {"DATA_DIR": "data", "OUTPUT_DIR": "out", "CUSTOM_NODES": "packs"}.items():
        monkeypatch.setenv(f"SFUMATO_{name}", str(tmp_path / folder))
    monkeypatch.setenv("SFUMATO_NO_BOOTSTRAP", "1")
    return tmp_path


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(place: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command line in this process; gives exit code, standard output and standard error."""

    def run(*argv: Any) -> tuple[int, str, str]:
        try:
            code = start([str(a) for a in argv])
        except SystemExit as end:
            code = int(end.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run
