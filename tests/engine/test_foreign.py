"""What the engine offers to nodes of other protocols: blocked values, calls elsewhere, open inputs, uneven lists."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from engine.context import Context
from engine.errors import BadInput, WorkflowInvalid
from engine.keys import plain_digest, plain_value
from engine.node import Expansion, node
from engine.plan import Plan
from engine.types import Blocked, Latent, Overlay, Saved
from tests.engine.lab import Lab, Number, nodes

POOL = ThreadPoolExecutor(8)
MEET = Barrier(3, timeout=20)


@node(category="lab")
def gate(value: Number, message: str = "") -> int:
    """Gives odd numbers only."""
    return value if value % 2 else Blocked(message)  # type: ignore[return-value]


@node(category="lab")
def gates(message: str = "shut") -> list[int]:
    """A list that is not there."""
    return Blocked(message)  # type: ignore[return-value]


@node(category="lab")
def later(value: Number) -> int:
    """Ends elsewhere, once all three of its calls have begun."""

    def call() -> int:
        MEET.wait()
        if value == 13:
            raise BadInput("13 is not liked.")
        return value * 10

    return POOL.submit(call)  # type: ignore[return-value]


@node(category="lab")
def at_once(value: Number) -> int:
    """Is there before anybody waits."""
    done: Future[int] = Future()
    done.set_result(value)
    return done  # type: ignore[return-value]


@node(category="lab")
def never(value: Number) -> int:
    """Does not end."""
    return Future()  # type: ignore[return-value]


@node(category="lab")
def hand_on(ctx: Context, value: Number) -> int | Expansion:
    """Expands into a sum of something it made and something around it."""
    inner = {
        "mean": {"type": "mean", "inputs": {"latent": ["@", "made"]}},
        "sum": {"type": "add", "inputs": {"a": ["mean", "int"], "b": ["@", "around"]}},
        "told": {"type": "told", "inputs": {"value": ["sum", "int"]}},
    }
    made = Latent(ctx_tensor(5.0))
    return Expansion(inner, {"int": ("told", "int")}, {"made": made}, {"around": ("n", "int")}, {"told": "noted"})


@node(category="lab")
def told(ctx: Context, value: Number) -> int:
    """Looks at what was noted."""
    return value + 100 * (ctx.memo.get(ctx.node) == "noted")


@node(category="lab")
def shows_more(value: Number) -> Saved:
    """Tells clients of another protocol something."""
    return Saved("text", text="", extra={"seen": [value]})


def ctx_tensor(value: float) -> Any:
    import torch

    return torch.full((1, 4, 8, 8), value)


EXTRA = (gate, gates, later, at_once, never, hand_on, told, shows_more)


@pytest.fixture(params=["ram", "disk"])
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Lab:
    return Lab(tmp_path if request.param == "disk" else None, extra=EXTRA)


def test_a_blocked_value_spells_itself_out() -> None:
    digest = plain_digest(Blocked("why"))
    assert digest == "b:why"
    assert plain_value(digest) == Blocked("why")


def test_what_needs_a_blocked_value_is_skipped_and_says_why_once(lab: Lab) -> None:
    plain = nodes(
        a=("gate", {"value": 2, "message": "even"}),
        b=("inc", {"value": ["a", "int"]}),
        c=("inc", {"value": ["b", "int"]}),
    )
    done = lab.run(plain, wanted=("c", "a"))
    assert done.result.state == "done"
    skipped = [(e.node, e.because, e.note) for e in done.events if e.kind == "step_skipped"]  # type: ignore[attr-defined]
    assert skipped == [("b", "a", "even"), ("c", "b", "")]
    assert done.calls == ["a"]
    assert lab.run(plain, wanted=("c",)).calls == []


def test_single_elements_and_whole_lists_can_be_blocked(lab: Lab) -> None:
    plain = nodes(n=("count", {"n": 4}), g=("gate", {"value": ["n", "int"]}), i=("inc", {"value": ["g", "int"]}))
    assert lab.run(plain, wanted=("i",)).value == [Blocked(), 2, Blocked(), 4]
    whole = nodes(n=("gates", {}), t=("total", {"values": ["n", "int"]}))
    assert lab.run(whole, wanted=("t",)).value == Blocked()


def test_a_blocked_lazy_input_blocks_too(lab: Lab) -> None:
    plain = nodes(g=("gate", {"value": 2}), p=("pick", {"which": 0, "a": ["g", "int"], "b": 1}))
    assert lab.run(plain, wanted=("p",)).value == Blocked()


def test_calls_go_on_elsewhere_at_the_same_time(lab: Lab) -> None:
    plain = nodes(
        n=("count", {"n": 2}), l=("later", {"value": ["n", "int"]}), m=("later", {"value": 7}),
        t=("total", {"values": ["l", "int"]}), i=("inc", {"value": ["m", "int"]}), o=("at_once", {"value": 3}),
    )  # fmt: skip
    done = lab.run(plain, wanted=("t", "i", "o"))
    assert [tuple(v.values()) for v in done.values.values()] == [(10,), (71,), (3,)]
    assert lab.run(plain, wanted=("t", "i")).calls == []


def test_an_error_elsewhere_is_the_nodes_own_and_drops_its_other_calls(lab: Lab) -> None:
    plain = nodes(a=("later", {"value": 13}), b=("later", {"value": 1}), c=("later", {"value": 2}))
    done = lab.run(plain, wanted=("a", "b", "c"))
    assert [(p.node, p.message) for p in done.result.problems] == [("a", "13 is not liked.")]
    assert done.result.state == "failed"


def test_a_node_that_is_woken_twice_is_stepped_once(lab: Lab) -> None:
    plan = Plan(lab.graph(nodes(a=("const", {"value": 1})), wanted=("a",)))
    plan.wake("a")
    assert plan.has_ready
    assert plan.next() is not None
    plan.finish("a")
    assert plan.next() is None


def test_an_option_of_a_network_changes_nothing_by_itself() -> None:
    assert Overlay().over("a network") == "a network"


def test_a_run_that_only_waits_can_be_cancelled(lab: Lab) -> None:
    plain = nodes(n=("never", {"value": 1}), i=("inc", {"value": ["n", "int"]}))
    done = lab.run(plain, wanted=("i",), steps=4)
    assert done.result.state == "cancelled"


def test_an_open_node_takes_links_that_it_does_not_declare(lab: Lab) -> None:
    lab.registry.specs["sum_all"] = replace(lab.registry.specs["inc"], id="sum_all", inputs=(), open=True)
    lab.services.functions = {**lab.services.functions, "sum_all": lambda ctx, **values: sum(values.values())}
    plain = nodes(a=("const", {"value": 3}), s=("sum_all", {"x": ["a", "int"], "y": ["a", "int"]}))
    assert lab.run(plain, wanted=("s",)).value == 6
    with pytest.raises(WorkflowInvalid, match="no input 'z'"):
        lab.run(nodes(s=("sum_all", {"z": 5})), wanted=("s",))


def test_uneven_lists_repeat_their_last_value_where_the_node_says_so(lab: Lab) -> None:
    plain = nodes(a=("count", {"n": 4}), b=("count", {"n": 2}), s=("add", {"a": ["a", "int"], "b": ["b", "int"]}))
    assert lab.run(plain, wanted=("s",)).result.state == "failed"
    lab.registry.specs["add"] = replace(lab.registry.specs["add"], uneven=True)
    assert lab.run(plain, wanted=("s",)).value == [0, 2, 3, 4]


def test_an_expansion_hands_on_values_and_links_around_it(lab: Lab) -> None:
    plain = nodes(n=("const", {"value": 7}), h=("hand_on", {"value": ["n", "int"]}))
    assert lab.run(plain, wanted=("h",)).value == 112
    assert lab.run(plain, wanted=("h",)).calls == []


def test_a_node_may_say_when_its_result_changes(lab: Lab) -> None:
    marks: dict[str, str | None] = {"inc": "one"}
    asked: list[Mapping[str, Any]] = []

    def mark(context: Context, inputs: Mapping[str, Any]) -> str | None:
        asked.append(inputs)
        return marks["inc"]

    lab.services.marks = {"inc": mark}
    plain = nodes(n=("count", {"n": 2}), i=("inc", {"value": ["n", "int"]}))
    assert lab.run(plain, wanted=("i",)).calls == ["n", "i", "i"]
    assert lab.run(plain, wanted=("i",)).calls == []
    assert len(asked) == 2, "once a run"
    marks["inc"] = "two"
    again = lab.run(plain, wanted=("i",))
    assert again.calls == ["i", "i"]
    assert "its own state changed" in again.why("i")
    marks["inc"] = None
    assert [lab.run(plain, wanted=("i",)).calls for _ in range(2)] == [["i", "i"], ["i", "i"]]


def test_what_is_shown_may_hold_more(lab: Lab) -> None:
    done = lab.run(nodes(s=("shows_more", {"value": 4})))
    assert done.result.ui["s"] == [{"ui": "text", "text": "", "files": [], "extra": {"seen": [4]}}]


def test_a_node_that_waits_in_between_is_asked_once(lab: Lab) -> None:
    asked: list[str] = []

    def mark(context: Context, inputs: Mapping[str, Any]) -> str:
        asked.append(context.node)
        return "same"

    lab.services.marks = {"pick": mark}
    plain = nodes(c=("const", {"value": 3}), p=("pick", {"which": 0, "a": ["c", "int"], "b": 1}))
    assert lab.run(plain, wanted=("p",)).value == 3
    assert asked == ["p"]
