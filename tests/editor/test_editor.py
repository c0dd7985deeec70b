"""The editor's own checks: types, lint, unit tests, the built bundle, and journeys in Chromium where there is one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine.settings import ROOT

EDITOR = ROOT / "web" / "editor"
NPM = shutil.which("npm")
NODE_MIN = (20, 19)
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")


def node_version() -> tuple[int, ...]:
    """Return Node's version as numbers; () where there is none."""
    node = shutil.which("node")
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout if node else ""
    return tuple(map(int, re.findall(r"\d+", said)))


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(NPM is None or node_version() < NODE_MIN, reason="needs npm and Node.js 20.19 or newer"),
]


@pytest.fixture(scope="session")
def packages() -> None:
    """The pinned packages, installed once; a browser of Playwright's own is never downloaded."""
    if not (EDITOR / "node_modules" / ".package-lock.json").is_file():
        npm("ci")


def npm(*words: str) -> None:
    """Run npm in the editor's folder; its output is the failure's text."""
    assert NPM is not None
    env = {**os.environ, "PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD": "1", "SFUMATO_PYTHON": sys.executable, "CI": "1"}
    done = subprocess.run([NPM, *words], cwd=EDITOR, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"npm {' '.join(words)}:\n{done.stdout[-6000:]}\n{done.stderr[-3000:]}"


@pytest.mark.usefixtures("packages")
def test_types_and_style() -> None:
    """tsc and biome find nothing."""
    npm("run", "check")


@pytest.mark.usefixtures("packages")
def test_units() -> None:
    """The unit and property tests of the graph, the stores and the widgets."""
    npm("test")


@pytest.mark.usefixtures("packages")
def test_the_committed_bundle_is_what_the_source_builds(tmp_path: Path) -> None:
    """Built again, every file of web/static is the same to the byte."""
    npm("run", "build", "--", "--outDir", str(tmp_path / "static"), "--emptyOutDir")
    assert files(tmp_path / "static") == files(ROOT / "web" / "static")


@pytest.mark.usefixtures("packages")
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing: install Debian's package chromium for browser tests")
def test_journeys() -> None:
    """What people do in the editor, against the real server with fast fake nodes."""
    npm("run", "e2e")


def files(folder: Path) -> dict[str, bytes]:
    """Return every file's content by its name."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
