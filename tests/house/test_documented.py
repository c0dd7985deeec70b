"""Every node, input, route, flag, setting and event is written down where people look for it."""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from engine.cli.parser import make_parser
from engine.examples import MEASURED
from engine.jobs.contract import JobState, Outcome
from engine.jobs.database import open_ledger
from engine.jobs.leases import Leases
from engine.jobs.ledger import Ledger
from engine.registry import Registry, load
from engine.settings import Settings
from tests.house.documents import MAKERS, PART, renewed
from tests.house.source import ROOT, sources
from web.app import ROUTES

DOCUMENTS = sorted((ROOT / "docs").glob("*.md"))
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")
SENTENCE = re.compile(r"[A-Z`\"*].*[.:;!?)]", re.S)


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load(Settings())


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_the_made_parts_are_what_the_code_says(path: Path) -> None:
    text = path.read_text("utf-8")
    assert renewed(text) == text, "run: python -m tests.house.documents"


def test_every_made_part_is_in_a_document() -> None:
    assert sorted(m[2] for p in DOCUMENTS for m in PART.finditer(p.read_text("utf-8"))) == sorted(MAKERS)


def test_every_node_and_input_has_help(registry: Registry) -> None:
    bare = [
        f"{spec.id}.{each.name}"
        for spec in registry.specs.values() for each in spec.inputs
        if not each.help and each.name not in spec.doc
    ]  # fmt: skip
    assert [s.id for s in registry.specs.values() if not SENTENCE.match(s.doc)] == []
    assert bare == []
    assert registry.failed == {}


def test_every_route_has_a_summary() -> None:
    assert [f"{r.method} {r.path}" for r in ROUTES if not r.summary] == []


def test_every_flag_has_help() -> None:
    assert [flag for flag, action in actions(make_parser()) if not action.help] == []


def test_every_workflow_that_comes_with_a_node_has_its_text() -> None:
    flows = [f for f in (ROOT / "nodes").rglob("*.json") if f.name != MEASURED]
    assert len(flows) > 5
    assert [f.name for f in flows if not f.with_suffix(".md").exists()] == []


def test_links_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *DOCUMENTS, *(ROOT / "nodes").rglob("*.md"), *(ROOT / "custom_nodes").rglob("*.md")]
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages for target in LINK.findall(page.read_text("utf-8"))
        if not (page.parent / target).exists()
    ]  # fmt: skip
    assert broken == []


def actions(parser: argparse.ArgumentParser, path: str = "") -> Iterator[tuple[str, argparse.Action]]:
    """Yield every argument of a parser and of its commands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                yield from actions(child, f"{path} {name}")
        else:
            yield f"{path} {action.dest}", action


def test_every_event_of_the_ledger_is_described(tmp_path: Path) -> None:
    with closing(open_ledger(tmp_path)) as database:
        ledger, leases = Ledger(database), Leases(database)
        first, second = (ledger.enqueue({"nodes": {}}).id for _ in range(2))
        ledger.pause()
        ledger.resume()
        ledger.move(second, before=first)
        attempt = leases.lease("worker")
        assert attempt is not None
        ledger.pause(first)
        ledger.resume(first)
        ledger.cancel(second)
        leases.finish(attempt, Outcome(JobState.DONE))
        ledger.cancel(first)
        kinds = {event.kind for event in ledger.events_since(0)}
    written = {
        n.args[2].value
        for s in sources("engine/jobs") for n in ast.walk(s.tree)
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == "add_event" and len(n.args) > 2
        and isinstance(n.args[2], ast.Constant)
    }  # fmt: skip
    text = (ROOT / "docs" / "events.md").read_text("utf-8")
    assert len(kinds) > 8
    assert [kind for kind in sorted(kinds | written) if f"`{kind}`" not in text] == []
