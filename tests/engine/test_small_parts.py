"""Settings, errors, events, the context, the planners and the keys."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import events, settings
from engine.context import Context
from engine.errors import BadInput, Cancelled, NotFound, Problem, Unavailable, WorkflowInvalid
from engine.keys import step_key, value_digest
from engine.plan import Plan
from engine.settings import Settings, parse_bytes
from engine.types import Cond, Conditioning, Model, Patch, Weights
from tests.engine.lab import Lab, nodes

# Settings


@pytest.mark.parametrize(
    ("text", "size"),
    [("4GiB", 4 * 2**30), ("800MB", 800_000_000), ("1048576", 2**20), ("1.5 kib", 1536), ("2T", 2 * 10**12)],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "lots", "1.2.3GB", ".", "-4GB", "4XB", "٤GB"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(BadInput, match="is not a size"):
        parse_bytes(text)


def test_settings_come_from_flags_then_the_environment() -> None:
    """A flag that was not given is None."""
    env = {
        "SFUMATO_PORT": "99", "SFUMATO_HOST": "h", "SFUMATO_NO_TOKEN": "yes", "SFUMATO_CACHE": "ram",
        "SFUMATO_BUDGET": "1KB", "SFUMATO_DATA_DIR": "/d", "SFUMATO_CUSTOM_NODES": "/a:/b:", "OTHER": "x",
    }  # fmt: skip
    made = Settings.from_env(env, port=8, host=None)
    assert (made.port, made.host, made.no_token, made.cache, made.budget) == (8, "h", True, "ram", 1000)
    assert (made.data_dir, made.custom_nodes) == (Path("/d"), (Path("/a"), Path("/b")))
    assert Settings.from_env({"SFUMATO_PORT": "0"}).port == 0


@pytest.mark.parametrize(
    ("name", "text"), [("PORT", "x"), ("PORT", "²"), ("PORT", "70000"), ("CACHE", "tape"), ("BUDGET", "much")]
)
def test_a_wrong_variable_is_explained(name: str, text: str) -> None:
    with pytest.raises(BadInput):
        Settings.from_env({f"SFUMATO_{name}": text})


def test_settings_survive_json() -> None:
    """Save the token, which is not the worker's business."""
    made = Settings(
        token="secret", budget=5, data_dir=Path("/x"), custom_nodes=(Path("/a"),), cache="none",
        extra_model_paths=Path("/y.yaml"),
    )  # fmt: skip
    plain = json.loads(json.dumps(made.to_json()))
    assert "secret" not in str(plain)
    assert Settings.from_json(plain) == Settings(**{**vars(made), "token": None})
    assert Settings.from_json({}) == Settings()
    assert settings.ROOT.is_dir()


# Errors and events


def test_problems_say_where() -> None:
    """In text and in JSON, without empty places."""
    assert str(Problem("c", "m.")) == "[c] m."
    assert str(Problem("c", "m.", "n", "f")) == "[c] node n, input f: m."
    assert Problem("c", "m.", "n").to_json() == {"code": "c", "message": "m.", "node": "n"}


def test_the_first_node_named_stays() -> None:
    """`at` fills in what is missing."""
    assert NotFound("x").at("a").at("b").problems == (Problem("not_found", "x", "a"),)
    found = WorkflowInvalid([Problem("c", "m"), Problem("c", "m", "n")]).at("a").problems
    assert [p.node for p in found] == ["a", "n"]


def test_events_are_json() -> None:
    """The bytes of a preview travel beside it."""
    event = events.StepPreview("n", "image/jpeg", b"x")
    assert event.to_json() == {"kind": "step_preview", "node": "n", "media": "image/jpeg"}
    assert not event.durable


# Value types


def test_networks_are_changed_by_description() -> None:
    """Patches stack, options merge, None removes one; conditions change together."""
    model = Model("sd1", Weights("checkpoints", "a", "d"))
    patch = Patch("lora", "unet", 0.5)
    assert model.patched(patch).patched(patch).patches == (patch, patch)
    assert model.with_options(a=1, b=2).with_options(a=None).options == {"b": 2}
    conds = Conditioning((Cond(np.zeros(1)), Cond(np.zeros(1)))).map(strength=0.5).conds  # type: ignore[arg-type]
    assert [c.strength for c in conds] == [0.5, 0.5]


# The context


def test_a_bare_context_has_nothing_to_offer() -> None:
    """In a script, progress goes nowhere, and models and files say that there are none."""
    ctx = Context()
    ctx.progress(1, 2)
    ctx.preview(np.zeros((2, 2, 3), np.uint8))
    for part in (ctx.models, ctx.files):
        with pytest.raises(Unavailable, match="has no"):
            part.names("x")


def test_progress_knows_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first unit of this count; reports too close together are dropped, the last one never."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    told: list[Any] = []
    ctx = Context("n", emit=told.append)
    for done, at in ((0, 101), (1, 102), (2, 102.1), (3, 104), (10, 104.1), (0, 110), (5, 111)):
        now[0] = at
        ctx.progress(done, 10)
    assert [(e.done, e.rate, e.left) for e in told] == [
        (0, None, None), (1, 1, 9), (3, 1, 7), (10, pytest.approx(10 / 3.1), 0), (0, None, None), (5, 5, 1),
    ]  # fmt: skip


def test_figures_travel_with_progress_unless_json_cannot_say_them() -> None:
    told: list[Any] = []
    Context(emit=told.append).progress(1, 1, figures={"loss": 0.5, "lost": float("nan"), "steps": 3})
    assert told[0].to_json()["figures"] == {"loss": 0.5, "steps": 3.0}


def test_previews_are_small_and_rare() -> None:
    told: list[Any] = []
    ctx = Context(emit=told.append)
    assert ctx.wants_preview()
    for _ in range(3):
        ctx.preview(np.zeros((4, 4, 3), np.uint8))
    assert [e.data[:2] for e in told] == [b"\xff\xd8"]
    assert not ctx.wants_preview()


def test_progress_is_where_cancelling_happens() -> None:
    ctx = Context("n", cancelled=lambda: True)
    with pytest.raises(Cancelled):
        ctx.progress(1, 2)


# The plan of a run


def test_the_plan_follows_the_file() -> None:
    """Ready nodes come in the order of the file, whatever the order in which they became ready."""
    plain = nodes(
        z=("const", {}), y=("inc", {"value": ["x", "int"]}), x=("const", {}),
        w=("add", {"a": ["y", "int"], "b": ["z", "int"]}),
    )  # fmt: skip
    plan = Plan(Lab().graph(plain))
    order = []
    while (node := plan.next()) is not None:
        order.append(node.id)
        order += [f"-{idle}" for idle in plan.finish(node.id)]
    assert order == ["z", "x", "y", "-x", "w", *sorted(["-y", "-z"], key=order.index)]
    assert (plan.wanted, plan.depth("w")) == (4, 0)


def test_what_fails_on_its_second_run_takes_along_what_was_ready() -> None:
    """But not what was done with the first result."""
    user = ("inc", {"value": ["a", "int"]})
    plan = Plan(Lab().graph(nodes(a=("const", {}), b=user, c=user)))
    for name in ("a", "b"):
        assert plan.next() is plan.nodes[name]
        plan.finish(name)
    plan.redo("a")
    assert plan.next() is plan.nodes["a"]
    assert plan.fail("a") == ["c"]
    assert plan.next() is None


# Keys


def test_keys_are_what_they_were() -> None:
    """A change here makes every result on every disk worthless: it must be meant, and bump a tag in `engine.keys`."""
    assert golden() == json.loads((Path(__file__).parent / "golden_keys.json").read_text())


def golden() -> dict[str, list[str]]:
    """Return the keys of the steps of some small workflows, in the order in which they ended."""
    workflows = {
        "value": nodes(a=("const", {"value": 3})),
        "chain": nodes(a=("const", {"value": 3}), b=("inc", {"value": ["a", "int"]})),
        "list": nodes(n=("count", {"n": 3}), i=("inc", {"value": ["n", "int"], "by": 2})),
        "whole list": nodes(n=("count", {"n": 3}), t=("total", {"values": ["n", "int"]})),
        "literal list": nodes(t=("total", {"values": [1, 2, 3]})),
        "two outputs": nodes(e=("ends", {"values": [4, 5]}), i=("inc", {"value": ["e", "high"]})),
        "lazy": nodes(c=("const", {"value": 1}), p=("pick", {"which": 0, "a": ["c", "int"], "b": 2})),
        "expansion": nodes(d=("down", {"n": 2})),
        "tensor": nodes(t=("tensor", {"value": 1}), m=("double", {"latent": ["t", "latent"]})),
        "effect": nodes(s=("save", {"value": 1})),
    }
    return {
        name: [e.key for e in Lab().run(plain, job="j").events if e.kind in ("step_done", "step_cached")]  # type: ignore[attr-defined]
        for name, plain in workflows.items()
    }


def test_everything_that_matters_changes_the_key() -> None:
    """Node, code, numerics, scope, names and values; and no two lists of texts run together."""
    spec = Lab().registry.specs["inc"]
    pairs = [("value", "i:1")]
    made = [
        step_key(spec, "cpu", pairs), step_key(spec, "gpu", pairs), step_key(spec, "cpu", pairs, scope="j"),
        step_key(Lab().registry.specs["add"], "cpu", pairs), step_key(spec, "cpu", [("value", "i:2")]),
        step_key(spec, "cpu", [("by", "i:1")]), step_key(spec, "cpu", [*pairs, *pairs]),
        step_key(spec, "cpu", [("value", "s:\ud800")]), step_key(spec, "cpu", [("valu", "ei:1")]),
    ]  # fmt: skip
    assert len(set(made)) == len(made)


@given(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.none() | st.integers() | st.text())
def test_digests_tell_values_apart(one: Any, other: Any) -> None:
    """Same type and value, same digest; else another."""
    same = type(one) is type(other) and one == other
    assert (value_digest(one) == value_digest(other)) is same
