"""The durable half of the cache: a folder of large values and one SQLite file for small values, traces and history.

Rows are collected and committed together by `flush`; files are written at once (tmp + fsync + rename), so that whatever
a committed row names is there. Processes may share the folder; within one, a single thread uses a Disk at a time.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import safetensors

from engine import codec
from engine.codec import Encoded
from engine.errors import BadFile, Unavailable
from engine.sqlite import Sqlite

SMALL = 4096  # values without tensors up to this many bytes live in the database
ROWS_MAX = 1_000_000  # rows kept per table; the oldest go first
DATABASE = "results.sqlite"
TABLES = ("small", "traces", "recent")
SCHEMA = ";".join(f"CREATE TABLE {table}(digest BLOB PRIMARY KEY, body BLOB NOT NULL)" for table in TABLES)
ABANDONED_S = 3600  # a half-written file this old belongs to a process that is gone


class Disk:
    """Values, traces and history under `folder`; about `budget` bytes of large values, the least used go first.

    Digests and keys are hexadecimal. Unavailable says what the disk refused; rows to be written stay pending then.
    """

    def __init__(self, folder: Path, budget: int) -> None:
        self.folder = folder
        self.budget = budget
        self._rows: dict[str, dict[str, tuple[bytes, bytes]]] = {table: {} for table in TABLES}
        self._written = budget  # bytes of files since they were last counted; unknown at first
        self._db = _open(folder / DATABASE)
        with self._db.write() as db:
            for table in TABLES:  # rowid orders rows by age
                db.execute(f"DELETE FROM {table} WHERE rowid <= (SELECT max(rowid) FROM {table}) - {ROWS_MAX}")

    def close(self) -> None:
        """Commit what is pending and close the database."""
        self.flush()
        self._db.close()

    # Values

    def write(self, encoded: Encoded) -> None:
        """Keep a value; small ones wait for `flush`."""
        if not encoded.arrays and len(encoded.skeleton) <= SMALL:
            self.put("small", encoded.digest, encoded.skeleton)
            return
        path = self._path(encoded.digest)
        if not path.exists():
            _write_file(path, encoded)
            self._written += encoded.nbytes

    def read(self, digest: str, *, framework: str = "pt") -> Any:
        """Return a value, verified; KeyError if it is not here, BadFile if it has changed (it is dropped then)."""
        row = self.get("small", digest)
        path = self._path(digest)
        if row is None and not path.exists():
            raise KeyError(digest)
        try:
            if row is not None:
                return codec.verified(row, (), digest)
            value = codec.read_file(path, digest, framework=framework)
            os.utime(path)  # its place among the least used
        except FileNotFoundError:  # another process has just deleted it
            raise KeyError(digest) from None
        except BadFile:
            self._drop(digest)
            raise
        return value

    def has(self, digest: str) -> bool:
        """Say whether a value is here, without reading it."""
        return self._path(digest).exists() or self.get("small", digest) is not None

    # Rows by key: small values, traces, history

    def put(self, table: str, key: str, body: bytes) -> None:
        """Set a row; committed with the next `flush`."""
        self._rows[table][key] = (bytes.fromhex(key), body)

    def get(self, table: str, key: str) -> bytes | None:
        """Return a row's body, pending or committed."""
        pending = self._rows[table].get(key)
        if pending is not None:
            return pending[1]
        try:
            with self._db.read() as db:
                row = db.execute(f"SELECT body FROM {table} WHERE digest=?", (bytes.fromhex(key),)).fetchone()
        except sqlite3.DatabaseError as error:
            raise Unavailable(f"Cannot read {DATABASE}: {error}. Check the disk, then start again.") from error
        return row[0] if row else None

    def flush(self) -> None:
        """Commit everything that is pending in one transaction."""
        if any(self._rows.values()):
            with self._db.write() as db:
                for table, rows in self._rows.items():
                    db.executemany(f"INSERT OR REPLACE INTO {table} VALUES(?, ?)", rows.values())
            for rows in self._rows.values():
                rows.clear()
        if self._written > self.budget / 20:
            self._shrink()

    # Parts

    def _path(self, digest: str) -> Path:
        return self.folder / digest[:2] / f"{digest}.safetensors"

    def _drop(self, digest: str) -> None:
        self._path(digest).unlink(missing_ok=True)
        self._rows["small"].pop(digest, None)
        with self._db.write() as db:
            db.execute("DELETE FROM small WHERE digest=?", (bytes.fromhex(digest),))

    def _shrink(self) -> None:
        """Count the files, those of other processes too; over the budget, leave the latest used nine tenths of it."""
        files = sorted(_files(self.folder))
        total = sum(size for _, size, _ in files)
        for _, size, path in files if total > self.budget else ():
            if total <= self.budget * 0.9:
                break
            Path(path).unlink(missing_ok=True)
            total -= size
        self._written = 0


def _open(path: Path) -> Sqlite:
    """Open the database. A damaged one is set aside: all that it holds can be made again."""
    try:
        return Sqlite(path, [SCHEMA])
    except (OSError, sqlite3.OperationalError) as error:
        raise Unavailable(f"Cannot open {path.name}: {error}. Check the disk and its rights.") from error
    except sqlite3.DatabaseError:
        for suffix in ("-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        path.replace(path.with_name(f"{path.name}.damaged"))
        return Sqlite(path, [SCHEMA])


def _write_file(path: Path, encoded: Encoded) -> None:
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        path.parent.mkdir(exist_ok=True)
        codec.write_file(temporary, encoded)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, safetensors.SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        raise Unavailable(f"Cannot store a result: {error}. Make room on the disk, then run again.") from error


def _files(folder: Path) -> Iterator[tuple[float, int, str]]:
    """Yield time of last use, size and path of every large value; half-written files of ended processes are removed."""
    for directory in os.scandir(folder):
        for entry in os.scandir(directory) if directory.is_dir() else ():
            try:
                facts = entry.stat()
                if entry.name.endswith(".safetensors"):
                    yield facts.st_mtime, facts.st_size, entry.path
                elif facts.st_mtime < time.time() - ABANDONED_S:
                    os.unlink(entry)
            except FileNotFoundError:
                continue  # another process was faster
