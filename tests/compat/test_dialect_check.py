"""Prompts that are wrong, refused in ComfyUI's words."""

from __future__ import annotations

from typing import Any

import pytest

from tests.compat.v1_lab import V1Lab, node

Prompt = dict[str, Any]


def show(source: str, slot: int = 0) -> dict[str, Any]:
    return node("TestShow", value=[source, slot])


def errors(lab: V1Lab, prompt: Prompt, name: str) -> list[tuple[str, str, str]]:
    found = lab.check(prompt).node_errors[name]["errors"]
    return [(e["type"], e["message"], e["details"]) for e in found]


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({}, ("required_input_missing", "Required input is missing", "value")),
        ({"value": 101}, ("value_bigger_than_max", "Value 101 bigger than max of 100", "value")),
        ({"value": -101}, ("value_smaller_than_min", "Value -101 smaller than min of -100", "value")),
        (
            {"value": "x"},
            (
                "invalid_input_type", "Failed to convert an input value to a INT value",
                "value, x, invalid literal for int() with base 10: 'x'",
            ),
        ),
        (
            {"value": ["1"]},
            ("bad_linked_input", "Bad linked input, must be a length-2 list of [node_id, slot_index]", "value"),
        ),
    ],
)  # fmt: skip
def test_a_wrong_value(lab: V1Lab, inputs: dict[str, Any], expected: tuple[str, str, str]) -> None:
    prompt = {"1": node("TestNumber", **inputs), "2": show("1")}
    checked = lab.check(prompt)
    assert checked.error == {
        "type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation", "details": "",
        "extra_info": {},
    }  # fmt: skip
    assert errors(lab, prompt, "1") == [expected]
    assert checked.node_errors["1"]["dependent_outputs"] == ["2"]
    assert checked.node_errors["1"]["class_type"] == "TestNumber"


def test_values_are_converted_as_there(lab: V1Lab) -> None:
    prompt = {"1": node("TestNumber", value="7"), "2": node("TestBlock", value=["1", 0], block="false"), "3": show("2")}
    checked = lab.check(prompt)
    assert checked.error is None
    assert checked.prompt["1"]["inputs"]["value"] == 7
    assert checked.prompt["2"]["inputs"]["block"] is True
    assert prompt["1"]["inputs"]["value"] == "7", "what was posted is left alone"


def test_types_of_links(lab: V1Lab) -> None:
    prompt = {"1": node("TestImage", grey=0.5), "2": node("TestAdd", a=["1", 0], b=1), "3": show("2")}
    message = "Return type mismatch between linked nodes"
    details = "a, received_type(IMAGE) mismatch input_type(INT)"
    assert errors(lab, prompt, "2") == [("return_type_mismatch", message, details)]
    extra = lab.check(prompt).node_errors["2"]["errors"][0]["extra_info"]
    assert (extra["received_type"], extra["linked_node"]) == ("IMAGE", ["1", 0])


def test_unions_and_wildcards_match(lab: V1Lab) -> None:
    typed = node("TestTyped", text="a", either=["1", 0])
    assert lab.check({"1": node("TestNumber", value=1), "2": typed, "3": show("2")}).error is None


def test_choices(lab: V1Lab) -> None:
    prompt = {"1": node("TestValidated", value=1, kind="blue"), "2": show("1")}
    assert errors(lab, prompt, "1") == [
        ("value_not_in_list", "Value not in list", "kind: 'blue' not in ['red', 'green']")
    ]


def test_a_class_that_checks_a_value_switches_its_bounds_off(lab: V1Lab) -> None:
    fine = {"1": node("TestValidated", value=6, kind="red"), "2": show("1")}
    assert lab.check(fine).error is None, "above max, but VALIDATE_INPUTS takes care of `value`"
    bad = {"1": node("TestValidated", value=7, kind="red"), "2": show("1")}
    expected = ("custom_validation_failed", "Custom validation failed for node", "value - seven is out of luck")
    assert errors(lab, bad, "1") == [expected]


def test_a_class_that_looks_at_types_decides_on_links_itself(lab: V1Lab) -> None:
    def prompt(source: str, slot: int) -> Prompt:
        image, number = node("TestImage", grey=0.5), node("TestNumber", value=1)
        taken = node("TestValidated", value=1, kind="red", linked=[source, slot])
        return {"1": image, "2": number, "3": taken, "4": show("3")}

    assert lab.check(prompt("1", 1)).error is None
    assert errors(lab, prompt("2", 0), "3")[0][2] == "value - cannot use INT"


def test_good_outputs_run_beside_bad_ones(lab: V1Lab) -> None:
    prompt = {"1": node("TestNumber", value=1), "2": show("1"), "3": node("TestNumber", value=1000), "4": show("3")}
    checked = lab.check(prompt)
    assert (checked.error, checked.outputs, list(checked.node_errors)) == (None, ["2"], ["3"])


def test_links_to_nowhere(lab: V1Lab) -> None:
    direct = lab.check({"2": show("99")})
    (error,) = direct.node_errors["2"]["errors"]
    assert (error["type"], error["details"]) == ("exception_during_validation", "'99'")
    inner = lab.check({"1": node("TestAdd", a=["99", 0], b=1), "2": show("1")})
    (error,) = inner.node_errors["2"]["errors"]
    assert (error["type"], error["details"]) == ("exception_during_inner_validation", "'99'")
    assert error["extra_info"]["linked_node"] == ["1", 0]
    slot = lab.check({"1": node("TestNumber", value=1), "2": show("1", 5)})
    assert slot.node_errors["2"]["errors"][0]["details"] == "tuple index out of range"


def test_a_cycle_is_named(lab: V1Lab) -> None:
    prompt = {"1": node("TestAdd", a=["2", 0], b=1), "2": node("TestAdd", a=["1", 0], b=1), "3": show("1")}
    error = lab.check(prompt).error
    assert error is not None
    assert (error["type"], error["details"]) == ("dependency_cycle", "1 (TestAdd) -> 2 (TestAdd) -> 1 (TestAdd)")


def test_depth_has_no_limit(lab: V1Lab) -> None:
    prompt = {"0": node("TestNumber", value=0)}
    prompt |= {str(n): node("TestAdd", a=[str(n - 1), 0], b=0) for n in range(1, 1500)}
    assert lab.check({**prompt, "end": show("1499")}).outputs == ["end"]


@pytest.mark.parametrize(
    ("prompt", "kind", "message"),
    [
        ({"1": {"inputs": {}}}, "invalid_prompt", "Cannot execute because a node is missing the class_type property."),
        ({"1": node("Nowhere")}, "invalid_prompt", "Cannot execute because node Nowhere does not exist."),
        ({"1": node("TestNumber", value=1)}, "prompt_no_outputs", "Prompt has no outputs"),
        ({}, "prompt_no_outputs", "Prompt has no outputs"),
    ],
)
def test_what_cannot_run_at_all(lab: V1Lab, prompt: Prompt, kind: str, message: str) -> None:
    error = lab.check(prompt).error
    assert error is not None
    assert (error["type"], error["message"]) == (kind, message)


def test_a_node_without_inputs_is_no_end_of_the_check(lab: V1Lab) -> None:
    checked = lab.check({"1": {"class_type": "TestShow"}})
    assert checked.node_errors["1"]["errors"][0]["details"] == "'inputs'"


def test_object_info_of_a_pack_and_of_a_core_class(lab: V1Lab) -> None:
    info = lab.registry.classes["TestTyped"].info()
    assert info["input"]["required"]["either"] == ["INT,FLOAT", {"forceInput": True}]
    assert info["input_order"] == {"required": ["text", "either"]}
    assert (info["output"], info["output_name"], info["deprecated"]) == (["STRING"], ["STRING"], True)
    hidden = lab.registry.classes["TestPreview"].info()["input"]["hidden"]
    assert hidden == {"prompt": "PROMPT", "extra": "EXTRA_PNGINFO"}
    assert lab.registry.classes["TestAdd"].info()["display_name"] == "Add two numbers"
