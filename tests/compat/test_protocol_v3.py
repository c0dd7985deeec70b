"""The declarative protocol (v3), for the parts that packs use."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compat.v1_lab import V1Lab, node


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[V1Lab]:
    lab = V1Lab(tmp_path, ("declared",))
    yield lab
    lab.close()


def test_a_declared_class_is_described_as_one_of_v1(lab: V1Lab) -> None:
    info = lab.registry.classes["DeclaredAdd"].info()
    assert info["input"]["required"]["b"] == [
        "INT", {"default": 1, "min": 0, "max": 10, "step": 1, "tooltip": "What is added."},
    ]  # fmt: skip
    assert info["input"]["required"]["how"] == ["COMBO", {"options": ["plus", "minus"], "default": "plus"}]
    assert info["input"]["optional"] == {"image": ["IMAGE"]}
    assert (info["output_name"], info["display_name"], info["category"]) == (["sum"], "Add", "test/v3")


def test_values_run_through_declared_classes(lab: V1Lab) -> None:
    done = lab.run({
        "1": node("DeclaredLater", n=5), "2": node("DeclaredAdd", a=["1", 0], b=3, how="minus"),
        "3": node("DeclaredLater", n=0), "4": node("DeclaredSwitch", switch=True, yes=["2", 0], no=["3", 0]),
        "5": node("DeclaredShow", value=["4", 0]),
    })  # fmt: skip
    assert done.result.problems == ()
    assert done.shown("5") == ["2"]
    assert done.calls == ["DeclaredAdd 2"]


def test_a_declared_class_may_block_and_check(lab: V1Lab) -> None:
    done = lab.run({"1": node("DeclaredLater", n=0), "2": node("DeclaredShow", value=["1", 0])})
    assert [(e.node, e.note) for e in done.kinds("step_skipped")] == [("2", "nothing to give")]
    four = {
        "1": node("DeclaredLater", n=1), "2": node("DeclaredAdd", a=["1", 0], b=4, how="plus"),
        "3": node("DeclaredShow", value=["2", 0]),
    }  # fmt: skip
    assert lab.check(four).node_errors["2"]["errors"][0]["details"] == "b - not four"


def test_inputs_that_grow_or_depend_on_a_choice_are_flat_outside_and_dicts_inside(lab: V1Lab) -> None:
    info = lab.registry.classes["DeclaredGrows"].info()["input"]
    assert list(info["required"]) == ["many.n0", "mode"]
    assert list(info["optional"]) == ["many.n1", "many.n2", "sides.left", "sides.right", "mode.size", "mode.x"]
    assert info["required"]["mode"] == ["COMBO", {"options": ["plain", "sized", "scaled"]}]
    assert info["optional"]["mode.size"] == ["*"]  # a whole number or not, by the choice
    given = {"many.n0": ["1", 0], "many.n2": ["1", 0], "sides.right": 5, "mode": "sized", "mode.size": 7, "mode.x": "y"}
    prompt = {"1": node("DeclaredAdd", a=["0", 0], b=1, how="plus"), "0": node("DeclaredLater", n=2),
              "2": node("DeclaredGrows", **given), "3": node("DeclaredShow", value=["2", 0])}  # fmt: skip
    done = lab.run(prompt)
    assert done.result.problems == ()
    (told,) = done.shown("3")
    many, sides, mode = ast.literal_eval(told)
    assert many.keys() == {"n0", "n2"}
    assert sides == {"left": 0, "right": 5}
    assert mode == {"mode": "sized", "size": 7, "x": "y"}
    assert "DeclaredGrows" not in lab.run(prompt).calls
    lacking = lab.check({"2": node("DeclaredGrows", mode="plain"), "3": node("DeclaredShow", value=["2", 0])})
    assert lacking.node_errors["2"]["errors"][0]["details"] == "many.n0"
