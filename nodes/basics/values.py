"""Values to type in, lists of values, and ways to look at any of them."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Annotated, Any

from engine.errors import BadInput
from engine.node import SEED_MAX, Range, Seed, Text, node
from engine.types import Saved

Whole = Annotated[int, Range(-SEED_MAX, SEED_MAX)]
Number = Annotated[float, Range(-1e15, 1e15)]
Many = Annotated[int, Range(1, 1000)]


@node(category="values")
def integer(value: Whole = 0) -> int:
    """A whole number for several inputs at once.

    Args:
        value: The number.
    """
    return value


@node(category="values")
def number(value: Number = 0.0) -> float:
    """A number for several inputs at once.

    Args:
        value: The number.
    """
    return value


@node(category="values")
def boolean(value: bool = True) -> bool:
    """Yes or no for several inputs at once.

    Args:
        value: The answer.
    """
    return value


@node(category="values")
def text(value: Annotated[str, Text()] = "") -> str:
    """A text for several inputs at once.

    Args:
        value: The text.
    """
    return value


@node(category="values")
def seed(value: Seed = 0) -> int:
    """A seed for several inputs at once.

    Args:
        value: The seed.
    """
    return value


@node(category="lists")
def seeds(first: Seed = 0, count: Many = 4) -> list[int]:
    """A list of seeds, one after the other: what it feeds runs once for each.

    Args:
        first: The first seed.
        count: How many.
    """
    return [(first + i) % (SEED_MAX + 1) for i in range(count)]


@node(category="lists")
def float_range(start: Number = 0.0, stop: Number = 1.0, count: Many = 5) -> list[float]:
    """A list of evenly spaced numbers, both ends included: what it feeds runs once for each.

    Args:
        start: The first number.
        stop: The last number.
        count: How many.
    """
    return [start + (stop - start) * i / max(count - 1, 1) for i in range(count)]


@node(category="lists")
def int_range(start: Whole = 0, count: Many = 5, step: Annotated[int, Range(-1_000_000, 1_000_000)] = 1) -> list[int]:
    """A list of whole numbers: what it feeds runs once for each.

    Args:
        start: The first number.
        count: How many.
        step: From one to the next; negative counts down.
    """
    return [start + i * step for i in range(count)]


@node(category="lists")
def make_list(
    a: list[Any], b: list[Any] | None = None, c: list[Any] | None = None, d: list[Any] | None = None
) -> list[Any]:
    """Put values or lists together to one list.

    Args:
        a: What comes first.
        b: What comes second.
        c: What comes third.
        d: What comes last.
    """
    return [value for part in (a, b, c, d) if part for value in part]


@node(category="lists")
def list_item(items: list[Any], index: Annotated[int, Range(-10_000, 10_000)] = 0) -> Any:
    """Take one value out of a list.

    Args:
        items: The list.
        index: Which one, counted from 0; negative counts from the end.
    """
    if not -len(items) <= index < len(items):
        raise BadInput(f"There is no item {index} in a list of {len(items)}.", field="index")
    return items[index]


@node(category="lists")
def list_length(items: list[Any]) -> int:
    """Count the values in a list.

    Args:
        items: The list.
    """
    return len(items)


@node(category="notes")
def note(text: Annotated[str, Text()] = "") -> None:
    """A note to whoever reads this workflow. It does nothing.

    Args:
        text: What to say.
    """


@node(category="notes")
def show_text(text: str) -> Saved:
    """Show a text.

    Args:
        text: The text; numbers are shown too.
    """
    return Saved("text", text=text)


@node(category="notes")
def show_value(values: list[Any]) -> Saved:
    """Show what any value or list is: its type, its sizes, its range.

    Args:
        values: Anything.
    """
    return Saved("text", text="\n".join(describe(v) for v in values) or "an empty list")


def describe(value: Any) -> str:
    """Say in a line what a value is; tensors by shape and range."""
    if hasattr(value, "shape"):
        size = " x ".join(str(n) for n in value.shape)
        spread = f", {float(value.min()):.4g} to {float(value.max()):.4g}" if value.numel() else ""
        return f"{size} {str(value.dtype).removeprefix('torch.')}{spread}"
    if is_dataclass(value):
        parts = (f"{f.name} {describe(getattr(value, f.name))}" for f in fields(value))
        return f"{type(value).__name__}({', '.join(parts)})"
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(describe(v) for v in value[:8])}{', ...' if len(value) > 8 else ''}]"
    shown = repr(value)
    return shown if len(shown) <= 500 else shown[:500] + "..."
