"""Step + digests of its inputs -> cache key. Tagged canonical bytes, so that two kinds of things never collide.

Keys use the digests of input *values*: a node that ran again and gave the same bytes changes no key downstream.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from engine.codec import digest_of
from engine.node import NodeSpec
from engine.types import Blocked

TAG = "sfumato-step/1"
CODE_TAG = "sfumato-code/1"
PLAIN_TEXT = 256  # texts shorter than this are their own digest: among them all file names
INT_MAX = 2**128  # and integers below this
READERS: dict[str, Callable[[str], Any]] = {
    "s:": str,
    "i:": int,
    "f:": float.fromhex,
    "c:": {"True": True, "False": False, "None": None}.__getitem__,
    "b:": Blocked,
}


def plain_digest(value: Any) -> str | None:
    """Return the digest of a number, a short text or a Blocked, which spells it out, or None for other values."""
    kind = type(value)
    if kind is str and len(value) < PLAIN_TEXT:
        return f"s:{value}"
    if kind is int and -INT_MAX < value < INT_MAX:
        return f"i:{value}"
    if kind is float:
        return f"f:{float.hex(value)}"
    if kind is bool or value is None:
        return f"c:{value}"
    if kind is Blocked:
        return f"b:{value.message}"
    return None


def value_digest(value: Any) -> str:
    """Return the digest of any value."""
    return plain_digest(value) or digest_of(value)


def is_plain(digest: str) -> bool:
    """Say whether a digest spells out its value."""
    return digest[1:2] == ":"


def is_blocked(digest: str) -> bool:
    """Say whether a digest stands for a value that is not there on purpose."""
    return digest.startswith("b:")


def plain_value(digest: str) -> Any:
    """Return the value that a plain digest spells out; KeyError if it is the digest of something stored."""
    return READERS[digest[:2]](digest[2:])


def step_key(spec: NodeSpec, numeric: str, inputs: Iterable[tuple[str, str]], *, scope: str = "") -> str:
    """Return the key of calling `spec` on inputs with these digests, in the order of its signature.

    `numeric` names what else may change numbers (device, precision, library versions); `scope` names the job and the
    step for nodes with effects, which run once per job.
    """
    parts = [TAG, code_digest(spec, numeric), scope]
    for pair in inputs:
        parts += pair
    return _sha256(_joined(parts))


def code_digest(spec: NodeSpec, numeric: str) -> str:
    """Return the digest of all that decides on a node's result besides its inputs."""
    return _code_digest(spec.id, spec.version, spec.code, numeric)


@lru_cache(10_000)
def _code_digest(id: str, version: int, code: str, numeric: str) -> str:
    return _sha256(_joined([CODE_TAG, id, str(version), code, numeric]))[:32]


def demand_key(key: str, name: str, digest: str) -> str:
    """Return the key after a node asked for lazy input `name` and got the value of `digest`."""
    return _sha256(f"sfumato-demand/1\0{key}\0{name}\0{digest}")


def checkpoint_key(key: str) -> str:
    """Return the key of what a call of `key` keeps while it is half-done."""
    return _sha256(f"sfumato-checkpoint/1\0{key}")


def _joined(parts: list[str]) -> str:
    """Return texts as one; each is preceded by its length, so that no two lists are alike."""
    return "".join([f"{len(part)}:{part}" for part in parts])


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
