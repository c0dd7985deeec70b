"""Values to bytes and back: one format for every type, content-addressed.

A value is a JSON skeleton plus tensors. Its digest covers both, so equal values have equal digests wherever they were
made. Tensors are handled through the few methods that torch and numpy share: this module imports no torch, and a
process without torch can still read pictures (as numpy arrays).
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from engine import types as engine_types
from engine.errors import BadFile, BadInput
from engine.types import Record

# Python and JSON types that stand for themselves in a skeleton
PLAIN = (str, bool, int, type(None))


@dataclass(frozen=True, slots=True)
class Encoded:
    """A value taken apart: `skeleton` is canonical JSON, `arrays` its tensors, `digest` the SHA-256 over both."""

    skeleton: bytes
    arrays: tuple[np.ndarray, ...]
    digest: str

    @property
    def nbytes(self) -> int:
        """Bytes of tensors and skeleton."""
        return len(self.skeleton) + sum(a.nbytes for a in self.arrays)


def encode(value: Any) -> Encoded:
    """Take `value` apart; BadInput if it holds something that cannot be stored."""
    arrays: list[np.ndarray] = []
    skeleton = canonical(_pack(value, arrays))
    return Encoded(skeleton, tuple(arrays), _digest(skeleton, arrays))


def decode(skeleton: bytes, arrays: list[Any]) -> Any:
    """Put a value together again; `arrays` are what tensors become."""
    return _unpack(json.loads(skeleton), arrays)


def canonical(plain: Any) -> bytes:
    """Return the one byte string of a JSON value: sorted keys, no spaces, no NaN."""
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()


def digest_of(value: Any) -> str:
    """Return the digest that `encode(value)` would have."""
    return encode(value).digest


def tensors_of(value: Any) -> Iterator[Any]:
    """Yield every tensor inside a value, in a fixed order."""
    if _is_tensor(value) or isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, dict):
        for key in sorted(value):
            yield from tensors_of(value[key])
    elif isinstance(value, (list, tuple)):
        for member in value:
            yield from tensors_of(member)
    elif is_dataclass(value):
        for f in fields(value):
            yield from tensors_of(getattr(value, f.name))


def settled(value: Any, encoded: Encoded) -> Any:
    """Return `value` with tensors that are plain CPU data: no autograd graph, no inference mode, no other device."""
    tensors = list(tensors_of(value))
    if not any(_is_tensor(t) and (t.requires_grad or t.is_inference() or t.device.type != "cpu") for t in tensors):
        return value
    return decode(encoded.skeleton, [t.detach().cpu().clone() if _is_tensor(t) else t for t in tensors])


def write_file(path: Path, encoded: Encoded) -> None:
    """Write an encoded value as one safetensors file with the skeleton in its metadata."""
    tensors = {str(i): a for i, a in enumerate(encoded.arrays)}
    safetensors.numpy.save_file(tensors, path, {"value": encoded.skeleton.decode()})


def read_file(path: Path, digest: str, *, framework: str = "pt") -> Any:
    """Read a value and verify it; BadFile if its bytes are not those of `digest`. `framework`: pt or numpy."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            skeleton = (file.metadata() or {})["value"].encode()
            arrays = [file.get_tensor(str(i)) for i in range(len(file.keys()))]
    except (OSError, KeyError, safetensors.SafetensorError) as error:
        raise BadFile(f"The stored value {path.name} cannot be read: {error}") from error
    if _digest(skeleton, arrays) != digest:
        raise BadFile(f"The stored value {path.name} has changed on disk.")
    if framework == "numpy" or not arrays:
        return decode(skeleton, arrays)
    with safetensors.safe_open(path, framework=framework) as file:
        return decode(skeleton, [file.get_tensor(str(i)) for i in range(len(arrays))])


# Taking apart and putting together ---------------------------------------------------------------------------------


def _pack(value: Any, arrays: list[np.ndarray]) -> Any:
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$f": repr(value)}
    if isinstance(value, tuple):
        return {"$tuple": [_pack(v, arrays) for v in value]}
    if isinstance(value, list):
        return [_pack(v, arrays) for v in value]
    if isinstance(value, dict):
        return _pack_dict(value, arrays)
    if isinstance(value, Record) and is_dataclass(value):
        return {"$": _name(type(value)), **{f.name: _pack(getattr(value, f.name), arrays) for f in fields(value)}}
    if isinstance(value, bytes):
        return {"$b": base64.b64encode(value).decode()}
    if isinstance(value, np.ndarray):
        arrays.append(np.ascontiguousarray(value))
        return {"$n": len(arrays) - 1}
    if _is_tensor(value):
        arrays.append(_to_numpy(value))
        return {"$t": len(arrays) - 1}
    raise BadInput(f"A {type(value).__name__} cannot travel along a link: use a value type, a number, text or a tensor.")


def _pack_dict(value: dict[Any, Any], arrays: list[np.ndarray]) -> Any:
    if not all(isinstance(k, str) for k in value):
        raise BadInput("A dict that travels along a link needs text keys.")
    packed = {k: _pack(value[k], arrays) for k in sorted(value)}
    return {"$d": packed} if any(k.startswith("$") for k in value) else packed


def _unpack(plain: Any, arrays: list[Any]) -> Any:
    if isinstance(plain, list):
        return [_unpack(v, arrays) for v in plain]
    if not isinstance(plain, dict):
        return plain
    if "$" in plain:
        values = {k: _unpack(v, arrays) for k, v in plain.items() if k != "$"}
        return _class(plain["$"])(**values)
    match next(iter(plain.items()), None):
        case ("$t" | "$n", index):
            return arrays[index]
        case ("$tuple", members):
            return tuple(_unpack(v, arrays) for v in members)
        case ("$f", text):
            return float(text)
        case ("$b", text):
            return base64.b64decode(text)
        case ("$d", members):
            return {k: _unpack(v, arrays) for k, v in members.items()}
    return {k: _unpack(v, arrays) for k, v in plain.items()}


def _digest(skeleton: bytes, arrays: Any) -> str:
    hashed = hashlib.sha256(b"sfumato-value/1\0")
    hashed.update(skeleton)
    for array in arrays:
        hashed.update(f"\0{array.dtype.str}{array.shape}\0".encode())
        hashed.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return hashed.hexdigest()


def _is_tensor(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "untyped_storage")


def _to_numpy(tensor: Any) -> np.ndarray:
    """Return a CPU tensor's data; bfloat16 and other types numpy lacks become float32."""
    plain = tensor.detach().cpu().contiguous()
    try:
        return np.asarray(plain.numpy())
    except TypeError:
        return np.asarray(plain.float().numpy())


def _name(kind: type) -> str:
    return kind.__name__ if kind.__module__ == engine_types.__name__ else f"{kind.__module__}.{kind.__qualname__}"


def _class(name: str) -> type:
    kind = _classes().get(name)
    if kind is None:
        _classes.cache_clear()  # a pack may have been loaded since
        kind = _classes().get(name)
    if kind is None:
        raise BadFile(f"A stored value has the type {name}, which no loaded node pack defines.")
    return kind


@cache
def _classes() -> dict[str, type]:
    found: dict[str, type] = {}
    todo: list[type] = [Record]
    while todo:
        kind = todo.pop()
        found[_name(kind)] = kind
        todo.extend(kind.__subclasses__())
    return found
