"""A node's sockets, bounds and help, read from its function."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Literal, NamedTuple

import pytest

from engine.context import Context
from engine.errors import BadInput
from engine.node import (
    Choice,
    Expansion,
    File,
    InputSpec,
    Lazy,
    NodeSpec,
    Range,
    Seed,
    Text,
    Widget,
    holds,
    node,
    split_doc,
)  # fmt: skip
from engine.types import Image, Latent, Mask, Saved, Value


class Two(NamedTuple):
    image: Image
    masks: list[Mask]


def spec(function: Any, **options: Any) -> NodeSpec:
    made: NodeSpec = node(category="c", **options)(function).__dict__["__node__"]
    return made


def everything(
    ctx: Context,
    image: Image,
    either: Image | Mask,
    seed: Seed,
    words: Annotated[str, Text(max_length=5)],
    name: Annotated[str, File("input")] = "",
    mode: Literal["a", "b"] = "a",
    chosen: Annotated[str, Choice(lambda: ["x", "y"])] = "x",
    size: Annotated[int, Range(0, 64, step=8)] = 8,
    late: Lazy[Annotated[int, Range(0, 1)]] | None = None,
    many: list[Annotated[float, Range(0, 1)]] | None = None,
    hue: Annotated[str, Widget("color", {"alpha": True})] = "",
    options: dict | None = None,  # type: ignore[type-arg]
) -> Two:
    """First line.

    More of it.

    Args:
        image: A picture,
            on two lines.
        seed: A number.

    The rest.
    """
    raise AssertionError


def test_the_signature_is_the_sockets() -> None:
    """Types, bounds, choices, widgets, help and defaults."""
    made = spec(everything)
    found = {i.name: i for i in made.inputs}
    assert "ctx" not in found
    assert (found["image"].type, found["image"].help) == ("IMAGE", "A picture, on two lines.")
    assert found["image"].required
    assert found["either"].types == {"IMAGE", "MASK"}
    assert (found["seed"].high, found["seed"].widget) == (2**53 - 1, "seed")
    assert (found["words"].multiline, found["words"].max_length) == (True, 5)
    assert found["name"].file == "input"
    assert [found[n].choices for n in ("mode", "chosen")] == [("a", "b"), ("x", "y")]
    assert (found["late"].lazy, found["late"].required, found["late"].high) == (True, False, 1)
    assert (found["many"].list, found["many"].type, found["many"].high) == (True, "FLOAT", 1)
    assert found["hue"].widget_options == {"alpha": True}
    assert (found["options"].type, found["options"].required) == ("JSON", False)
    assert made.doc == "First line.\n\nMore of it.\n\nThe rest."
    assert [(o.name, o.type, o.list) for o in made.outputs] == [("image", "IMAGE", False), ("masks", "MASK", True)]
    assert (made.title, made.output, made.file_inputs) == ("Everything", False, (found["name"],))


def test_the_catalogue_survives_json() -> None:
    made = spec(everything, id="other", title="Other", version=3, effect=True)
    assert NodeSpec.from_json(json.loads(json.dumps(made.to_json()))) == made
    assert (made.id, made.title, made.version, made.effect) == ("other", "Other", 3, True)


def test_outputs_are_named_by_their_type() -> None:
    """One, none, a union, or one that may become a graph; Saved makes a node an output."""

    def one() -> Annotated[Image, "x"]:
        """D."""

    def none() -> None:
        """D."""

    def graph() -> Latent | Expansion | None:
        """D."""

    def union() -> Image | Mask:
        """D."""

    def saved() -> list[Saved]:
        """D."""

    def bare():  # type: ignore[no-untyped-def]
        """D."""

    outputs = [[(o.name, o.type) for o in spec(f).outputs] for f in (one, none, graph, union, saved, bare)]
    assert outputs == [
        [("image", "IMAGE")], [], [("latent", "LATENT")], [("image", "IMAGE|MASK")], [("saved", "SAVED")], [],
    ]  # fmt: skip
    assert spec(saved).output
    assert spec(one).output_named("mask") is None


def undocumented(x: Image) -> Image: ...
def unbounded(x: int) -> int:
    """D."""


def foreign(x: bytes) -> int:
    """D."""


def odd(x: Annotated[str, 3]) -> int:
    """D."""


def numbers(x: Literal[1, 2]) -> int:
    """D."""


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (undocumented, "needs a docstring"),
        (unbounded, "numbers need bounds"),
        (foreign, "cannot travel along a link"),
        (odd, "is not an annotation a node can have"),
        (numbers, "choices are texts"),
    ],
)
def test_a_wrong_declaration_is_a_type_error(function: Any, sentence: str) -> None:
    """At import, where its author sees it."""
    with pytest.raises(TypeError, match=sentence):
        spec(function)


def test_a_node_is_still_a_function() -> None:
    assert node(category="c")(lambda_like)(2) == 4


def lambda_like(x: Annotated[int, Range(0, 9)]) -> int:
    """D."""
    return x * 2


@pytest.mark.parametrize(
    ("wanted", "value", "sentence"),
    [
        ({"type": "INT"}, True, "needs INT, got bool True"),
        ({"type": "INT", "low": 0, "high": 9}, 1.5, "needs INT, got float"),
        ({"type": "FLOAT"}, math.nan, "needs a finite number"),
        ({"type": "FLOAT", "low": 0, "high": 9}, 10, "needs a value from 0 to 9, got int 10"),
        ({"type": "INT", "low": 1, "high": 9, "step": 4}, 4, "needs a multiple of 4"),
        ({"type": "STRING", "max_length": 2}, "abc", "is limited to 2 characters, got 3"),
        ({"type": "STRING", "choices": ("a", "b")}, "c", "choose one of: a, b"),
        ({"type": "STRING", "choices": tuple(map(str, range(20)))}, "c", "11, ..."),
        ({"type": "STRING", "choices": ()}, "c", "(nothing to choose)"),
        ({"type": "STRING"}, "x" * 100_001, "is limited to 100000"),
        ({"type": "BOOLEAN"}, 1, "needs BOOLEAN, got int 1"),
        ({"type": "INT"}, None, "needs INT, got NoneType None"),
        ({"type": "INT"}, "x" * 100, "..."),
    ],
)
def test_a_value_out_of_bounds_is_refused(wanted: dict[str, Any], value: Any, sentence: str) -> None:
    with pytest.raises(BadInput) as caught:
        InputSpec("x", **wanted).check(value)
    assert sentence in caught.value.message
    assert caught.value.field == "x"


@pytest.mark.parametrize(
    ("wanted", "value", "result"),
    [
        ({"type": "FLOAT", "low": 0, "high": 9}, 3, 3.0),
        ({"type": "FLOAT|INT", "low": 0, "high": 9}, 3, 3),
        ({"type": "INT", "low": 1, "high": 9, "step": 4}, 5, 5),
        ({"type": "STRING", "choices": ("a",)}, "a", "a"),
        ({"type": "INT", "required": False}, None, None),
        ({"type": "JSON"}, {"a": 1}, {"a": 1}),
        ({"type": "JSON"}, False, False),
        ({"type": "ANY"}, b"x", b"x"),
    ],
)
def test_a_value_within_bounds_is_taken(wanted: dict[str, Any], value: Any, result: Any) -> None:
    """Integers become floats where floats are wanted."""
    taken = InputSpec("x", **wanted).check(value)
    assert (taken, type(taken)) == (result, type(result))


def test_values_belong_to_their_socket() -> None:
    """A subclass has its parent's socket."""

    class Own(Value):
        socket = "OWN"

    class More(Own):
        pass

    assert holds(frozenset({"OWN"}), More())
    assert not holds(frozenset({"INT"}), More())


def test_help_without_arguments() -> None:
    """A docstring need not have an `Args:` section; lines before a name are nobody's."""
    assert split_doc("Just text.") == ("Just text.", {})
    assert split_doc("Text.\nArgs:\n    (none)\n    a: b") == ("Text.", {"a": "b"})
