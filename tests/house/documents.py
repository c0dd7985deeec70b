"""The parts of docs/ that follow from the code. `python -m tests.house.documents` writes them anew."""

from __future__ import annotations

import argparse
import inspect
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from itertools import groupby
from pathlib import Path

from engine import events
from engine.cli.parser import make_parser
from engine.compat import core_table
from engine.compat.core_info import CORE
from engine.compat.dialect_table import TABLES
from engine.registry import load
from engine.settings import Settings
from models.bozzetto.methods.page import page
from tests.house.source import ROOT
from web.app import ROUTES

PART = re.compile(r"(<!-- made: (\w+) -->\n).*?(<!-- end -->)", re.S)


def routes() -> Iterator[str]:
    """Yield a table row per route."""
    yield from ("| method | path | |", "|---|---|---|")
    yield from (f"| {r.method} | `{r.path}` | {r.summary} |" for r in sorted(ROUTES, key=lambda r: (r.path, r.method)))


def event_rows() -> Iterator[str]:
    """Yield a table row per event."""
    yield from ("| event | durable | fields | |", "|---|---|---|---|")
    kinds = (k for k in vars(events).values() if isinstance(k, type) and issubclass(k, events.Event))
    for kind in (k for k in kinds if k is not events.Event):
        names = ", ".join(f"`{f.name}`" for f in fields(kind))
        doc = " ".join((inspect.getdoc(kind) or "").split())
        yield f"| `{kind.kind}` | {'yes' if kind.durable else 'no'} | {names} | {doc} |"


def commands() -> Iterator[str]:
    """Yield a table row per command, with its own flags."""
    yield from ("| command | own flags | |", "|---|---|---|")
    choices = next(a for a in make_parser()._actions if isinstance(a, argparse._SubParsersAction))
    for summary in choices._choices_actions:
        own = ", ".join(f"`{flag}`" for flag in own_flags(choices.choices[summary.dest]))
        yield f"| `{summary.dest}` | {own} | {summary.help} |"


def own_flags(command: argparse.ArgumentParser) -> list[str]:
    """Return a command's arguments that are no settings."""
    shared = {f.name for f in fields(Settings)} - {"output_dir"}
    found = (a for a in command._actions if a.dest not in {*shared, "help"})
    return [
        a.option_strings[-1] if a.option_strings else str(a.metavar or a.dest)
        for a in found if a.option_strings != ["--output-dir"]
    ]  # fmt: skip


def settings() -> Iterator[str]:
    """Yield a table row per setting."""
    yield from ("| flag | environment | default | |", "|---|---|---|---|")
    for each in fields(Settings):
        default = each.default
        paths = [p.relative_to(ROOT).as_posix() for p in (default if isinstance(default, tuple) else [default])
                 if isinstance(p, Path)]  # fmt: skip
        shown = ", ".join(paths) or {None: "", False: ""}.get(default, str(default))  # type: ignore[call-overload]
        flag = f"--{each.name.replace('_', '-')}"
        yield f"| `{flag}` | `SFUMATO_{each.name.upper()}` | {shown} | {each.metadata['help']} |"


def methods() -> Iterator[str]:
    """Yield what `bench methods --write` found, a table for each method."""
    return page(json.loads((ROOT / "docs" / "methods.json").read_text("utf-8")))


def comfyui() -> Iterator[str]:
    """Yield the core classes of ComfyUI that are here, by category, and those that are not."""
    specs = load(Settings()).specs
    present = core_table.here(specs)
    yield from ("| category | works | partly: what differs |", "|---|---|---|")
    for category, members in groupby(present, key=lambda s: s.category.removeprefix(CORE)):
        names = [s.id for s in members]
        whole = ", ".join(f"`{name}`" for name in names if name not in core_table.PARTIAL)
        part = " ".join(f"`{n}`: {core_table.PARTIAL[n]}" for n in names if n in core_table.PARTIAL)
        yield f"| {category} | {whole} | {part} |"
    yield from ("", "Not here yet, by what they wait for:", "")
    for why, absent in core_table.missing(specs).items():
        yield f"- {why}: {', '.join(f'`{name}`' for name in absent)}"


def dialect() -> Iterator[str]:
    """Yield a table row per route, message and part of the node protocol of ComfyUI."""
    yield from ("| | works | partly | missing |", "|---|---|---|---|")
    for title, table in TABLES.items():
        cells = {state: [] for state in ("works", "partial", "missing")}  # type: dict[str, list[str]]
        for name, state in table.items():
            kind, _, why = state.partition(": ")
            cells[kind].append(f"`{name}`: {why}" if why else f"`{name}`")
        yield (
            f"| {title} | "
            + " | ".join(", ".join(c) if k == "works" else ". ".join(c) for k, c in cells.items())
            + " |"
        )


MAKERS: dict[str, Callable[[], Iterator[str]]] = {
    "routes": routes, "events": event_rows, "commands": commands, "settings": settings, "methods": methods,
    "comfyui": comfyui, "dialect": dialect,
}  # fmt: skip


def renewed(text: str) -> str:
    """Return a document with its made parts made again."""
    return PART.sub(lambda m: m[1] + "\n".join(MAKERS[m[2]]()) + f"\n{m[3]}", text)


if __name__ == "__main__":
    for path in (ROOT / "docs").glob("*.md"):
        path.write_text(renewed(path.read_text("utf-8")), "utf-8")
