"""How fast the graph editor opens and moves graphs, how large it is, and what it keeps in memory; in Chromium.

The server is the real one. `web/editor/e2e/bench` drives the browser by its pointer, as a person would. ComfyUI's own
frontend can be measured in the same run, on graphs of the same nodes, values and links, as a black box.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from engine.bench.editor_graphs import definitions, foreign, graph
from engine.bench.start import started
from engine.errors import Unavailable
from engine.settings import ROOT

SIZES = (50, 500, 2_000)
TOGGLES = 50
EDITOR = ROOT / "web" / "editor"
PATIENCE_S = 600
COMFYUI = "comfyui-frontend-package==1.58.1"


def run(*, comfyui: bool = False) -> dict[str, Any]:
    """Measure the editor and, if asked for, ComfyUI's frontend, which is installed for the time of the run."""
    node, chromium = shutil.which("node"), os.environ.get("CHROMIUM") or shutil.which("chromium")
    if node is None or chromium is None or not (EDITOR / "node_modules").is_dir():
        raise Unavailable("bench editor needs Chromium, Node.js and the editor's packages: `npm ci` in web/editor.")
    graphs = {size: graph(size) for size in SIZES}
    with tempfile.TemporaryDirectory() as folder, started(Path(folder)) as server:
        server.seconds_until(server.has_catalogue)
        url = server.url + server.post("/api/session/link")["path"]
        orders: dict[str, Any] = {"sfumato": {"url": url, "graphs": graphs, "toggles": TOGGLES}}
        if comfyui:
            used = {node["type"] for plain in graphs.values() for node in plain["nodes"].values()}
            specs = {spec["id"]: spec for spec in server.get("/api/nodes")["nodes"] if spec["id"] in used}
            orders["comfyui"] = _comfyui(Path(folder), graphs, specs)
        figures = _driven(node, chromium, {name: order for name, order in orders.items() if "failed" not in order})
    refused = {name: order for name, order in orders.items() if "failed" in order}
    return {**figures.pop("sfumato"), **refused, **figures}


def _comfyui(folder: Path, graphs: dict[int, Any], specs: dict[str, Any]) -> dict[str, Any]:
    """Install the frontend and return the orders for it, or say under `failed` why there is none."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder / "comfyui")]
    done = subprocess.run([*command, COMFYUI], capture_output=True, text=True, check=False)
    if done.returncode:
        return {"failed": f"not measured: {COMFYUI} could not be installed: {done.stderr[-300:].strip()}"}
    return {
        "folder": str(folder / "comfyui" / "comfyui_frontend_package" / "static"),
        "info": definitions(specs),
        "graphs": {size: foreign(plain, specs) for size, plain in graphs.items()},
    }


def _driven(node: str, chromium: str, orders: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run(
        [node, "e2e/bench/main.js"],
        cwd=EDITOR,
        env={**os.environ, "CHROMIUM": chromium},
        input=json.dumps(orders),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    if done.returncode:
        raise Unavailable(f"The browser could not be driven:\n{done.stderr[-3000:]}")
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures
