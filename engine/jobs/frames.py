"""Frames on a pipe: a JSON head and optional bytes, both with their length in front."""

from __future__ import annotations

import json
import struct
from threading import Lock
from typing import BinaryIO

from engine.jobs.contract import Frame, JsonObject

LENGTHS = struct.Struct(">II")  # head, blob
MAX_BYTES = 64 << 20


class FrameWriter:
    """Writes frames from any thread. A reader that has gone is not an error here: who needs to know sees EOF."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = Lock()

    def send(self, head: JsonObject, blob: bytes = b"") -> None:
        """Write one frame whole."""
        text = json.dumps(head).encode()
        with self._lock:
            try:
                self._stream.write(LENGTHS.pack(len(text), len(blob)) + text + blob)
                self._stream.flush()
            except (BrokenPipeError, ValueError):  # ValueError: closed on this side
                return

    def close(self) -> None:
        """Close the stream: the reader sees its end."""
        with self._lock:
            try:
                self._stream.close()
            except BrokenPipeError:
                return


def read_frame(stream: BinaryIO) -> Frame | None:
    """Read one frame; None when the writer has gone, or sent something else than frames."""
    lengths = stream.read(LENGTHS.size)
    if len(lengths) < LENGTHS.size:
        return None
    head_size, blob_size = LENGTHS.unpack(lengths)
    if head_size + blob_size > MAX_BYTES:
        return None
    body = stream.read(head_size + blob_size)
    if len(body) < head_size + blob_size:
        return None
    return Frame(json.loads(body[:head_size]), body[head_size:])
