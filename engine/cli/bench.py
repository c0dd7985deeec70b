"""`main.py bench`: runs a measurement and prints its figures as a table, or as one object with the same names."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from engine.errors import BadInput

BENCHES = {
    "engine": "engine.bench.engine",
    "start": "engine.bench.start",
    "durability": "engine.bench.durability",
    "editor": "engine.bench.editor",
    "model": "models.bozzetto.bench",
    "methods": "models.bozzetto.methods",
    "compat": "engine.bench.compat",
    "sd": "engine.bench.sd",
    "memory": "engine.bench.memory",
}  # each has run(**options) -> figures by name, and may have table(figures) -> lines
COUNTED = {"durability": "kills", "model": "number", "methods": "seeds", "sd": "steps"}  # what `--count` counts


def main(args: argparse.Namespace) -> int:
    """Measure and print."""
    module = importlib.import_module(BENCHES[args.what])
    if args.count and args.what not in COUNTED:
        raise BadInput(f"bench {args.what} counts nothing; leave --count out.")
    if args.method and args.what != "methods":
        raise BadInput(f"bench {args.what} knows no methods; leave --method out.")
    if args.write and args.what != "methods":
        raise BadInput(f"bench {args.what} writes nothing; leave --write out.")
    chosen: dict[str, Any] = {"method": args.method} if args.method else {}
    if args.comfyui:
        chosen["comfyui"] = _beside(args.what, args.comfyui)
    if args.what == "methods":
        chosen |= {"write": args.write, "tell": lambda line: print(line, file=sys.stderr, flush=True)}
    figures = module.run(**chosen, **({COUNTED[args.what]: args.count} if args.count else {}))
    print(json.dumps(figures) if args.json else "\n".join(getattr(module, "table", table)(figures)))
    return 0


def _beside(what: str, comfyui: str | bool) -> str | bool:
    """Return what to measure beside ours: a checkout for `sd`, no more than a yes for `editor`."""
    if what not in ("editor", "sd"):
        raise BadInput(f"bench {what} does not measure ComfyUI; leave --comfyui out.")
    if (what == "sd") != isinstance(comfyui, str):
        raise BadInput("bench sd takes the folder of a ComfyUI checkout after --comfyui, bench editor takes nothing.")
    return comfyui


def table(figures: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """Yield a line per figure, columns aligned; figures inside figures are indented."""
    width = max(map(len, figures), default=0)
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield f"{indent}{name}"
            yield from table(value, indent + "  ")
        else:
            yield f"{indent}{name:<{width}}  {shown(value)}"


def shown(value: Any) -> str:
    """Return a figure with four digits that count."""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"
    if isinstance(value, list | tuple):
        return ", ".join(map(shown, value))
    return str(value)
