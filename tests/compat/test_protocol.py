"""What the v1 protocol promises: each promise by a class of the pack in `v1_packs/semantics`."""

from __future__ import annotations

from typing import Any

import pytest

from engine.compat.api_format import from_api
from tests.compat.v1_lab import V1Lab, node

CHAIN = {"1": node("TestNumber", value=3), "2": node("TestAdd", a=["1", 0], b=4), "3": node("TestShow", value=["2", 0])}


def show(source: str, slot: int = 0) -> dict[str, Any]:
    return node("TestShow", value=[source, slot])


# Caching -----------------------------------------------------------------------------------------------------------


def test_a_second_run_calls_nothing_and_shows_the_same(lab: V1Lab) -> None:
    first = lab.run(CHAIN)
    assert first.calls == ["TestNumber", "TestAdd", "TestShow"]
    again = lab.run(CHAIN, job="another")
    assert again.calls == []
    assert again.shown("3") == first.shown("3") == ["7"]


def test_results_outlive_a_restart(lab: V1Lab) -> None:
    lab.run(CHAIN)
    later = lab.restarted()
    assert later.run(CHAIN).calls == []
    later.close()


def test_a_change_runs_only_what_depends_on_it_and_changes_something(lab: V1Lab) -> None:
    lab.run(CHAIN)
    changed = {**CHAIN, "2": node("TestAdd", a=["1", 0], b=5)}
    assert lab.run(changed).calls == ["TestAdd", "TestShow"]
    same = {"1": node("TestNumber", value=4), "2": node("TestAdd", a=["1", 0], b=4), "3": show("2")}
    assert lab.run(same).calls == ["TestNumber", "TestAdd"], "8 was shown before"


def test_ids_and_titles_do_not_matter_for_the_cache(lab: V1Lab) -> None:
    lab.run(CHAIN)
    renamed = {f"x{k}": {**v, "_meta": {"title": "other"}} for k, v in CHAIN.items()}
    renamed["x2"]["inputs"] = {"a": ["x1", 0], "b": 4}
    renamed["x3"]["inputs"] = {"value": ["x2", 0]}
    assert lab.run(renamed).calls == []


def test_is_changed_decides_whether_a_node_runs_again(lab: V1Lab) -> None:
    prompt = {"1": node("TestIsChanged", value=1, always=False), "2": show("1")}
    assert lab.run(prompt).calls == ["TestIsChanged", "TestShow"]
    assert lab.run(prompt).calls == []
    lab.pack.TestIsChanged.now = 1.5
    assert lab.run(prompt).calls == ["TestIsChanged"]
    always = {"1": node("TestIsChanged", value=1, always=True), "2": show("1")}
    assert [lab.run(always).calls.count("TestIsChanged") for _ in range(2)] == [1, 1], "NaN equals nothing"


def test_a_result_is_used_by_all_who_need_it_and_made_once(lab: V1Lab) -> None:
    prompt = {
        "1": node("TestNumber", value=2),
        "2": node("TestAdd", a=["1", 0], b=["1", 0]),
        "3": show("1"),
        "4": show("2"),
    }
    done = lab.run(prompt)
    assert done.calls.count("TestNumber") == 1
    assert (done.shown("3"), done.shown("4")) == (["2"], ["4"])


def test_an_instance_keeps_what_it_notes_and_hears_its_id(lab: V1Lab) -> None:
    counts = [lab.run({"7": node("TestState", trigger=n), "2": show("7"), "3": show("7", 1)}) for n in (1, 2)]
    assert [c.shown("2") for c in counts] == [["1"], ["2"]]
    assert counts[0].shown("3") == ["7"]


# Lazy inputs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", [True, False])
def test_only_the_branch_that_is_asked_for_runs(lab: V1Lab, which: bool) -> None:
    good, bad = ("yes", "no") if which else ("no", "yes")
    switch = node("TestSwitch", which=which, **{good: ["1", 0], bad: ["2", 0]})
    done = lab.run(
        {"1": node("TestNumber", value=3), "2": node("TestFail", value=["1", 0]), "3": switch, "4": show("3")}
    )
    assert done.result.state == "done"
    assert done.shown("4") == ["3"]
    assert "TestFail" not in done.calls


# Lists -------------------------------------------------------------------------------------------------------------


def test_lists_are_mapped_over_and_taken_whole(lab: V1Lab) -> None:
    done = lab.run({
        "1": node("TestRange", count=3), "2": node("TestAdd", a=["1", 0], b=10), "3": show("2"),
        "4": node("TestListSum", values=["2", 0], times=2), "5": show("4"),
    })  # fmt: skip
    assert done.shown("3") == ["10", "11", "12"]
    assert done.shown("5") == ["66"]


def test_the_shorter_of_two_lists_repeats_its_last_value(lab: V1Lab) -> None:
    done = lab.run({
        "1": node("TestRange", count=4), "2": node("TestRange", count=2),
        "3": node("TestAdd", a=["1", 0], b=["2", 0]),
        "4": node("TestListSum", values=["3", 0], times=1), "5": show("4"),
    })  # fmt: skip
    assert done.shown("5") == [str(0 + 2 + 3 + 4)]


def test_an_empty_list_makes_no_call(lab: V1Lab) -> None:
    done = lab.run({"1": node("TestRange", count=0), "2": node("TestAdd", a=["1", 0], b=1), "3": show("2")})
    assert done.result.state == "done"
    assert done.calls == ["TestRange"]


# Expansion ---------------------------------------------------------------------------------------------------------


def test_a_graph_in_place_of_values_runs_and_is_cached_node_by_node(lab: V1Lab) -> None:
    prompt = {
        "1": node("TestNumber", value=3),
        "2": node("TestExpandAdd", a=["1", 0], b=4, c=5),
        "3": show("2"),
        "4": show("2", 1),
    }
    done = lab.run(prompt)
    assert (done.shown("3"), done.shown("4")) == (["12"], ["as a graph"])
    changed = {**prompt, "2": node("TestExpandAdd", a=["1", 0], b=4, c=6)}
    assert lab.run(changed).calls == ["TestExpandAdd", "TestAdd", "TestShow"], "the first sum was known"


def test_expansions_nest(lab: V1Lab) -> None:
    assert lab.run({"1": node("TestCountDown", n=40), "2": show("1")}).shown("2") == ["40"]


def test_an_expansion_may_hold_tensors_and_show_something(lab: V1Lab) -> None:
    prompt = {"1": node("TestImage", grey=0.5), "2": node("TestExpandImage", image=["1", 0])}
    done = lab.run(prompt)
    assert done.shown("2") == ["expanded"]
    image = lab.services.store.get(done.result.outputs["2"]["IMAGE"])
    assert image.pixels.shape == (1, 8, 8, 3)
    assert image.pixels.mean() == pytest.approx(0.5)
    assert lab.restarted().run(prompt).calls == []


def loop(limit: int) -> dict[str, Any]:
    return {
        "0": node("TestNumber", value=1),
        "1": node("TestLoopOpen", condition=True, value=["0", 0]),
        "2": node("TestAdd", a=["1", 1], b=2),
        "3": node("TestLess", a=["2", 0], b=limit),
        "4": node("TestLoopClose", flow=["1", 0], condition=["3", 0], value=["2", 0]),
        "5": show("4"),
    }


def test_a_loop_built_from_the_graph_itself_runs_and_resumes(lab: V1Lab) -> None:
    done = lab.run(loop(25))
    assert done.result.problems == ()
    assert done.shown("5") == ["25"]
    assert done.calls.count("TestAdd") == 12
    assert lab.run(loop(25)).calls == []
    assert lab.run(loop(29)).calls.count("TestAdd") == 2, "earlier turns were known"


# Failure, blocking -------------------------------------------------------------------------------------------------


def test_an_error_leaves_the_results_of_other_branches(lab: V1Lab) -> None:
    done = lab.run(
        {"1": node("TestNumber", value=3), "2": node("TestFail", value=["1", 0]), "3": show("2"), "4": show("1")}
    )
    assert done.result.state == "failed"
    assert [(p.node, p.message) for p in done.result.problems] == [
        ("2", "TestFail failed unexpectedly: ValueError: will not take 3")
    ]
    assert done.shown("4") == ["3"]


def test_what_needs_a_blocked_value_is_skipped_and_the_reason_told_once(lab: V1Lab) -> None:
    done = lab.run({
        "1": node("TestNumber", value=3), "2": node("TestBlock", value=["1", 0], block=True, message="not today"),
        "3": node("TestAdd", a=["2", 0], b=1), "4": show("3"), "5": show("1"),
    })  # fmt: skip
    assert done.result.state == "done"
    assert [(e.node, e.note) for e in done.kinds("step_skipped")] == [("3", "not today"), ("4", "")]
    assert (done.shown("4"), done.shown("5")) == ([], ["3"])


# Async -------------------------------------------------------------------------------------------------------------


def test_async_nodes_and_the_calls_of_a_list_run_at_the_same_time(lab: V1Lab) -> None:
    prompt = {
        "1": node("TestRange", count=3), "2": node("TestSleep", value=["1", 0], seconds=0.2), "3": show("2"),
        "4": node("TestNumber", value=9), "5": node("TestSleep", value=["4", 0], seconds=0.2), "6": show("5"),
    }  # fmt: skip
    done = lab.run(prompt)
    assert (done.shown("3"), done.shown("6")) == (["0", "1", "2"], ["9"])
    assert max(lab.pack.TestSleep.MOST) == 4


def test_an_error_in_a_coroutine_is_the_nodes_own(lab: V1Lab) -> None:
    done = lab.run(
        {"1": node("TestNumber", value=9), "2": node("TestSleep", value=["1", 0], seconds=-0.1), "3": show("2")}
    )
    assert [p.message for p in done.result.problems] == [
        "TestSleep failed unexpectedly: ValueError: time does not go back"
    ]


def test_a_coroutine_is_left_when_the_run_is_cancelled(lab: V1Lab) -> None:
    asked = iter(range(100))
    prompt = {"1": node("TestNumber", value=9), "2": node("TestSleep", value=["1", 0], seconds=60), "3": show("2")}
    assert lab.run(prompt, cancelled=lambda: next(asked) > 4).result.state == "cancelled"


# Inputs ------------------------------------------------------------------------------------------------------------


def test_links_under_undeclared_names_arrive_and_values_do_not(lab: V1Lab) -> None:
    mix = node("TestMixAll", input1=["1", 0], input2=["1", 0], anything=["1", 0], literal=100)
    assert lab.run({"1": node("TestNumber", value=3), "2": mix, "3": show("2")}).shown("3") == ["9"]


def test_optional_inputs_may_be_left_out_or_linked(lab: V1Lab) -> None:
    prompt = {
        "1": node("TestImage", grey=0.5),
        "2": node("TestLighten", image=["1", 0], by=0.25),
        "3": node("TestPreview", images=["2", 0]),
    }
    plain = lab.run(prompt).result.outputs
    prompt["2"]["inputs"]["mask"] = ["1", 1]
    masked = lab.run(prompt).result.outputs
    assert plain != masked


def test_values_that_cannot_be_written_down_are_made_again_after_a_restart(lab: V1Lab) -> None:
    prompt = {
        "1": node("TestMakeThing", name="x"),
        "2": node("TestNameThing", thing=["1", 0], suffix="!"),
        "3": show("2"),
    }
    assert lab.run(prompt).shown("3") == ["x!"]
    assert lab.run(prompt).calls == []
    prompt["2"]["inputs"]["suffix"] = "?"
    assert lab.run(prompt).calls == ["TestNameThing", "TestShow"]


def test_pictures_are_saved_with_prompt_and_workflow_inside(lab: V1Lab) -> None:
    from PIL import Image

    prompt = {"1": node("TestImage", grey=0.5), "2": node("TestPreview", images=["1", 0])}
    (file,) = lab.run(prompt).shown("2", "images")
    with Image.open(lab.settings.output_dir / file["subfolder"] / file["filename"]) as picture:
        assert '"class_type": "TestPreview"' in picture.info["prompt"]
        assert picture.info["a"] == "1"
        assert picture.getpixel((0, 0)) == (127, 127, 127)


def test_a_class_of_ours_takes_what_theirs_gives(lab: V1Lab) -> None:
    prompt = {
        "1": node("TestImage", grey=0.25),
        "2": node("ImageInvert", image=["1", 0]),
        "3": node("TestLighten", image=["2", 0], by=0.0),
        "4": node("TestPreview", images=["3", 0]),
    }
    done = lab.run(prompt)
    assert done.result.state == "done", done.result.problems


def test_progress_is_told(lab: V1Lab) -> None:
    done = lab.run(
        {"1": node("TestNumber", value=1), "2": node("TestTyped", text="a", either=["1", 0]), "3": show("2")}
    )
    assert done.shown("3") == ["a1"]
    assert [(e.done, e.total) for e in done.kinds("step_progress")][-1] == (3, 3)


def test_a_run_can_be_cancelled_in_a_node(lab: V1Lab) -> None:
    asked = iter(range(10_000))
    prompt = {"1": node("TestSlow", seconds=30.0), "2": show("1")}
    assert lab.run(prompt, cancelled=lambda: next(asked) > 20).result.state == "cancelled"


def test_only_the_outputs_asked_for_run(lab: V1Lab) -> None:
    prompt = {**CHAIN, "4": node("TestFail", value=["1", 0]), "5": show("4")}
    done = lab.run(prompt, wanted=("3",))
    assert done.result.state == "done"
    assert "TestFail" not in done.calls
    assert lab.check(prompt, targets=[]).error["type"] == "prompt_no_outputs"  # type: ignore[index]


def test_open_links_survive_the_way_into_a_workflow(lab: V1Lab) -> None:
    prompt = {"1": node("TestNumber", value=3), "2": node("TestMixAll", extra=["1", 0])}
    workflow, report = from_api(prompt, lab.registry.specs)
    assert "extra" in workflow.nodes["2"].inputs
    assert report.in_state("unknown") == []


def test_an_output_that_is_not_given_stops_only_who_needs_it(lab: V1Lab) -> None:
    done = lab.run({"1": node("TestShort", value=3), "2": node("TestShow", value=["1", 0]),
                    "3": node("TestShow", value=["1", 1])})  # fmt: skip
    assert done.result.state == "done"
    assert done.shown("2") == ["3"]
    assert [(e.node, e.note) for e in done.kinds("step_skipped")] == [
        ("3", "TestShort declares an output second and did not give it."),
    ]  # fmt: skip
