"""`node_helpers`: small functions on conditioning and pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def conditioning_set_values(conditioning: Any, values: Mapping[str, Any] = {}, append: bool = False) -> list[Any]:
    """Return conditioning with these keys set, or appended to."""
    found = []
    for tokens, more in conditioning:
        new = {k: (more.get(k) or []) + v if append else v for k, v in values.items()}
        found.append([tokens, {**more, **new}])
    return found


def pillow(fn: Callable[..., Any], arg: Any) -> Any:
    """Call one of Pillow's functions."""
    return fn(arg)


def hasher() -> Callable[..., Any]:
    """Return a hash function for files."""
    import hashlib

    return hashlib.sha256
