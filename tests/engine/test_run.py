"""A run: what is called, what is found, what people are told, and how it ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import torch

from engine import run as engine_run
from engine.context import Context
from engine.errors import BadInput, NotFound, Unavailable
from engine.events import StepProgress
from engine.node import Expansion, File, Lazy, Range, node
from engine.types import Clip, Latent, Saved
from tests.engine.lab import Lab, Number, nodes

CHAIN = nodes(a=("const", {"value": 3}), b=("inc", {"value": ["a", "int"]}), c=("parity", {"value": ["b", "int"]}))


def test_a_chain_runs_and_then_is_found(lab: Lab) -> None:
    """The second run calls nothing, also after a restart."""
    assert (lab.run(CHAIN).value, lab.calls) == (0, ["a", "b", "c"])
    assert (lab.run(CHAIN).value, lab.calls) == (0, [])
    lab = lab.restarted()
    again = lab.run(CHAIN)
    assert (again.value, lab.calls, again.result.cached) == (0, [], 3)


def test_an_unchanged_result_changes_nothing_downstream(ram: Lab) -> None:
    """Early cutoff: two more has the same parity, so what needs the parity does not run."""
    plain = {**CHAIN, **nodes(d=("inc", {"value": ["c", "int"]}))}
    ram.run(plain)
    plain["a"]["inputs"]["value"] = 5
    assert ram.run(plain).calls == ["a", "b", "c"]
    CHAIN["a"]["inputs"]["value"] = 3


def test_why_a_node_ran_is_told(lab: Lab) -> None:
    """First run, changed value, changed link, changed code, another type, forgotten result, effect."""
    plain = nodes(a=("const", {"value": 3}), b=("inc", {"value": ["a", "int"]}), s=("save", {"value": ["b", "int"]}))
    assert lab.run(plain, job="1").why("a") == "first run"
    plain["a"]["inputs"]["value"] = 4
    changed = lab.run(plain, job="1")
    assert (changed.why("a"), changed.why("b")) == ("value changed from 3 to 4", "value changed (from a)")
    assert lab.run(plain, job="2").why("s") == "runs once in every job"
    lab.numeric = "another device"
    lab = lab.restarted()
    assert lab.run(plain, job="2").why("a") == "its code or a library changed"
    plain["a"] = {"type": "parity", "inputs": {"value": 4}}
    assert lab.run(plain, job="2").why("a") == "first run"
    lab.services.traces._traces.clear()
    lab.services.traces.disk = None
    assert lab.run(plain, job="2").why("a") == "its result was no longer kept"


def test_long_texts_and_removed_inputs_in_the_reason(ram: Lab) -> None:
    """A text that is too long to spell out has changed, no more; lazy inputs come and go."""

    @node(category="lab")
    def length(text: str) -> int:
        """Count."""
        return len(text)

    lab = Lab(extra=(length,))
    lab.run(nodes(t=("length", {"text": "x" * 300})))
    assert lab.run(nodes(t=("length", {"text": "y" * 300}))).why("t") == "text changed"
    plain = nodes(p=("pick", {"which": 0, "a": 1, "b": 2}))
    ram.run(plain)
    plain["z"] = {"type": "const", "inputs": {}}
    plain["p"]["inputs"]["b"] = ["z", "int"]
    assert ram.run(plain, wanted=("p",)).why("p") == "b was removed"


def test_equal_steps_run_once(ram: Lab) -> None:
    """Two nodes with one key: the second is found."""
    done = ram.run(nodes(a=("const", {"value": 1}), b=("const", {"value": 1})))
    assert done.calls == ["a"]


def test_nodes_with_effects_run_once_in_a_job_each(lab: Lab) -> None:
    """Two equal ones both run; a new job runs them again; without a job every run does."""
    plain = nodes(s=("save", {"value": 1}), t=("save", {"value": 1}))
    assert lab.run(plain, job="1").calls == ["s", "t"]
    done = lab.run(plain, job="1")
    assert done.calls == []
    assert done.result.ui["s"][0]["text"] == "1"
    assert lab.run(plain, job="2").calls == lab.run(plain).calls == lab.run(plain).calls == ["s", "t"]


def test_only_the_branch_that_is_asked_for_runs(ram: Lab) -> None:
    """A lazy input runs when asked for; its trace knows next time, without a call."""
    plain = nodes(
        p=("pick", {"which": 0, "a": ["a", "int"], "b": ["b", "int"]}),
        a=("const", {"value": 1}), b=("sevens_fail", {"value": 7}),
    )  # fmt: skip
    assert ram.run(plain).calls == ["p", "a", "p"]
    assert ram.run(plain).calls == []
    plain["a"]["inputs"]["value"] = 2
    again = ram.run(plain)
    assert (again.calls, again.value) == (["a", "p"], 2)
    assert again.why("p") == "first run" or "a" in again.why("p")


def test_a_lazy_branch_that_failed_is_told(ram: Lab) -> None:
    """Whether it fails when asked for, or had failed before, or what it needs had."""
    plain = nodes(
        f=("sevens_fail", {"value": 7}), b=("inc", {"value": ["f", "int"]}),
        p=("pick", {"which": 1, "a": 1, "b": ["b", "int"]}), q=("inc", {"value": ["p", "int"]}),
    )  # fmt: skip
    for wanted in (("q",), ("f", "q")):
        done = ram.run(plain, wanted=wanted)
        assert done.result.state == "failed"
        skipped = {e.node: e.because for e in done.events if e.kind == "step_skipped"}  # type: ignore[attr-defined]
        assert skipped.keys() == {"b", "p", "q"}
        assert set(skipped.values()) <= {"f", "b"}


def test_a_failure_leaves_other_branches_alone(ram: Lab) -> None:
    """Its dependents are skipped; the problem names the node and field."""
    plain = nodes(f=("sevens_fail", {"value": 7}), g=("inc", {"value": ["f", "int"]}), h=("const", {}))
    done = ram.run(plain)
    assert (done.result.state, done.values) == ("failed", {"h": {"int": 0}})
    assert [str(p) for p in done.result.problems] == ["[bad_input] node f, input value: 7 is a multiple of seven."]
    assert [e.kind for e in done.events][-3:] == ["step_skipped", "step_done", "run_finished"]


def test_lists_are_taken_apart_and_gathered(ram: Lab) -> None:
    """One call per element; a list of one goes with any; lists of lists become one; empty lists give empty ones."""
    plain = nodes(
        n=("count", {"n": 3}), i=("inc", {"value": ["n", "int"], "by": ["one", "int"]}), one=("count", {"n": 1}),
        m=("count", {"n": ["i", "int"]}), t=("total", {"values": ["m", "int"]}),
        e=("ends", {"values": ["i", "int"]}), none=("count", {"n": 0}), x=("inc", {"value": ["none", "int"]}),
    )  # fmt: skip
    done = ram.run(plain, wanted=("m", "t", "e", "x"))
    assert done.values["m"] == {"int": [0, 0, 1]}
    assert done.values["t"] == {"int": 1}
    assert done.values["e"] == {"low": 0, "high": 2}
    assert done.values["x"] == {"int": []}
    assert ram.run(nodes(e=("ends", {"values": []}))).values["e"] == {"low": 0, "high": 0}


def test_lists_of_different_lengths_do_not_meet(ram: Lab) -> None:
    plain = nodes(a=("count", {"n": 2}), b=("count", {"n": 3}), c=("add", {"a": ["a", "int"], "b": ["b", "int"]}))
    assert "a has 2, b has 3" in str(ram.run(plain).result.problems[0])


def test_each_element_is_called_and_told_once(ram: Lab) -> None:
    """Also where elements wait for lazy inputs or become graphs."""
    plain = nodes(
        n=("count", {"n": 4}), p=("pick", {"which": ["n", "int"], "a": ["x", "int"], "b": ["y", "int"]}),
        x=("const", {"value": 10}), y=("const", {"value": 20}), d=("down", {"n": ["n", "int"]}),
    )  # fmt: skip
    done = ram.run(plain, wanted=("p", "d"))
    assert done.values == {"p": {"int": [10, 20, 10, 20]}, "d": {"int": [0, 1, 2, 3]}}
    told = [e.node for e in done.events if e.kind in ("step_done", "step_cached")]  # type: ignore[attr-defined]
    assert told.count("d") == told.count("p") == 4
    assert done.calls.count("p") == 4 + 2  # one more for each question
    again = ram.run(plain, wanted=("p", "d"))
    assert (again.calls, again.values) == ([], done.values)


def test_an_expansion_runs_and_is_found(lab: Lab) -> None:
    """The graph that a node expanded into is cached like any other."""
    plain = nodes(d=("down", {"n": 3}))
    first = lab.run(plain)
    assert (first.value, first.why("d")) == (3, "first run")
    assert lab.run(plain).calls == []
    plain["d"]["inputs"]["n"] = 4
    assert set(lab.run(plain).calls) == {"d", "d/0/less", "d/0/more"}


def expander(nodes_: dict[str, Any], outputs: dict[str, Any]) -> Callable[..., Any]:
    @node(category="lab")
    def expands(value: Number = 1, late: Lazy[Number] | None = None) -> int | Expansion:
        """Expands into a given graph."""
        return Expansion(nodes_, outputs)

    return expands


@pytest.mark.parametrize(
    ("inner", "outputs", "sentence"),
    [
        (nodes(a=("inc", {"value": ["@", "value"]})), {}, "gives nothing of type INT as int"),
        (nodes(a=("inc", {"value": ["@", "value"]})), {"int": ("b", "int")}, "gives nothing of type INT"),
        (nodes(a=("inc", {"value": ["@", "value"]})), {"int": ("@", "value")}, "gives nothing of type INT"),
        (nodes(a=("tensor", {"value": 1})), {"int": ("a", "latent")}, "gives nothing of type INT"),
        (nodes(a=("mean", {"latent": ["@", "value"]})), {"int": ("a", "int")}, "got INT from the node that expanded"),
        ({"a": 3}, {"int": ("a", "int")}, "A node is an object"),
    ],
)
def test_a_wrong_expansion_is_the_nodes_problem(inner: Any, outputs: Any, sentence: str) -> None:
    """What it forgot, what it mistyped."""
    lab = Lab(extra=(expander(inner, outputs),))
    plain = nodes(c=("const", {}), e=("expands", {"value": ["c", "int"]}))
    (problem, *_) = lab.run(plain).result.problems
    assert sentence in problem.message
    assert (problem.node or "").startswith("e")


def test_an_expansion_hands_lazy_inputs_on() -> None:
    """Neither the node nor its graph computes one that is not asked for."""
    inner = nodes(p=("pick", {"which": ["@", "value"], "a": ["@", "late"], "b": 5}), q=("inc", {"value": ["p", "int"]}))
    lab = Lab(extra=(expander(inner, {"int": ("q", "int")}),))
    plain = nodes(l=("const", {"value": 40}), e=("expands", {"value": 0, "late": ["l", "int"]}))
    assert (lab.run(plain, wanted=("e",)).value, "l" in lab.calls) == (41, True)
    plain["e"]["inputs"]["value"] = 1
    plain["l"]["inputs"]["value"] = 41
    assert (lab.run(plain, wanted=("e",)).value, "l" in lab.calls) == (6, False)


def test_an_expansion_asked_for_lazily_inside_another() -> None:
    """A result given to an expansion is handed on to the next, lazily too."""
    deep = expander(nodes(p=("pick", {"which": 0, "a": ["@", "value"], "b": 1})), {"int": ("p", "int")})
    lab = Lab(extra=(deep,))
    plain = nodes(c=("const", {"value": 9}), e=("expands", {"value": ["c", "int"]}))
    assert lab.run(plain).value == 9
    assert lab.run(plain).calls == []


def test_an_endless_expansion_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_run, "DEPTH_MAX", 20)
    again = nodes(a=("expands", {"value": ["@", "value"]}))
    done = Lab(extra=(expander(again, {"int": ("a", "int")}),)).run(nodes(e=("expands", {})))
    assert "expands more than 20 deep" in done.result.problems[0].message


def test_a_long_chain_and_a_deep_expansion_run(ram: Lab) -> None:
    """5,000 nodes in a row and 1,000 expansions in each other: nothing recurses."""
    chain = {"n0": {"type": "const", "inputs": {}}}
    for i in range(1, 5000):
        chain[f"n{i}"] = {"type": "inc", "inputs": {"value": [f"n{i - 1}", "int"]}}
    assert ram.run(chain).value == 4999
    assert ram.run(nodes(d=("down", {"n": 1000}))).value == 1000


def test_cancelling_keeps_what_had_finished(lab: Lab) -> None:
    """The next run goes on from there, and says so as if it were the first."""
    cancelled = lab.run(CHAIN, steps=2)
    assert (cancelled.result.state, cancelled.calls, cancelled.result.outputs) == ("cancelled", ["a", "b"], {})
    assert cancelled.events[-1].state == "cancelled"  # type: ignore[attr-defined]
    done = lab.run(CHAIN)
    assert (done.calls, done.why("c")) == (["c"], "first run")


def test_a_node_that_looks_is_cancelled_within() -> None:
    """`ctx.check` raises, and the step is as if it had never begun."""

    @node(category="lab")
    def long(ctx: Context) -> int:
        """Looks once."""
        ctx.check()
        return 1

    lab = Lab(extra=(long,))
    done = lab.run(nodes(l=("long", {})), steps=1)
    assert (done.result.state, done.result.problems) == ("cancelled", ())


def test_half_done_work_goes_on_where_it_was_broken_off(tmp_path: Path) -> None:
    """Also after a restart; another call, or one whose work is gone, begins anew."""
    began: list[int] = []

    @node(category="lab")
    def counts(ctx: Context, to: Number = 5) -> int:
        """Counts, keeping where it is."""
        began.append(ctx.resume() or 0)
        for i in range(began[-1], to):
            ctx.checkpoint(i)
            ctx.check()
        return to

    lab = Lab(tmp_path / "store", extra=(counts,))
    plain = nodes(c=("counts", {}))
    assert lab.run(plain, steps=3).result.state == "cancelled"
    lab = lab.restarted()
    assert (lab.run(plain).value, lab.run(nodes(c=("counts", {"to": 6}))).value) == (5, 6)
    assert began == [0, 2, 0]
    lab.close()


def test_half_done_work_that_is_gone_is_done_again() -> None:
    @node(category="lab")
    def keeps(ctx: Context) -> int:
        """Keeps what cannot be kept."""
        ctx.checkpoint({"large": torch.zeros(1000)})
        lab.services.store.forget_all()
        assert ctx.resume() is None
        return 1

    lab = Lab(extra=(keeps,))
    assert lab.run(nodes(k=("keeps", {}))).value == 1


def failing(error: BaseException) -> Lab:
    @node(category="lab")
    def fails(value: Number = 0) -> int:
        """Raises."""
        raise error

    return Lab(extra=(fails,))


def test_whatever_a_node_raises_becomes_a_sentence(caplog: pytest.LogCaptureFixture) -> None:
    """Unforeseen errors are logged with their cause, memory gets advice, our own pass as they are."""
    plain = nodes(f=("fails", {}))
    assert failing(MemoryError()).run(plain).result.problems[0].code == "out_of_memory"
    assert failing(NotFound("No such thing.")).run(plain).result.problems[0].message == "No such thing."
    problem = failing(ZeroDivisionError("by zero")).run(plain).result.problems[0]
    assert problem.message == "Fails failed unexpectedly: ZeroDivisionError: by zero"
    assert "node f (fails) failed" in caplog.text


def giving(value: Any, kind: Any = int) -> Any:
    @node(category="lab")
    def gives() -> Any:
        """Gives something."""
        return value

    gives.__dict__["__node__"] = _spec(kind)
    return Lab(extra=(gives,)).run(nodes(g=("gives", {}))).result


def _spec(kind: Any) -> Any:
    def gives() -> Any:
        """Gives something."""

    gives.__annotations__["return"] = kind
    return node(category="lab")(gives).__dict__["__node__"]


@pytest.mark.parametrize(
    ("value", "kind", "sentence"),
    [
        ("text", int, "gave a str for int, which is INT"),
        (3, list[int], "gave a int for int, which is a list"),
        (object(), Any, "output any: A object cannot travel"),
        (torch.zeros(2, dtype=torch.complex128), Any, "A tensor of complex128 cannot be stored"),
        pytest.param(10**5000, Any, "cannot be written down", id="huge"),
    ],
)
def test_a_node_must_give_what_it_declares(value: Any, kind: Any, sentence: str) -> None:
    assert sentence in giving(value, kind).problems[0].message


def test_the_number_of_outputs_must_fit() -> None:
    """A named tuple gives as many outputs as it has fields; None is nothing, and allowed."""
    from tests.engine.lab import Ends

    assert "gave 2 outputs and declares 1" in giving(Ends(1, 2), int).problems[0].message
    assert giving(None, int).state == "done"
    assert giving(None, type(None)).outputs == {"g": {}}


def test_linked_values_are_checked_and_converted() -> None:
    """Numbers become text, bounds and types hold also for what comes along a link of type ANY."""

    @node(category="lab")
    def anything(value: Any) -> Any:
        """Passes on."""
        return value

    @node(category="lab")
    def text(value: str, more: list[str]) -> str:
        """Wants text."""
        return value + "".join(more)

    lab = Lab(extra=(anything, text))
    plain = nodes(
        c=("const", {"value": 12}), n=("count", {"n": 2}),
        t=("text", {"value": ["c", "int"], "more": ["n", "int"]}),
        a=("anything", {"value": "x"}), i=("inc", {"value": ["a", "any"]}), d=("double", {"latent": ["a", "any"]}),
        b=("anything", {"value": 10**10}), j=("inc", {"value": ["b", "any"]}),
    )  # fmt: skip
    done = lab.run(plain, wanted=("t", "i", "j", "d"))
    assert done.values == {"t": {"string": "1201"}}
    assert [p.message.partition(",")[0] for p in done.result.problems] == [
        "value needs INT", "latent needs LATENT", "value needs a value from -1e+09 to 1e+09",
    ]  # fmt: skip


def changing(change: Callable[[Any], Any]) -> Lab:
    @node(category="lab")
    def changes(latent: Latent, late: Lazy[Latent]) -> int:
        """Works on its input."""
        change(latent.samples if latent.samples.sum() else late().samples)
        return 1

    return Lab(extra=(changes,))


@pytest.mark.parametrize("first", [0, 1])
def test_changing_an_input_in_place_is_refused(first: int) -> None:
    """Eager or lazy; the other users still get the true value."""
    plain = nodes(
        t=("tensor", {"value": first}), u=("tensor", {"value": 5}),
        c=("changes", {"latent": ["t", "latent"], "late": ["u", "latent"]}),
        m=("mean", {"latent": ["t", "latent"]}), n=("mean", {"latent": ["u", "latent"]}),
    )  # fmt: skip
    done = changing(lambda samples: samples.add_(1)).run(plain, wanted=("c", "m", "n"))
    assert "changed one of its inputs in place" in done.result.problems[0].message
    assert done.values == {"m": {"int": first}, "n": {"int": 5}}


def test_a_node_that_swallows_a_question_is_asked_again() -> None:
    """Even suppressing every exception around a lazy input does not make a wrong result."""

    @node(category="lab")
    def greedy(late: Lazy[Number]) -> int:
        """Swallows everything."""
        with suppress(BaseException):
            return late()
        return -1

    lab = Lab(extra=(greedy,))
    plain = nodes(c=("const", {"value": 8}), g=("greedy", {"late": ["c", "int"]}))
    assert lab.run(plain, wanted=("g",)).value == 8


# Results that are gone


def test_a_damaged_file_is_made_again(lab: Lab) -> None:
    """A flipped bit on disk gives a new run of that node, never a wrong value."""
    plain = nodes(
        t=("tensor", {"value": 4}), d=("double", {"latent": ["t", "latent"]}), m=("mean", {"latent": ["d", "latent"]})
    )  # fmt: skip
    lab.run(plain)
    lab = lab.restarted()
    for file in lab.folder.rglob("*.safetensors"):  # type: ignore[union-attr]
        body = bytearray(file.read_bytes())
        body[-1] ^= 1
        file.write_bytes(body)
    plain["x"] = {"type": "double", "inputs": {"latent": ["d", "latent"]}}
    done = lab.run(plain, wanted=("x", "m"))
    assert done.values["x"] == {"latent": torch.full((1, 4, 8, 8), 16.0).tolist()}
    assert done.calls == ["t", "d", "x"]


def test_a_missing_result_of_an_expansion_is_made_again(lab: Lab) -> None:
    """Only what is gone, and what that needs."""
    inner = nodes(t=("tensor", {"value": ["@", "value"]}), m=("double", {"latent": ["t", "latent"]}))

    @node(category="lab")
    def grows(value: Number) -> Latent | Expansion:
        """Expands."""
        return Expansion(inner, {"latent": ("m", "latent")})

    lab = Lab(lab.folder, extra=(grows,))
    plain = nodes(g=("grows", {"value": 3}), m=("mean", {"latent": ["g", "latent"]}))
    assert lab.run(plain).value == 6
    lab = lab.restarted()
    for file in lab.folder.rglob("*.safetensors"):  # type: ignore[union-attr]
        file.unlink()
    plain["x"] = {"type": "double", "inputs": {"latent": ["g", "latent"]}}
    done = lab.run(plain, wanted=("x",))
    assert done.calls == ["g/0/t", "g/0/m", "x"]
    assert done.values["x"]["latent"][0][0][0][0] == 12.0
    lab.close()


def test_a_wanted_result_that_is_gone_is_made_again(lab: Lab) -> None:
    """Even if nothing reads it in this run."""
    plain = nodes(t=("tensor", {"value": 4}))
    lab.run(plain)
    lab = lab.restarted()
    next(lab.folder.rglob("*.safetensors")).unlink()  # type: ignore[union-attr]
    assert lab.run(plain).calls == ["t"]
    assert lab.run(plain).calls == []


def test_what_a_node_showed_is_made_again_if_gone(ram: Lab) -> None:
    """A cached node that shows something needs its value."""
    plain = nodes(s=("save", {"value": 1}))
    ram.run(plain, job="1")
    ram.services.store.forget_all()
    assert ram.run(plain, job="1").calls == ["s"]


def test_a_reused_node_says_again_what_it_shows(lab: Lab) -> None:
    """A client that sees only the second run has something to show."""
    plain = nodes(s=("save", {"value": 3}))
    lab.run(plain, job="1")
    (event,) = [e for e in lab.run(plain, job="1").events if e.kind == "step_cached"]
    assert [shown["text"] for shown in event.ui] == ["3"]


def test_what_an_expansion_showed_is_made_again_if_gone() -> None:
    """The node that expanded shows it too, so it needs the value."""

    @node(category="lab")
    def shows(value: Number = 1) -> Saved | Expansion:
        """Expands into something that saves."""
        return Expansion(nodes(s=("save", {"value": ["@", "value"]})), {"saved": ("s", "saved")})

    lab = Lab(extra=(shows,))
    left = iter([1])

    def forget(event: Any) -> None:
        if event.kind == "step_done" and next(left, None):
            lab.services.store.forget_all()

    result = engine_run.Run(lab.graph(nodes(e=("shows", {}))), lab.services, emit=forget).execute()
    assert lab.calls == ["e", "e/0/s", "e/0/s"]
    assert [shown["text"] for shown in result.ui["e"]] == ["1"]


def test_two_users_of_a_result_that_is_gone_wait_for_one_run(lab: Lab) -> None:
    """Also while it waits for what it needs itself."""
    plain = nodes(
        s=("double", {"latent": ["u", "latent"]}), c=("mean", {"latent": ["s", "latent"]}),
        d=("double", {"latent": ["s", "latent"]}), u=("tensor", {"value": 2}),
    )  # fmt: skip
    lab.run(plain, wanted=("s",))
    lab = lab.restarted()
    for file in lab.folder.rglob("*.safetensors"):  # type: ignore[union-attr]
        file.unlink()
    done = lab.run(plain, wanted=("c", "d"))
    assert (done.calls, done.values["c"]) == (["u", "s", "c", "d"], {"int": 4})


def test_arrays_travel_too() -> None:
    """A numpy array comes read-only; a lazy input may be asked for twice."""

    @node(category="lab")
    def array() -> Any:
        """Gives an array."""
        return np.arange(3)

    @node(category="lab")
    def sums(one: Any, late: Lazy[Any]) -> int:
        """Reads arrays."""
        return int(one.sum() + late().sum() + late().sum())

    lab = Lab(extra=(array, sums))
    plain = nodes(a=("array", {}), s=("sums", {"one": ["a", "any"], "late": ["a", "any"]}))
    assert lab.run(plain, wanted=("s",)).value == 9


def test_a_result_that_can_never_be_kept_ends_the_run(ram: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """After some attempts there is a sentence instead of a loop."""
    monkeypatch.setattr(ram.services.store, "_remember", lambda *_: None)
    plain = nodes(t=("tensor", {"value": 4}), m=("mean", {"latent": ["t", "latent"]}))
    done = ram.run(plain)
    assert "The result of t cannot be kept" in done.result.problems[0].message
    assert done.calls.count("t") == 1 + engine_run.REDO_MAX


# Files, durability, reports


@node(category="lab")
def reads(name: Annotated[str, File("input")], more: Annotated[list[str], File("input")]) -> str:
    """Reads files."""
    return name


def test_the_content_of_a_named_file_counts() -> None:
    """A changed file runs its node again, also one of a list; a missing one is the input's problem."""
    digests = {"a.png": "1", "b.png": "1"}

    def digest(kind: str, name: str) -> str:
        if name not in digests:
            raise NotFound(f"There is no {name!r} in {kind}.")
        return digests[name]

    lab = Lab(file_digest=digest, extra=(reads,))
    plain = nodes(r=("reads", {"name": "a.png", "more": ["b.png"]}))
    lab.run(plain)
    assert lab.run(plain).calls == []
    for name in ("a.png", "b.png"):
        digests[name] = "2"
        assert lab.run(plain).why("r") == f"{'name' if name == 'a.png' else 'more'} changed"
    assert lab.run(nodes(r=("reads", {"name": "", "more": []}))).result.state == "done"
    missing = lab.run(nodes(r=("reads", {"name": "c.png", "more": []}))).result.problems[0]
    assert (missing.field, missing.message) == ("name", "There is no 'c.png' in input.")
    long = lab.run(nodes(r=("reads", {"name": "x" * 300, "more": []}))).result.problems[0]
    assert "too long" in long.message


@node(category="lab")
def speaks(clip: Clip | None = None, text: str = "") -> str:
    """Reads prompts."""
    return text


def test_learnt_words_count_where_a_prompt_names_some() -> None:
    """A file of another word there runs such prompts again, and no others; long texts are taken to name some."""
    state = ["1"]
    lab = Lab(file_digest=lambda kind, name: f"{kind} {name} {state[0]}", extra=(speaks,))
    prompts = {"plain": "a cat", "word": "a (embedding:cat:1.2)", "long": "a cat " * 60}
    plain = nodes(**{name: ("speaks", {"text": text}) for name, text in prompts.items()})
    lab.run(plain)
    assert lab.run(plain).calls == []
    state[0] = "2"
    again = lab.run(plain)
    assert sorted(again.calls) == ["long", "word"]
    assert again.why("word") == "text changed"


def test_durable_events_come_after_their_results(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is told that a power cut could undo: the disk is flushed first."""
    flushes: list[int] = []
    flush = lab.disk.flush  # type: ignore[union-attr]
    events: list[Any] = []
    monkeypatch.setattr(lab.disk, "flush", lambda: (flush(), flushes.append(len(events))))
    built = lab.graph(CHAIN)
    engine_run.Run(built, lab.services, emit=events.append).execute()
    kinds = [e.kind for e in events]
    assert kinds[0] == "run_started"
    assert flushes[-1] <= kinds.index("step_done")


def test_a_slow_node_tells_what_ended_before_it() -> None:
    """Its first report makes the earlier steps durable, so that they do not seem to hang."""

    @node(category="lab")
    def slow(ctx: Context, value: Number) -> int:
        """Takes its time."""
        time.sleep(engine_run.FLUSH_SECONDS * 1.5)
        ctx.progress(1, 2)
        ctx.progress(2, 2)
        return value

    lab = Lab(extra=(slow,))
    done = lab.run(nodes(a=("const", {}), s=("slow", {"value": ["a", "int"]}), z=("inc", {"value": ["s", "int"]})))
    kinds = [(e.kind, getattr(e, "node", "")) for e in done.events]
    assert kinds.index(("step_done", "a")) < kinds.index(("step_progress", "s")) < kinds.index(("step_done", "s"))
    assert isinstance(done.events[kinds.index(("step_progress", "s"))], StepProgress)


def test_a_full_disk_ends_the_run_with_a_sentence(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was to be written stays pending, and is there once there is room."""

    def full() -> None:
        raise Unavailable("Cannot write results.sqlite: database or disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(lab.disk, "flush", full)
        with pytest.raises(Unavailable, match="disk is full"):
            lab.run(CHAIN)
    lab = lab.restarted()
    assert lab.run(CHAIN).calls == []


def test_the_workflow_and_job_reach_the_node() -> None:
    """`ctx` carries what is embedded into pictures."""
    seen: list[Any] = []

    @node(category="lab")
    def looks(ctx: Context) -> int:
        """Looks at its context."""
        seen.append((ctx.job, ctx.workflow, ctx.node))
        return 1

    Lab(extra=(looks,)).run(nodes(l=("looks", {})), job="j", workflow={"id": "w"})
    assert seen == [("j", {"id": "w"}, "l")]


def test_shown_files_are_listed(ram: Lab) -> None:
    """The result lists what the wanted nodes show, element by element."""
    plain = nodes(n=("count", {"n": 2}), s=("save", {"value": ["n", "int"]}))
    ui = ram.run(plain).result.ui["s"]
    assert [shown["text"] for shown in ui] == ["0", "1"]
    assert ui[0]["files"] == [{"digest": "d" * 64, "name": "a.png", "media": "image/png"}]
    assert Saved.socket == "SAVED"


def test_bounds_of_ranges_are_shown() -> None:
    """A sanity check of the sentence that people meet most."""
    with pytest.raises(BadInput, match=r"n needs a value from 0 to 5, got int 9\."):
        Lab().registry.specs["count"].inputs[0].check(9)
    assert Range(0, 1).step is None
