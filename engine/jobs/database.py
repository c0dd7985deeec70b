"""The ledger's SQLite file: schema, migrations, transactions, and rows as dataclasses."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock

from engine.errors import Conflict, Unavailable
from engine.jobs.contract import Job, JobEvent, JobState, JobSummary, JsonObject

FILE_NAME = "ledger.sqlite3"

# Entry n brings a file of version n to version n + 1. Never edit one that was released: append.
MIGRATIONS = (
    """
    CREATE TABLE jobs (
        id TEXT PRIMARY KEY,
        key TEXT UNIQUE,              -- the client's idempotency key
        request TEXT NOT NULL,        -- digest of the request, to tell a repetition from a reused key
        state TEXT NOT NULL,
        priority INTEGER NOT NULL,
        position INTEGER NOT NULL,    -- order inside a priority
        paused INTEGER NOT NULL DEFAULT 0,
        cancel INTEGER NOT NULL DEFAULT 0,
        not_before REAL NOT NULL DEFAULT 0,
        client TEXT NOT NULL,
        attempt INTEGER NOT NULL DEFAULT 0,
        owner TEXT,
        lease_until REAL,             -- on the monotonic clock: sleep and clock changes expire nothing
        strikes INTEGER NOT NULL DEFAULT 0,
        steps_at_loss INTEGER NOT NULL DEFAULT 0,
        retries INTEGER NOT NULL DEFAULT 0,
        created REAL NOT NULL,
        started REAL,
        ended REAL,
        settled INTEGER,              -- seq of the event that ended it: the order of the history
        wanted TEXT NOT NULL,
        inputs TEXT NOT NULL,
        outputs TEXT NOT NULL DEFAULT '{}',
        problems TEXT NOT NULL DEFAULT '[]',
        workflow TEXT NOT NULL        -- last, so that reading the other columns skips its overflow pages
    );
    CREATE INDEX jobs_order ON jobs(state, priority DESC, position);
    CREATE INDEX jobs_position ON jobs(position);
    CREATE INDEX jobs_settled ON jobs(settled) WHERE settled IS NOT NULL;
    CREATE TABLE attempts (
        job TEXT NOT NULL,
        number INTEGER NOT NULL,
        owner TEXT NOT NULL,
        started REAL NOT NULL,
        ended REAL,
        end TEXT,
        evidence TEXT NOT NULL DEFAULT '{}',
        PRIMARY KEY (job, number)
    ) WITHOUT ROWID;
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        job TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        at REAL NOT NULL,
        kind TEXT NOT NULL,
        data TEXT NOT NULL
    );
    CREATE INDEX events_job ON events(job, seq);
    CREATE TABLE queue (paused INTEGER NOT NULL);
    INSERT INTO queue VALUES (0)
    """,
)


class Database:
    """One connection, shared by the threads of a process under a lock; processes meet in SQLite's."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = RLock()
        self._db = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",  # NORMAL may drop the last commits when the power fails
            "fullfsync=1",  # macOS: a plain fsync does not reach the disk
            "journal_size_limit=67108864",
        ):
            self._db.execute(f"PRAGMA {pragma}")
        self._migrate()

    def _migrate(self) -> None:
        with self.write() as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version > len(MIGRATIONS):
                raise Conflict(
                    "The job ledger was written by a newer Sfumato. Update, or choose another --data-dir."
                )
            for script in MIGRATIONS[version:]:
                for statement in script.split(";"):
                    db.execute(statement)
            db.execute(f"PRAGMA user_version={len(MIGRATIONS)}")

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Open a write transaction: all of the block is durable when it ends, or none of it."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except sqlite3.OperationalError as error:
                raise Unavailable(
                    f"Cannot write the job ledger: {error}. Check the disk, then try again."
                ) from error
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Hold the connection for reading."""
        with self._lock:
            yield self._db

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()


def add_event(
    db: sqlite3.Connection,
    job: str,
    kind: str,
    at: float,
    *,
    attempt: int = 0,
    data: JsonObject | None = None,
) -> int:
    """Append an event inside the running transaction and return its number."""
    row = (job, attempt, at, kind, json.dumps(data or {}))
    cursor = db.execute("INSERT INTO events(job, attempt, at, kind, data) VALUES (?, ?, ?, ?, ?)", row)
    return int(cursor.lastrowid or 0)


SUMMARY = (
    "id, key, state, priority, position, paused, cancel, client, attempt, created, started, ended, settled,"
    " outputs, problems"
)


def to_summary(row: sqlite3.Row) -> JobSummary:
    """Read a row with the columns of `SUMMARY`."""
    return JobSummary(**_summary_fields(row))


def to_job(row: sqlite3.Row) -> Job:
    """Read a whole row."""
    return Job(
        **_summary_fields(row),
        workflow=json.loads(row["workflow"]),
        wanted=tuple(json.loads(row["wanted"])),
        inputs=json.loads(row["inputs"]),
    )


def _summary_fields(row: sqlite3.Row) -> JsonObject:
    state = JobState(row["state"])
    same = ("id", "key", "priority", "client", "attempt", "created", "started", "ended")
    return {
        **{name: row[name] for name in same},
        "state": state,
        "paused": bool(row["paused"]),
        "stopping": state is JobState.RUNNING and bool(row["cancel"] or row["paused"]),
        "outputs": json.loads(row["outputs"]),
        "problems": tuple(json.loads(row["problems"])),
    }


def to_events(rows: Iterable[sqlite3.Row]) -> tuple[JobEvent, ...]:
    """Read rows of the events table."""
    return tuple(JobEvent(**{**dict(row), "data": json.loads(row["data"])}) for row in rows)
