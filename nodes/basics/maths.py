"""Arithmetic on numbers, written as a formula or chosen from a list."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, NamedTuple

from engine.errors import BadInput
from engine.node import SEED_MAX, Text, node
from nodes.basics.values import Number

Formula = Annotated[str, Text(multiline=False, max_length=300)]

OPERATORS: Mapping[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: math.pow,
    ast.UAdd: operator.pos, ast.USub: operator.neg, ast.Not: operator.not_,
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}  # fmt: skip
FUNCTIONS: Mapping[str, Callable[..., float]] = {
    "min": min, "max": max, "abs": abs, "round": round, "floor": math.floor, "ceil": math.ceil, "sqrt": math.sqrt,
    "sin": math.sin, "cos": math.cos, "tan": math.tan, "exp": math.exp, "log": math.log, "log2": math.log2,
    "clamp": lambda value, low, high: max(low, min(value, high)),
}  # fmt: skip
CONSTANTS = {"pi": math.pi, "e": math.e, "tau": math.tau}


class Result(NamedTuple):
    """A number, and the whole number nearest to it."""

    number: float
    integer: int


@node(category="values", id="math", title="Math")
def calculate(formula: Formula = "a + b", a: Number = 0.0, b: Number = 0.0, c: Number = 0.0, d: Number = 0.0) -> Result:
    """Work out a formula of a, b, c and d.

    It knows + - * / // % **, comparisons (1 or 0), `x if condition else y`, and, or, not, the constants pi, tau and
    e, and min, max, clamp(value, low, high), abs, round, floor, ceil, sqrt, exp, log, log2, sin, cos, tan.

    Args:
        formula: For example `clamp(a * 2 + 1, 0, 100)`.
        a: The number a.
        b: The number b.
        c: The number c.
        d: The number d.
    """
    value = evaluate(formula, {"a": a, "b": b, "c": c, "d": d})
    if not math.isfinite(value) or abs(value) > SEED_MAX:
        raise BadInput(f"{formula!r} gives {value:g}, which is too large.", field="formula")
    return Result(value, round(value))


@node(category="values")
def compare(a: Number = 0.0, b: Number = 0.0, operation: Literal["<", "<=", "=", "!=", ">=", ">"] = "<") -> bool:
    """Compare two numbers.

    Args:
        a: First number.
        b: Second number.
        operation: What to ask: is a smaller than b, ...
    """
    return {"<": a < b, "<=": a <= b, "=": a == b, "!=": a != b, ">=": a >= b, ">": a > b}[operation]


@node(category="values")
def clamp(value: Number = 0.0, low: Number = 0.0, high: Number = 1.0) -> float:
    """Keep a number between two bounds.

    Args:
        value: The number.
        low: Least result.
        high: Greatest result.
    """
    if low > high:
        raise BadInput(f"low is {low:g} and above high, which is {high:g}.", field="low")
    return max(low, min(value, high))


@node(category="values")
def to_integer(value: Number = 0.0, rounding: Literal["nearest", "down", "up"] = "nearest") -> int:
    """Turn a number into a whole one.

    Args:
        value: The number.
        rounding: Which way.
    """
    if rounding == "nearest":
        return round(value)
    return math.floor(value) if rounding == "down" else math.ceil(value)


def evaluate(formula: str, names: Mapping[str, float]) -> float:
    """Work out an arithmetic formula without `eval`.

    All numbers are floats, so that no power can grow without bound; BadInput says what is wrong.
    """
    try:
        return float(_value(ast.parse(formula.strip(), mode="eval").body, {**CONSTANTS, **names}))
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise BadInput(f"{formula!r} is not a formula; write for example (a + b) / 2.", field="formula") from error
    except (ArithmeticError, ValueError, TypeError) as error:
        raise BadInput(f"{formula!r} cannot be worked out: {error}.", field="formula") from error


def _value(part: ast.AST, names: Mapping[str, float]) -> float:
    match part:
        case ast.Constant(value=bool() | int() | float() as constant):
            return float(constant)
        case ast.Name(id=name) if name in names:
            return float(names[name])
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            return float(OPERATORS[type(op)](_value(left, names), _value(right, names)))
        case ast.UnaryOp(op=op, operand=operand) if type(op) in OPERATORS:
            return float(OPERATORS[type(op)](_value(operand, names)))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in OPERATORS:
            return float(OPERATORS[type(op)](_value(left, names), _value(right, names)))
        case ast.BoolOp(op=op, values=values):
            every = [bool(_value(v, names)) for v in values]
            return float(all(every) if isinstance(op, ast.And) else any(every))
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return _value(body if _value(test, names) else orelse, names)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in FUNCTIONS:
            return float(FUNCTIONS[name](*(_value(a, names) for a in args)))
    said = ast.unparse(part)
    known = ", ".join([*names, *FUNCTIONS])
    raise BadInput(f"{said[:40]!r} cannot be used in a formula; known are numbers and {known}.", field="formula")
