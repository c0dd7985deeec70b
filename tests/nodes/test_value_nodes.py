"""Numbers, texts, lists and choices."""

from __future__ import annotations

import math
import time
from itertools import pairwise
from typing import Any, NoReturn

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import BadInput
from engine.node import SEED_MAX, Lazy
from engine.types import Image
from nodes.basics.logic import first_connected, if_else, logic, switch
from nodes.basics.maths import calculate, clamp, compare, evaluate, to_integer
from nodes.basics.strings import (
    cut_text,
    format_text,
    join_list,
    join_texts,
    match_text,
    replace_text,
    split_lines,
    text_length,
)
from nodes.basics.values import (
    boolean,
    float_range,
    int_range,
    integer,
    list_item,
    list_length,
    make_list,
    note,
    number,
    seed,
    seeds,
    show_text,
    show_value,
    text,
)

# Formulas ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        ("a + b", 5), ("a * b ** 2", 18), ("-a + +b", 1), ("7 // a + 7 % a", 4), ("(a - b) / 4", -0.25),
        ("max(a, b, 9)", 9), ("clamp(12, 0, 10)", 10), ("round(2.5)", 2), ("floor(-0.5) + ceil(0.5)", 0),
        ("a < b", 1), ("a == b", 0), ("1 if a > b else 7", 7), ("a > 1 and b > 5", 0), ("a > 1 or b > 5", 1),
        ("not a", 0), ("sqrt(a * 8)", 4), ("cos(pi)", -1), ("log(e)", 1), ("True + 1", 2), (" a ", 2),
        ("2 ** 0.5", 2**0.5),
    ],
)  # fmt: skip
def test_formulas(formula: str, value: float) -> None:
    assert calculate(formula, a=2, b=3).number == pytest.approx(value)


@given(a=st.floats(-1e6, 1e6), b=st.floats(-1e6, 1e6), op=st.sampled_from(["+", "-", "*", "<", ">="]))
def test_formulas_agree_with_python(a: float, b: float, op: str) -> None:
    expected = {"+": a + b, "-": a - b, "*": a * b, "<": a < b, ">=": a >= b}[op]
    assert evaluate(f"a {op} b", {"a": a, "b": b}) == expected


@pytest.mark.parametrize(
    "formula",
    [
        "", "a +", "a b", "1 / 0", "0 ** -1", "(-1) ** 0.5", "sqrt(-1)", "9 ** 9 ** 9", "1e308 * 10", "exp(1000)", "x",
        "__import__('os')", "a.real", "(1).__class__", "[1]", "'a'", "lambda: 1", "min", "min()", "a(1)", "1j",
        "a := 1", "max(*a)", "round(1.5, ndigits=1)", "1 < 2 < 3", "[a for a in b]", "a @ b", "a << 60", "~a",
        "2 ** 60", "f'{a}'",
        "-" * 299 + "1", "(" * 149 + "1" + ")" * 149, "nan", "\0", "9" * 300,
    ],
)  # fmt: skip
def test_what_is_no_formula_ends_in_a_sentence(formula: str) -> None:
    start = time.monotonic()
    if formula in ("-" * 299 + "1", "(" * 149 + "1" + ")" * 149):
        assert calculate(formula).number in (1, -1)
    else:
        with pytest.raises(BadInput, match=r"\.$"):
            calculate(formula)
    assert time.monotonic() - start < 1


def test_other_numbers() -> None:
    assert calculate("2.6 * a", a=1) == pytest.approx((2.6, 3))
    assert [compare(1, 2, op) for op in ("<", "<=", "=", "!=", ">=", ">")] == [True, True, False, True, False, False]
    assert [clamp(v, -1, 1) for v in (-2, 0.5, 2)] == [-1, 0.5, 1]
    assert [to_integer(2.5, way) for way in ("nearest", "down", "up")] == [2, 2, 3]
    with pytest.raises(BadInput, match="above high"):
        clamp(0, 1, 0)


# Texts ---------------------------------------------------------------------------------------------------------------


def test_joining() -> None:
    assert join_texts("a", "", "c") == "a, c"
    assert join_list(["a", "", "c"], "-") == "a--c"


@pytest.mark.parametrize(
    ("template", "values", "result"),
    [
        ("seed {a}, cfg {b}", {"a": 7, "b": 7.50}, "seed 7, cfg 7.5"),
        ("{a.__class__} {0} {} {e} {{a}}", {"a": 1}, "{a.__class__} {0} {} {e} {1}"),
        ("{a}", {"a": "{b}", "b": "x"}, "{b}"),
        ("{a}", {"a": 0.1 + 0.2}, "0.3"),
        ("{a}{b}", {"a": True}, "True"),
    ],
)
def test_formatting_replaces_and_does_nothing_else(template: str, values: dict[str, Any], result: str) -> None:
    assert format_text(template, **values) == result


@pytest.mark.parametrize(
    "explode",
    [
        lambda: format_text("{a}" * 30_000, a="x" * 100_000),
        lambda: replace_text("x" * 100_000, "x", "y" * 1000),
        lambda: replace_text("x" * 100_000, "x", "y" * 1000, regular=True),
        lambda: join_list(["x" * 100_000] * 2),
        lambda: join_texts("x" * 100_000, "x"),
    ],
)
def test_texts_cannot_grow_without_bound(explode: Any) -> None:
    with pytest.raises(BadInput, match="limit is 100000"):
        explode()


def test_replacing() -> None:
    assert replace_text("a.b.c", ".", "-") == "a-b-c"
    assert replace_text("a1b22", r"(\d+)", r"<\1>", regular=True) == "a<1>b<22>"
    assert replace_text("abc", "", "x") == "abc"


def test_matching() -> None:
    assert match_text("size 512x768", r"(\d+)x(\d+)(@)?") == (True, "512x768", ["512", "768", ""])
    assert match_text("none", r"\d") == (False, "", [])


@pytest.mark.parametrize("use", [lambda p: match_text("x", p), lambda p: replace_text("x", p, "", regular=True)])
def test_a_wrong_pattern_is_said(use: Any) -> None:
    with pytest.raises(BadInput, match=r"'\(' is wrong"):
        use("(")


def test_a_wrong_replacement_is_said() -> None:
    with pytest.raises(BadInput, match="is wrong"):
        replace_text("x", "x", r"\7", regular=True)


@pytest.mark.parametrize("use", [lambda t, p: match_text(t, p), lambda t, p: replace_text(t, p, "", regular=True)])
def test_a_catastrophic_pattern_is_stopped(use: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nodes.basics.strings.PATTERN_SECONDS", 0.1)
    with pytest.raises(BadInput, match="takes too long"):
        use("a" * 5000 + "!", r"^(a|a|aa)+$")


def test_splitting() -> None:
    assert split_lines("a cat\n\n a dog \r\nend") == ["a cat", "a dog", "end"]
    assert split_lines("a; b;; c", ";", keep_empty=True) == ["a", "b", "", "c"]
    with pytest.raises(BadInput, match="1001 parts"):
        split_lines("x\n" * 1001)


def test_measuring_and_cutting() -> None:
    assert text_length("grün") == 4
    assert cut_text("abcdef", 2, 3) == "cde"
    assert cut_text("abcdef", -2, 9) == "ef"


# Values and lists ------------------------------------------------------------------------------------------------


def test_primitives_hand_on_what_they_are_given() -> None:
    assert (integer(3), number(0.5), boolean(False), text("x"), seed(7)) == (3, 0.5, False, "x", 7)


def test_lists_of_numbers() -> None:
    assert seeds(5, 3) == [5, 6, 7]
    assert seeds(SEED_MAX, 2) == [SEED_MAX, 0]
    assert float_range(1, 2, 5) == [1, 1.25, 1.5, 1.75, 2]
    assert float_range(3, 9, 1) == [3]
    assert int_range(2, 3, -2) == [2, 0, -2]


@given(start=st.floats(-100, 100), stop=st.floats(-100, 100), count=st.integers(2, 50))
def test_a_range_has_its_ends_and_even_steps(start: float, stop: float, count: int) -> None:
    values = float_range(start, stop, count)
    assert values[0] == start
    assert values[-1] == pytest.approx(stop)
    step = (stop - start) / (count - 1)
    assert all(math.isclose(b - a, step, abs_tol=1e-9) for a, b in pairwise(values))


def test_lists() -> None:
    items = make_list([1, 2], None, ["x"])
    assert items == [1, 2, "x"]
    assert [list_item(items, i) for i in (0, -1)] == [1, "x"]
    assert list_length(items) == 3
    for index in (3, -4):
        with pytest.raises(BadInput, match="list of 3"):
            list_item(items, index)


def test_showing() -> None:
    note("hello")
    assert show_text("hi").text == "hi"
    shown = show_value([Image(torch.zeros(1, 2, 3, 3)), 3, "x" * 600, {"a": 1}, torch.zeros(0), tuple(range(9))]).text
    lines = shown.splitlines()
    assert lines[0] == "Image(pixels 1 x 2 x 3 x 3 float32, 0 to 0)"
    assert lines[1] == "3"
    assert lines[2].endswith("x...")
    assert lines[4:] == ["0 float32", "[0, 1, 2, 3, 4, 5, 6, 7, ...]"]
    assert show_value([]).text == "an empty list"


# Choices ---------------------------------------------------------------------------------------------------------


def never() -> NoReturn:
    raise AssertionError("the branch that was not chosen ran")


def given_value(value: Any) -> Lazy[Any]:
    return Lazy(lambda: value)


def test_only_the_chosen_branch_runs() -> None:
    assert if_else(True, given_value(1), Lazy(never)) == 1
    assert if_else(False, Lazy(never), given_value(2)) == 2
    assert switch(1, Lazy(never), given_value("b")) == "b"
    assert first_connected(None, given_value(3), Lazy(never)) == 3


@pytest.mark.parametrize("missing", [None, given_value(None)])
def test_a_branch_that_is_not_connected_is_said(missing: Any) -> None:
    with pytest.raises(BadInput, match="connected to c"):
        switch(2, given_value(1), given_value(2), missing)
    with pytest.raises(BadInput, match="at least one"):
        first_connected(missing)


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("and", [False, False, False, True]), ("or", [False, True, True, True]), ("xor", [False, True, True, False]),
        ("not a", [True, True, False, False]),
    ],
)  # fmt: skip
def test_logic_on_all_values(operation: Any, expected: list[bool]) -> None:
    assert [logic(a, b, operation) for a in (False, True) for b in (False, True)] == expected
