"""What a weights file says of itself: its safetensors header, checked before anything is mapped. Imports no torch."""

from __future__ import annotations

import json
import os
import stat
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from engine.errors import BadFile

HEADER_MAX = 100_000_000  # bytes; the limit of the reference reader (safetensors, MAX_HEADER_SIZE)
TENSORS_MAX = 100_000
PIECES_MAX = {b"{": TENSORS_MAX + 2, b"[": 2 * TENSORS_MAX + 2, b",": 20 * TENSORS_MAX}  # else parsing takes for ever
CONFIG_MAX = 1 << 20
DTYPE_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip
MAGIC = {b"PK\x03\x04": "a zip or PyTorch pickle", b"GGUF": "a GGUF", b"\x89HDF": "an HDF5", b"\x89PNG": "a PNG"}


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a file, by its header alone."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return self.size * DTYPE_BITS[self.dtype] // 8


@dataclass(frozen=True)
class Header(Mapping[str, Tensor]):
    """The checked header of a safetensors file: name to tensor, and the file's free-text metadata."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    @property
    def size(self) -> int:
        """Number of elements of all tensors."""
        return sum(t.size for t in self.tensors.values())

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of tensor `name`, or () if there is none."""
        return self.tensors[name].shape if name in self.tensors else ()


def read_header(path: Path) -> Header:
    """Read and check the header of a safetensors file; BadFile says what is wrong with it.

    Checked: a regular file without holes, header length, UTF-8, JSON, no name twice, known types, shape times width =
    length, and tensors that lie one after the other and fill the file exactly.
    """
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            _check_kind(status, path.name)
            start = file.read(8)
            length = _header_length(start, status.st_size, path.name)
            text = file.read(length)
    except OSError as error:
        raise BadFile(f"{path.name} cannot be read: {error.strerror or error}.") from error
    return _parse(text, status.st_size - 8 - length, path.name)


def read_config(path: Path, *, limit: int = CONFIG_MAX) -> dict[str, Any]:
    """Read a JSON object of at most `limit` bytes, such as a component's `config.json`; BadFile if it is none."""
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            text = file.read(limit + 1)
        plain = json.loads(text.decode()) if len(text) <= limit else None
    except OSError as error:
        raise BadFile(f"{path.name} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{path.name} is not valid JSON: {error}.") from error
    if not isinstance(plain, dict):
        raise BadFile(f"{path.name} is not a JSON object of at most {limit} bytes.")
    return plain


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting, so that a named pipe blocks nobody."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _check_kind(status: os.stat_result, name: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise BadFile(f"{name} is not a regular file.")
    blocks: int | None = getattr(status, "st_blocks", None)
    if blocks and status.st_size > 1 << 26 and blocks * 512 < status.st_size // 8:
        raise BadFile(f"{name} is mostly holes ({status.st_size} bytes, {blocks * 512} on disk); download it again.")


def _header_length(start: bytes, size: int, name: str) -> int:
    for magic, what in MAGIC.items():
        if start.startswith(magic):
            raise BadFile(f"{name} is {what} file, not safetensors. Use a .safetensors file of it.")
    length: int = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
    fits = 2 <= length <= min(size - 8, HEADER_MAX)
    if start[:1] == b"\x80" and not fits:  # one header in 32 has a length that begins so too
        raise BadFile(f"{name} is a pickle, which can run code when read. Use a .safetensors file of it.")
    if len(start) < 8:
        raise BadFile(f"{name} has {size} bytes: too short for safetensors; download it again.")
    if not fits:
        limit = min(size - 8, HEADER_MAX)
        raise BadFile(f"{name} names a header of {length} bytes where at most {limit} fit: corrupt or cut off.")
    return length


def _parse(text: bytes, room: int, name: str) -> Header:
    if any(text.count(mark) > limit for mark, limit in PIECES_MAX.items()):
        raise BadFile(f"{name} lists more than {TENSORS_MAX} tensors.")
    try:
        plain = json.loads(text.decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{name} has a corrupt header: {str(error)[:200]}.") from error
    if not isinstance(plain, dict):
        raise BadFile(f"{name} has a corrupt header: it is not a JSON object.")
    metadata = plain.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise BadFile(f"{name} has a corrupt header: its metadata is not text.")
    spans = sorted((_entry(key, entry, name) for key, entry in plain.items()), key=lambda s: (s[2], s[3]))
    position = 0
    for key, _, begin, end in spans:
        if begin != position:
            raise BadFile(f"{name}: tensor {key[:80]!r} begins at {begin} where {position} was due: corrupt header.")
        position = end
    if position != room:
        raise BadFile(f"{name} holds {room} bytes of tensors where its header lists {position}: cut off or corrupt.")
    return Header({key: tensor for key, tensor, _, _ in spans}, metadata)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name comes twice")
    return found


def _entry(key: str, entry: Any, name: str) -> tuple[str, Tensor, int, int]:
    where = f"{name}: tensor {key[:80]!r}"
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(begin), int(end)]} if len(entry) == 3:
            pass
        case _:
            raise BadFile(f"{where} is described wrongly: corrupt header.")
    if dtype not in DTYPE_BITS:
        raise BadFile(f"{where} has the unknown type {dtype[:20]!r}.")
    if not all(type(side) is int and 0 <= side < 1 << 48 for side in shape) or len(shape) > 16:
        raise BadFile(f"{where} has an impossible shape.")
    tensor = Tensor(dtype, tuple(shape))
    if not 0 <= begin <= end or end - begin != tensor.nbytes:
        raise BadFile(f"{where} takes {end - begin} bytes where its shape needs {tensor.nbytes}: corrupt header.")
    return key, tensor, begin, end
