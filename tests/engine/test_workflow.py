"""Workflow files: read, refused with sentences, written again."""

from __future__ import annotations

from typing import Any

import pytest

from engine import workflow
from engine.errors import WorkflowInvalid
from engine.workflow import Link, parse
from tests.engine.lab import nodes


def refused(plain: Any) -> str:
    with pytest.raises(WorkflowInvalid) as caught:
        parse(plain)
    return str(caught.value)


def test_the_whole_file_or_only_its_nodes() -> None:
    """Both are a request; what only people need is kept."""
    made = nodes(a=("const", {"value": 1}))
    whole = {"format": "sfumato/1", "id": "x", "layout": {"a": 1}, "nodes": made, "requires": {}}
    assert parse(made).nodes == parse(whole).nodes
    assert parse(whole).to_json() == whole
    assert "subgraphs" not in parse(made).to_json()


def test_links_and_values_are_told_apart() -> None:
    """A list of two texts is a link unless it is written as a value; the round trip keeps both."""
    written = {"link": ["b", "int"], "pair": {"$value": ["x", "y"]}, "one": ["x"], "own": {"$value": {"$value": 1}}}
    made = nodes(a=("t", written, "mute"))
    inputs = parse(made).nodes["a"].inputs
    assert inputs == {"link": Link("b", "int"), "pair": ["x", "y"], "one": ["x"], "own": {"$value": 1}}
    assert parse(made).to_json()["nodes"] == made


def test_subgraphs_come_back() -> None:
    inside = nodes(a=("t", {"v": ["@", "p"]}))
    body = {"nodes": inside, "inputs": {"p": {"$value": ["a", "b"]}}, "outputs": {"o": ["a", "o"]}}
    plain = {"format": "sfumato/1", "nodes": {}, "subgraphs": {"s": body}}
    assert parse(plain).to_json() == plain


@pytest.mark.parametrize(
    ("plain", "sentence"),
    [
        ([], "A workflow is a JSON object"),
        ({"format": "sfumato/9", "nodes": {}}, "The format 'sfumato/9' is unknown; this Sfumato reads sfumato/1"),
        ({"format": ["x"], "nodes": {}}, "The format ['x'] is unknown"),
        ({"nodes": [], "format": "sfumato/1"}, "The workflow needs `nodes`"),
        ({"": {"type": "t"}}, "A node id is a text of 1 to 200"),
        ({"a/b": {"type": "t"}}, "A node id"),
        ({"a\ud800": {"type": "t"}}, "A node id"),
        ({3: {"type": "t"}}, "A node id"),
        ({"@": {"type": "t"}}, "The id '@' is kept"),
        ({"a": 3}, "node a: A node is an object with a `type`"),
        ({"a": {"type": 3}}, "A node is an object with a `type`"),
        ({"a": {"type": "t", "inputs": []}}, "`inputs` must be an object"),
        ({"a": {"type": "t", "mode": "off"}}, "`mode` must be one of run, mute, bypass, got 'off'"),
        ({"nodes": {}, "subgraphs": []}, "`subgraphs` must be an object"),
        ({"nodes": {}, "subgraphs": {"s": 3}}, "The subgraph 's' needs `nodes`"),
        ({"nodes": {}, "subgraphs": {"s": {"nodes": {}, "inputs": []}}}, "Subgraph 's' needs `inputs`"),
        ({"nodes": {}, "subgraphs": {"s": {"nodes": {}, "outputs": {"o": 3}}}}, "Subgraph 's' needs"),
        ({"nodes": {}, "subgraphs": {"s": {"nodes": {}, "inputs": {"p": ["a", "b"]}}}}, "Subgraph 's' needs"),
    ],
)
def test_what_is_wrong_is_said(plain: Any, sentence: str) -> None:
    assert sentence in refused(plain)


def test_there_is_a_limit_to_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes in subgraphs count."""
    monkeypatch.setattr(workflow, "NODES_MAX", 2)
    plain = {"nodes": nodes(a=("t", {}), b=("t", {})), "subgraphs": {"s": {"nodes": nodes(c=("t", {}))}}}
    assert "2 nodes at most, this has 3" in refused(plain)


def test_older_formats_are_migrated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Step by step."""
    migrate = {"sfumato/0": lambda plain: {"format": "sfumato/1", "nodes": plain["steps"]}}
    monkeypatch.setattr(workflow, "MIGRATIONS", migrate)
    assert list(parse({"format": "sfumato/0", "steps": nodes(a=("t", {}))}).nodes) == ["a"]


def test_inputs_are_set_by_name() -> None:
    """Ids may hold dots; a link is a value like others; unknown nodes are named with a hint."""
    made = parse(nodes(**{"a.b": ("t", {"v": 1}), "sampler": ("t", {})}))
    changed = made.with_inputs({"a.b.v": 2, "sampler.x": ["a.b", "int"]}).nodes
    assert changed["a.b"].inputs == {"v": 2}
    assert changed["sampler"].inputs == {"x": Link("a.b", "int")}
    with pytest.raises(WorkflowInvalid) as caught:
        made.with_inputs({"samplr.seed": 1, "seed": 2})
    assert [p.message.partition(".")[0] for p in caught.value.problems] == [
        "There is no node 'samplr' to set 'samplr", "There is no node 'seed' to set 'seed' on",
    ]  # fmt: skip
    assert "Did you mean 'sampler'?" in str(caught.value)
