"""Who may import whom, and what the light processes must never load."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys

import engine
import web
from tests.house.source import ROOT, sources

HEAVY = ("torch", "diffusers", "transformers", "cv2", "scipy")
WITH_TORCH = ("engine.diffusion", "engine.compat.shims")
ENGINE_SECONDS = 0.3
PROBE = """
import importlib, json, sys, time
names = json.loads(sys.argv[1])
started = time.process_time()
for name in names:
    importlib.import_module(name)
print(json.dumps([time.process_time() - started, sorted(sys.modules)]))
"""


def test_the_import_contracts_hold() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_engine_and_web_import_without_torch() -> None:
    names = [m for package in (engine, web) for m in modules(package.__path__, package.__name__ + ".")]
    assert len(names) > 30
    loaded = probe(*names)[1]
    assert [m for m in HEAVY if m in loaded] == []


def test_the_graph_part_of_the_engine_starts_fast() -> None:
    seconds, _ = probe("engine.graph", "engine.workflow", "engine.plan", "engine.events", "engine.jobs.contract")
    assert seconds < ENGINE_SECONDS


def test_help_needs_nothing_but_python() -> None:
    code = "import sys; sys.argv = ['main.py', '--help']; import runpy; runpy.run_path('main.py', run_name='__main__')"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, '.'); {code}"],
                          cwd=ROOT, capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "examples:" in done.stdout


def test_the_walk_over_the_source_sees_the_whole_product() -> None:
    paths = {s.path for s in sources()}
    assert {"main.py", "engine/node.py", "engine/cli/app.py", "web/guard.py"} <= paths


def modules(path: list[str], prefix: str) -> list[str]:
    found = pkgutil.walk_packages(path, prefix)
    return [m.name for m in found if not m.name.startswith(WITH_TORCH) and not m.name.endswith("__main__")]


def probe(*names: str) -> tuple[float, list[str]]:
    """Import `names` in a fresh interpreter; return the CPU seconds that took and all modules then loaded."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps(names)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    seconds, loaded = json.loads(done.stdout)
    return seconds, loaded
