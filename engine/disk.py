"""The durable half of the cache: a folder of large values and one SQLite file for small values, traces and history.

Writes of rows are collected and committed together by `flush`; files are written at once (tmp + fsync + rename), so that
whatever a committed row names is there.
"""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import Any

from engine import codec
from engine.codec import Encoded
from engine.errors import BadFile

SMALL = 4096  # values without tensors up to this many bytes live in the database
SCHEMA = """
CREATE TABLE IF NOT EXISTS small(digest TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS large(digest TEXT PRIMARY KEY, bytes INTEGER NOT NULL, used REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS traces(key TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS recent(step TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
"""


class Disk:
    """Values, traces and history under `folder`, at most `budget` bytes of large values (the least used go first)."""

    def __init__(self, folder: Path, budget: int) -> None:
        self.folder = folder
        self.budget = budget
        folder.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(folder / "cache.sqlite", isolation_level=None, check_same_thread=False)
        self._db.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=10000; {SCHEMA}")
        self._rows: dict[str, dict[str, tuple[Any, ...]]] = {"small": {}, "large": {}, "traces": {}, "recent": {}}
        self._bytes = self._db.execute("SELECT coalesce(sum(bytes), 0) FROM large").fetchone()[0]

    def close(self) -> None:
        """Commit what is pending and close the database."""
        self.flush()
        self._db.close()

    # Values

    def write(self, encoded: Encoded) -> None:
        """Keep a value; small ones wait for `flush`."""
        if not encoded.arrays and encoded.nbytes <= SMALL:
            self._rows["small"][encoded.digest] = (encoded.digest, encoded.skeleton)
            return
        path = self._path(encoded.digest)
        if not path.exists():
            self._write_file(path, encoded)
            self._bytes += encoded.nbytes
        self._rows["large"][encoded.digest] = (encoded.digest, encoded.nbytes, time.time())

    def read(self, digest: str, *, framework: str = "pt") -> Any:
        """Return a value, verified; KeyError if it is not here, BadFile if its bytes have changed (it is dropped then)."""
        row = self._row("small", "body", digest)
        if row is not None:
            return codec.decode(row, [])
        path = self._path(digest)
        if not path.exists():
            raise KeyError(digest)
        try:
            value = codec.read_file(path, digest, framework=framework)
        except BadFile:
            path.unlink(missing_ok=True)
            raise
        self._rows["large"][digest] = (digest, path.stat().st_size, time.time())
        return value

    # Rows of text by key: traces and history

    def put(self, table: str, key: str, body: str) -> None:
        """Set a row; committed with the next `flush`."""
        self._rows[table][key] = (key, body)

    def get(self, table: str, key: str) -> str | None:
        """Return a row's body, pending or committed."""
        body: str | None = self._row(table, "body", key)
        return body

    def flush(self) -> None:
        """Commit everything that is pending in one transaction."""
        if not any(self._rows.values()):
            return
        self._db.execute("BEGIN IMMEDIATE")
        for table, rows in self._rows.items():
            if rows:
                marks = ",".join("?" * len(next(iter(rows.values()))))
                self._db.executemany(f"INSERT OR REPLACE INTO {table} VALUES({marks})", rows.values())
        self._db.execute("COMMIT")
        for rows in self._rows.values():
            rows.clear()
        if self._bytes > self.budget:
            self._shrink()

    # Parts

    def _row(self, table: str, column: str, key: str) -> Any:
        pending = self._rows[table].get(key)
        if pending is not None:
            return pending[1]
        name = "digest" if table == "small" else "step" if table == "recent" else "key"
        row = self._db.execute(f"SELECT {column} FROM {table} WHERE {name}=?", (key,)).fetchone()
        return row[0] if row else None

    def _path(self, digest: str) -> Path:
        return self.folder / digest[:2] / f"{digest}.safetensors"

    @staticmethod
    def _write_file(path: Path, encoded: Encoded) -> None:
        path.parent.mkdir(exist_ok=True)
        temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
        codec.write_file(temporary, encoded)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)

    def _shrink(self) -> None:
        """Delete the least recently used large values until nine tenths of the budget are left."""
        for digest, size in self._db.execute("SELECT digest, bytes FROM large ORDER BY used").fetchall():
            if self._bytes <= self.budget * 0.9:
                break
            self._path(digest).unlink(missing_ok=True)
            self._db.execute("DELETE FROM large WHERE digest=?", (digest,))
            self._bytes -= size
