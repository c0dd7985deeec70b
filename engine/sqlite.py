"""A small SQLite file shared by threads and processes: durable commits, versioned schema, errors people can act on."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import RLock

from engine.errors import Conflict, Unavailable


class Sqlite:
    """One connection behind a lock. `migrations[n]` is the script that brings a file of version n to n + 1."""

    def __init__(self, path: Path, migrations: Sequence[str]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._name = path.name
        self._lock = RLock()
        self._db = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",  # NORMAL may drop the last commits when the power fails
            "fullfsync=1",  # macOS: a plain fsync does not reach the disk
            "journal_size_limit=67108864",
            "foreign_keys=1",
        ):
            self._db.execute(f"PRAGMA {pragma}")
        self._migrate(migrations)

    def _migrate(self, migrations: Sequence[str]) -> None:
        with self.read() as db:  # a process that hangs in the middle of a write keeps nobody from opening the file
            if db.execute("PRAGMA user_version").fetchone()[0] == len(migrations):
                return
        with self.write() as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version > len(migrations):
                raise Conflict(f"{self._name} was written by a newer Sfumato. Update, or choose another --data-dir.")
            for statement in (s for script in migrations[version:] for s in script.split(";")):
                db.execute(statement)
            db.execute(f"PRAGMA user_version={len(migrations)}")

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Open a write transaction: all of the block is durable when it ends, or none of it."""
        with self.read() as db:
            try:
                db.execute("BEGIN IMMEDIATE")
                yield db
                db.execute("COMMIT")
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Hold the connection for reading."""
        with self._lock:
            try:
                yield self._db
            except sqlite3.OperationalError as error:
                raise Unavailable(f"Cannot use {self._name}: {error}. Check the disk, then try again.") from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()
