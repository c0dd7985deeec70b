"""`main.py bench`: runs a measurement and prints its figures as a table, or as one object with the same names."""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

BENCHES = {
    "engine": "engine.bench.engine",
    "start": "engine.bench.start",
    "durability": "engine.bench.durability",
    "model": "models.bozzetto.bench",
}  # each has run(**options) -> figures by name


def main(args: argparse.Namespace) -> int:
    """Measure and print."""
    options = {"kills": args.kills} if args.kills else {}
    figures = importlib.import_module(BENCHES[args.what]).run(**options)
    print(json.dumps(figures) if args.json else "\n".join(table(figures)))
    return 0


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
