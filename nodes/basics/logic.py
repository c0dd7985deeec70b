"""Choices: only the branch that is chosen runs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from engine.errors import BadInput
from engine.node import Lazy, Range, node


@node(category="logic")
def if_else(condition: bool, yes: Lazy[Any], no: Lazy[Any]) -> Any:
    """Give one of two values; what the other needs does not run.

    Args:
        condition: Which one.
        yes: The value if the condition holds.
        no: The value if it does not.
    """
    return yes() if condition else no()


@node(category="logic")
def switch(
    index: Annotated[int, Range(0, 3)] = 0,
    a: Lazy[Any] | None = None,
    b: Lazy[Any] | None = None,
    c: Lazy[Any] | None = None,
    d: Lazy[Any] | None = None,
) -> Any:
    """Give one of four values; what the others need does not run.

    Args:
        index: 0 gives a, 1 gives b, and so on.
        a: Value 0.
        b: Value 1.
        c: Value 2.
        d: Value 3.
    """
    chosen = (a, b, c, d)[index]
    value = chosen() if chosen else None
    if value is None:
        raise BadInput(f"Nothing is connected to {'abcd'[index]}, which index {index} chooses.", field="abcd"[index])
    return value


@node(category="logic")
def logic(a: bool = False, b: bool = False, operation: Literal["and", "or", "xor", "not a"] = "and") -> bool:
    """Combine two yes-or-no values.

    Args:
        a: First value.
        b: Second value.
        operation: Which combination; `not a` ignores b.
    """
    return {"and": a and b, "or": a or b, "xor": a != b, "not a": not a}[operation]


@node(category="logic")
def first_connected(a: Lazy[Any] | None = None, b: Lazy[Any] | None = None, c: Lazy[Any] | None = None) -> Any:
    """Give the first value that is connected; what the others need does not run.

    Args:
        a: Tried first.
        b: Tried second.
        c: Tried last.
    """
    for candidate in (a, b, c):
        value = candidate() if candidate else None
        if value is not None:
            return value
    raise BadInput("Nothing is connected; connect at least one of a, b, c.")
