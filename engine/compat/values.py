"""Widget values of ComfyUI's files: into the type an input has here, and from a list by position to names."""

from __future__ import annotations

import math
from typing import Any

from engine.compat.report import Report
from engine.errors import BadInput
from engine.spec import InputSpec, NodeSpec


def fitted(spec: NodeSpec, field: str, value: Any, node: str, report: Report) -> Any:
    """Return a value as the input wants it; what had to be changed is remarked, what cannot be is kept."""
    wanted = spec.input(field)
    if wanted is None or value is None:
        return value
    kept = coerced(wanted, value)
    try:
        wanted.check(kept)
    except BadInput as problem:
        inside = _clamped(wanted, kept)
        if inside is None:
            report.remark(node, problem.message)
        else:
            report.remark(node, f"{problem.message} It became {inside}.")
            return inside
    return kept


def coerced(wanted: InputSpec, value: Any) -> Any:
    """Convert as ComfyUI does before it runs a node: int(), float(), str(), bool(), by the type of the input."""
    try:
        if wanted.types == {"INT"} and isinstance(value, (float, str, bool)):
            return int(value)
        if wanted.types == {"FLOAT"} and isinstance(value, (int, str)):
            return float(value)
    except (ValueError, OverflowError):
        return value
    if wanted.types == {"STRING"} and isinstance(value, (int, float)):
        return str(value)
    if wanted.types == {"BOOLEAN"} and not isinstance(value, bool) and isinstance(value, (int, float, str)):
        return bool(value)
    if wanted.file and isinstance(value, str):
        return value.replace("\\", "/")  # files written on Windows
    return value


def _clamped(wanted: InputSpec, value: Any) -> int | float | None:
    """Return a number moved into the bounds of its input, or None if that is not what is wrong."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or wanted.low is None or wanted.high is None or not math.isfinite(value):
        return None
    inside = min(max(value, wanted.low), wanted.high)
    return int(inside) if isinstance(value, int) else float(inside)
