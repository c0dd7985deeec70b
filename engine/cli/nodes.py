"""`main.py nodes`: the catalogue as text, and the help of one node, made from its signature and docstring."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import textwrap
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from engine import registry
from engine.cli.parser import settings_of
from engine.compat import packs
from engine.errors import NotFound
from engine.node import InputSpec, NodeSpec
from engine.settings import Settings
from engine.workflow import nearest

WIDTH_MAX = 110


def main(args: argparse.Namespace) -> int:
    """List the nodes, or explain the one that is named."""
    plain = catalogue(settings_of(args))
    specs = registry.specs_of(plain)
    if args.name and args.name not in specs:
        raise NotFound(f"There is no node {args.name!r}.{nearest(args.name, specs)}")
    if args.json:
        print(json.dumps(specs[args.name].to_json() if args.name else plain, indent=2))
    else:
        print("\n".join(explain(specs[args.name]) if args.name else overview(specs)))
    for pack in plain["failed"]:
        print(f"Node pack {pack['pack']} did not load: {pack['reason']}", file=sys.stderr)
    return 0


def catalogue(settings: Settings) -> dict[str, Any]:
    """Return the node catalogue, from its cache if the code of no node has changed."""
    cached = registry.read_catalogue(settings)
    if cached is None:
        print("Reading the nodes (once after a change)", file=sys.stderr)
        cached = registry.write_catalogue(settings, packs.load_all(settings))
    return cached


def overview(specs: dict[str, NodeSpec]) -> Iterator[str]:
    """Yield the list of nodes, by category, each with its first sentence."""
    width = max(map(len, specs), default=0)
    ordered = sorted(specs.values(), key=lambda s: (s.category, s.id))
    for category, members in groupby(ordered, key=lambda s: s.category):
        yield f"\n{category}"
        for spec in members:
            yield f"  {spec.id:<{width}}  {spec.doc.splitlines()[0]}"
    yield "\nmain.py nodes NAME explains one."


def explain(spec: NodeSpec) -> Iterator[str]:
    """Yield a node's help: what it does, its inputs with their bounds, its outputs."""
    yield f"{spec.id}  ({spec.title}, {spec.category}{f', pack {spec.pack}' if spec.pack else ''})\n"
    yield from _wrapped(spec.doc)
    if spec.inputs:
        yield "\ninputs"
    for each in spec.inputs:
        yield f"  {each.name}: {describe(each)}"
        yield from _wrapped(each.help, indent=6)
    if spec.outputs:
        yield "\noutputs"
    for output in spec.outputs:
        yield f"  {output.name}: {output.type}{' (list)' if output.list else ''}"


def describe(spec: InputSpec) -> str:
    """Return an input's type, bounds and default in one line."""
    parts = [f"list of {spec.type}" if spec.list else spec.type]
    if spec.low is not None and spec.high is not None:
        step = f" in steps of {spec.step:g}" if spec.step else ""
        parts.append(f"{_number(spec.low)} to {_number(spec.high)}{step}")
    if spec.choices is not None:
        parts.append("one of " + (", ".join(spec.choices) or "(nothing found)"))
    if spec.file:
        parts.append(f"the name of a file in {spec.file}")
    if spec.lazy:
        parts.append("computed only when used")
    parts.append("required" if spec.required else f"default {json.dumps(spec.default, ensure_ascii=False)}")
    return "; ".join(parts)


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else f"{value:g}"


def _wrapped(text: str, *, indent: int = 0) -> Iterator[str]:
    width = min(WIDTH_MAX, shutil.get_terminal_size().columns)
    for paragraph in text.split("\n\n"):
        yield from textwrap.wrap(paragraph, width, initial_indent=" " * indent, subsequent_indent=" " * indent)
