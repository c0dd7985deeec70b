"""Step + digests of its inputs -> cache key. Tagged canonical bytes, so that two kinds of things never collide.

Keys use the digests of input *values*: a node that ran again and gave the same bytes changes no key downstream.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from typing import Any

from engine.codec import digest_of
from engine.node import NodeSpec

TAG = b"sfumato-step/1"


def value_digest(value: Any) -> str:
    """Return a value's digest for keys: short tagged bytes for plain numbers and texts, SHA-256 for the rest."""
    kind = type(value)
    if kind is str and len(value) < 64:
        return "s:" + value
    if kind is int:
        return f"i:{value}"
    if kind is float:
        return "f:" + struct.pack(">d", value).hex()
    if kind is bool or value is None:
        return f"c:{value}"
    return digest_of(value)


def step_key(spec: NodeSpec, numeric: str, inputs: Iterable[tuple[str, str]], *, scope: str = "") -> str:
    """Return the key of calling `spec` on inputs with these digests, in the order of its signature.

    `numeric` names what else may change numbers (device, precision, library versions); `scope` is the job for nodes with
    effects, which run once per job.
    """
    hashed = hashlib.sha256(TAG)
    parts = [spec.id, str(spec.version), spec.code, numeric, scope]
    for name, digest in inputs:
        parts.append(name)
        parts.append(digest)
    hashed.update("".join(f"\0{len(p)}:{p}" for p in parts).encode())
    return hashed.hexdigest()


def demand_key(key: str, inputs: Iterable[tuple[str, str]]) -> str:
    """Return the key after a node asked for more inputs: the earlier key and the digests of what it got."""
    hashed = hashlib.sha256(b"sfumato-demand/1\0" + key.encode())
    hashed.update("".join(f"\0{len(n)}:{n}{len(d)}:{d}" for n, d in inputs).encode())
    return hashed.hexdigest()
