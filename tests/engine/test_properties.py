"""What must hold for every workflow: the correctness of Build Systems a la Carte, and ours on top."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engine import graph, workflow
from engine import run as engine_run
from engine.errors import WorkflowInvalid
from tests.engine.graphs import broken, changes, descendants, workflows
from tests.engine.lab import Done, Lab

ALL = Lab().registry.specs


def built(made: dict[str, Any]) -> bool:
    """Say whether anything is left to run: mute and bypass may take it all."""
    try:
        graph.build(workflow.parse(made), ALL)
    except WorkflowInvalid:
        return False
    return True


def told(done: Done) -> Any:
    """Return all that a person sees of a run, save how it came about."""
    return done.result.state, done.values, sorted(map(str, done.result.problems)), done.result.ui


def durable(done: Done) -> list[dict[str, Any]]:
    return [{**event.to_json(), "seconds": 0} for event in done.events if event.durable]


def clean(made: dict[str, Any]) -> Any:
    return told(Lab().run(made, job="j"))


@given(workflows(), st.data())
def test_a_cached_run_equals_a_clean_one(made: dict[str, Any], data: st.DataObject) -> None:
    """Whatever ran before, a run gives what a run from nothing gives."""
    change = data.draw(changes(made))
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder))
        for plain in (made, change[1] if change else made, made):
            if built(plain):
                assert told(lab.run(plain, job="j")) == clean(plain)
                lab = lab.restarted() if data.draw(st.booleans()) else lab
        lab.close()


@given(workflows())
def test_a_second_run_calls_no_pure_node(made: dict[str, Any]) -> None:
    """Only nodes with effects, in a new job, and those that failed are called again."""
    lab = Lab()
    if built(made):
        first = lab.run(made, job="1")
        second = lab.run(made, job="2")
        again = {made[name.partition("/")[0]]["type"] for name in second.calls}
        assert again <= {"save", "sevens_fail"}
        assert told(first) == told(second)
        assert lab.run(made, job="2").result.ran == 0


@given(workflows(modes=False), st.data())
def test_a_change_runs_only_what_depends_on_it(made: dict[str, Any], data: st.DataObject) -> None:
    """After a change of one value only its node and descendants are called, besides what never came to an end."""
    change = data.draw(changes(made))
    if change is not None and built(made):
        lab = Lab()
        lab.run(made, job="j")
        finished = {n for n, node in made.items() if node["type"] != "sevens_fail"}
        unneeded = {n for n in made if n not in lab.calls}  # lazy branches and duplicates
        called = {name.partition("/")[0] for name in lab.run(change[1], job="j").calls}
        assert called & finished - unneeded <= descendants(made, change[0])


@given(workflows(), st.integers(0, 12), st.booleans())
def test_a_cancelled_run_resumes_as_if_nothing_had_been(made: dict[str, Any], steps: int, restart: bool) -> None:
    """Cancel after any step, restart or not, run again: the same end, and no finished step ran twice."""
    if not built(made):
        return
    whole = Lab().run(made, job="j")
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder))
        first = lab.run(made, steps=steps, job="j")
        lab = lab.restarted() if restart else lab
        second = lab.run(made, job="j")
        lab.close()
    assert told(second) == told(whole)
    assert first.result.ran + second.result.ran == whole.result.ran


@given(workflows(), st.sampled_from([0, 1500, 2**26]), st.booleans())
def test_too_little_room_changes_nothing(made: dict[str, Any], budget: int, on_disk: bool) -> None:
    """With next to no memory, and with large values deleted from disk, the digests of all results are the same."""
    if not built(made):
        return
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder) if on_disk else None, budget, disk_budget=budget + 1)
        for _ in range(2):
            result = engine_run.Run(lab.graph(made), lab.services, job="j").execute()
            whole = engine_run.Run(lab.graph(made), Lab().services, job="j").execute()
            assert (result.state, result.outputs, result.ui) == (whole.state, whole.outputs, whole.ui)
        lab.close()


@given(workflows())
def test_the_order_depends_on_the_workflow_alone(made: dict[str, Any]) -> None:
    """Two engines emit the same durable events, and call the same nodes, in the same order."""
    if built(made):
        one, two = (Lab().run(made, job="j") for _ in range(2))
        assert one.calls == two.calls
        assert durable(one) == durable(two)


@given(workflows(), st.dictionaries(st.sampled_from(["id", "name", "layout"]), st.text(), max_size=3))
def test_a_workflow_survives_json(made: dict[str, Any], rest: dict[str, str]) -> None:
    """Parsing what was written gives the same workflow."""
    parsed = workflow.parse({"nodes": made, **rest})
    assert workflow.parse(json.loads(json.dumps(parsed.to_json()))) == parsed


@given(broken(), st.lists(st.sampled_from(["n0", "n1", "zz"]), max_size=2), st.booleans())
def test_an_invalid_workflow_gives_problems_and_no_exception(plain: Any, wanted: list[str], whole: bool) -> None:
    """Whatever is sent, the answer is a graph or sentences, the same each time."""
    outcomes = []
    for _ in range(2):
        try:
            outcomes.append(list(graph.build(workflow.parse(plain), ALL, wanted=wanted, whole=whole).nodes))
        except WorkflowInvalid as error:
            outcomes.append([json.dumps(p.to_json()) for p in error.problems])
    assert outcomes[0] == outcomes[1]
    assert outcomes[0]
