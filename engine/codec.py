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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from engine import types as engine_types
from engine.errors import BadFile, BadInput, Unavailable
from engine.types import Record

# Python and JSON types that stand for themselves in a skeleton
PLAIN = (str, bool, int, type(None))
# Element types of tensors that a safetensors file and numpy both know
STORED = {"bool", "float16", "float32", "float64", "complex64"}.union(
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
)


@dataclass(frozen=True, slots=True)
class Encoded:
    """A value taken apart: `skeleton` is JSON, `tensors` its plain CPU tensors, `arrays` views of them.

    `digest` is the SHA-256 over skeleton and arrays.
    """

    skeleton: bytes
    arrays: tuple[np.ndarray, ...]
    tensors: tuple[Any, ...]
    digest: str

    @property
    def nbytes(self) -> int:
        """Bytes of tensors and skeleton."""
        return len(self.skeleton) + sum(a.nbytes for a in self.arrays)


def encode(value: Any) -> Encoded:
    """Take `value` apart; BadInput if it holds something that cannot be stored."""
    tensors: list[Any] = []
    try:
        skeleton = json.dumps(_pack(value, tensors), separators=(",", ":"), allow_nan=False).encode()
    except RecursionError:
        raise BadInput("The value is nested too deeply, or contains itself.") from None
    except ValueError as error:
        raise BadInput(f"The value cannot be written down: {error}.") from error
    arrays = tuple(t if isinstance(t, np.ndarray) else t.numpy() for t in tensors)
    return Encoded(skeleton, arrays, tuple(tensors), _digest(skeleton, arrays))


def decode(skeleton: bytes, tensors: Sequence[Any]) -> Any:
    """Put a value together again from its skeleton and tensors; BadFile if its type is not what it was."""
    try:
        return _unpack(json.loads(skeleton), tensors)
    except (TypeError, ValueError, LookupError, RecursionError) as error:
        raise BadFile(f"A stored value no longer fits its type: {error}") from error


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
        for member in value.values():
            yield from tensors_of(member)
    elif isinstance(value, (list, tuple)):
        for member in value:
            yield from tensors_of(member)
    elif is_dataclass(value):
        for f in fields(value):
            yield from tensors_of(getattr(value, f.name))


def settled(encoded: Encoded) -> Any:
    """Return the value as it will be read back, so that memory and disk never differ.

    Tensors are shared with the encoded value, but a view of something larger is copied, not to keep all of it alive.
    Arrays are read-only, as numpy does not tell when one is changed.
    """
    return decode(encoded.skeleton, [_compact(t) for t in encoded.tensors])


def write_file(path: Path, encoded: Encoded) -> None:
    """Write an encoded value as one safetensors file with the skeleton in its metadata."""
    tensors = {str(i): a for i, a in enumerate(encoded.arrays)}
    safetensors.numpy.save_file(tensors, path, {"value": encoded.skeleton.decode()})


def read_file(path: Path, digest: str, *, framework: str = "pt") -> Any:
    """Read a value and verify it; BadFile if its bytes are not those of `digest`. `framework`: pt or numpy."""
    try:
        with safetensors.safe_open(path, framework=framework) as file:
            skeleton = (file.metadata() or {})["value"].encode()
            tensors = [file.get_tensor(str(i)) for i in range(len(file.keys()))]
    except (OSError, KeyError, safetensors.SafetensorError) as error:
        raise BadFile(f"The stored value {path.name} cannot be read: {error}") from error
    return verified(skeleton, tensors, digest)


def verified(skeleton: bytes, tensors: Sequence[Any], digest: str) -> Any:
    """Put a value together again; BadFile if its digest is not `digest`."""
    if _digest(skeleton, [np.asarray(t) for t in tensors]) != digest:
        raise BadFile(f"The stored value {digest} has changed on disk.")
    return decode(skeleton, tensors)


# Taking apart and putting together ---------------------------------------------------------------------------------


def _pack(value: Any, tensors: list[Any]) -> Any:
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$f": repr(value)}
    if isinstance(value, tuple):
        return {"$tuple": [_pack(v, tensors) for v in value]}
    if isinstance(value, list):
        return [_pack(v, tensors) for v in value]
    if isinstance(value, dict):
        return _pack_dict(value, tensors)
    if isinstance(value, Record) and is_dataclass(value):
        return {"$": _name(type(value)), **{f.name: _pack(getattr(value, f.name), tensors) for f in fields(value)}}
    if isinstance(value, bytes):
        return {"$b": base64.b64encode(value).decode()}
    if isinstance(value, np.ndarray):
        tensors.append(_plain_array(value))
        return {"$n": len(tensors) - 1}
    if _is_tensor(value):
        tensors.append(_plain_tensor(value))
        return {"$t": len(tensors) - 1}
    raise BadInput(f"A {type(value).__name__} cannot travel along a link: use a value type, number, text or tensor.")


def _pack_dict(value: dict[Any, Any], tensors: list[Any]) -> Any:
    if not all(isinstance(k, str) for k in value):
        raise BadInput("A dict that travels along a link needs text keys.")
    packed = {k: _pack(v, tensors) for k, v in value.items()}
    return {"$d": packed} if any(k.startswith("$") for k in value) else packed


def _unpack(plain: Any, tensors: Sequence[Any]) -> Any:
    if isinstance(plain, list):
        return [_unpack(v, tensors) for v in plain]
    if not isinstance(plain, dict):
        return plain
    if "$" in plain:
        values = {k: _unpack(v, tensors) for k, v in plain.items() if k != "$"}
        return _class(plain["$"])(**values)
    match next(iter(plain.items()), None):
        case ("$t", index):
            return tensors[index]
        case ("$n", index):
            return _frozen(tensors[index])
        case ("$tuple", members):
            return tuple(_unpack(v, tensors) for v in members)
        case ("$f", text):
            return float(text)
        case ("$b", text):
            return base64.b64decode(text)
        case ("$d", members):
            return {k: _unpack(v, tensors) for k, v in members.items()}
    return {k: _unpack(v, tensors) for k, v in plain.items()}


def _digest(skeleton: bytes, arrays: Sequence[np.ndarray]) -> str:
    hashed = hashlib.sha256(b"sfumato-value/1\0")
    hashed.update(skeleton)
    for array in arrays:
        hashed.update(f"\0{array.dtype.str}{array.shape}\0".encode())
        hashed.update(array.reshape(-1).view(np.uint8).data)
    return hashed.hexdigest()


def _is_tensor(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "untyped_storage")


def _plain_tensor(tensor: Any) -> Any:
    """Return a tensor as plain CPU data: no gradient, no inference mode; short floats that numpy lacks as float32."""
    kind = str(tensor.dtype).removeprefix("torch.")
    if kind.startswith(("bfloat", "float8")):
        tensor = tensor.float()
    elif kind not in STORED:
        raise BadInput(f"A tensor of {kind} cannot be stored; convert it to float32.")
    try:
        plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
        return plain.clone() if plain.is_inference() else plain
    except RuntimeError as error:  # sparse and meta tensors
        raise BadInput(f"This tensor cannot be stored: {error}") from error


def _plain_array(array: np.ndarray) -> np.ndarray:
    if array.dtype.name not in STORED:
        raise BadInput(f"An array of {array.dtype} cannot be stored; convert it to float32.")
    return np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C")


def _compact(tensor: Any) -> Any:
    """Return a copy of an array or of a view of something larger, else the tensor itself."""
    if isinstance(tensor, np.ndarray):
        return tensor.copy()
    return tensor if tensor.untyped_storage().nbytes() <= tensor.nbytes else tensor.clone()


def _frozen(tensor: Any) -> np.ndarray:
    array = np.asarray(tensor).view()
    array.flags.writeable = False
    return array


def _name(kind: type) -> str:
    return kind.__name__ if kind.__module__ == engine_types.__name__ else f"{kind.__module__}.{kind.__qualname__}"


def _class(name: str) -> type:
    kind = _classes().get(name)
    if kind is None:
        _classes.cache_clear()  # a pack may have been loaded since
        kind = _classes().get(name)
    if kind is None:
        raise Unavailable(f"A stored value has the type {name}, which no loaded node pack defines. Install its pack.")
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
