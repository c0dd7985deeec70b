"""`main.py bench compat`: what of ComfyUI works here, counted: its templates, its routes, its node classes."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from engine.compat import core_table
from engine.compat.api_format import from_api
from engine.compat.export import to_api
from engine.compat.ui_format import from_ui
from engine.errors import SfumatoError, Unavailable
from engine.jobs.execute import Engine
from engine.node import NodeSpec
from engine.settings import Settings

ROUTES = "engine.compat.dialect_table"  # route -> `works`, or `partial: why`, or `missing: why`


def run() -> dict[str, Any]:
    """Open every template, run the classic ones on tiny random models, and count routes and node classes.

    The templates are fetched from the package registry; Unavailable without one.
    """
    templates = importlib.import_module("tests.compat.templates")
    with tempfile.TemporaryDirectory(prefix="sfumato-compat-") as folder:
        settings = Settings(data_dir=Path(folder) / "data")
        with closing(Engine(settings)) as engine:
            specs = engine.registry.specs
        found = templates.fetch(Path(folder))
        if found is None:
            raise Unavailable("The templates could not be fetched: there is no network, or no package registry.")
        opened = sum(_opens(plain, specs) for plain in found.values())
        states = {name: _ran(templates, found[name], specs, Path(folder) / name) for name in templates.CLASSIC}
    here = core_table.here(specs)
    partial = [spec.id for spec in here if spec.id in core_table.PARTIAL]
    return {
        "templates": len(found),
        "templates_opened": opened,
        "classic": len(states),
        "classic_run": list(states.values()).count("done"),
        "classic_left": {name: state for name, state in states.items() if state != "done"},
        "routes": routes(),
        "node_classes": len(here),
        "partial": len(partial),
        "missing": sum(map(len, core_table.missing(specs).values())),
    }


def routes() -> dict[str, int]:
    """Count the routes of the dialect that work, do in part, or are missing."""
    if importlib.util.find_spec(ROUTES) is None:
        return {}
    table: Mapping[str, str] = importlib.import_module(ROUTES).ROUTES
    states = [state.partition(":")[0] for state in table.values()]
    return {state: states.count(state) for state in ("works", "partial", "missing")}


def table(figures: Mapping[str, Any]) -> Iterator[str]:
    """Yield the figures, and one line per template that does not run."""
    for name, value in figures.items():
        if name == "routes":
            yield f"{name:<18}" + ", ".join(f"{count} {state}" for state, count in value.items())
        elif name != "classic_left":
            yield f"{name:<18}{value}"
    for name, state in figures["classic_left"].items():
        yield f"  {name}: {state}"


def _opens(plain: Any, specs: Mapping[str, NodeSpec]) -> bool:
    opened, _ = from_ui(plain, specs)
    return bool(opened.nodes)


def _ran(templates: Any, plain: Any, specs: Mapping[str, NodeSpec], folder: Path) -> str:
    """Run a template on tiny models; return its state, or what it lacks."""
    opened, report = from_ui(plain, specs)
    unknown = sorted({report.nodes[name].type for name in report.in_state("unknown")})
    if unknown:
        return f"needs {', '.join(unknown)}"
    prompt = templates.small(to_api(opened, specs)[0])
    settings = Settings(data_dir=folder / "data", models_dir=folder / "models", output_dir=folder / "output")
    templates.models(settings.models_dir, prompt)
    templates.pictures(settings.data_dir / "input", prompt)
    try:
        with closing(Engine(settings)) as engine:
            result = engine.run(from_api(prompt, engine.registry.specs)[0].to_json())
    except SfumatoError as problem:
        return problem.message
    return str(result.problems[0]) if result.problems else result.state
