"""The ledger's tables, and their rows as dataclasses."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from engine.jobs.contract import Job, JobEvent, JobState, JobSummary, JsonObject
from engine.sqlite import Sqlite

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


def open_ledger(data_dir: Path) -> Sqlite:
    """Open the ledger of a data folder, made or brought up to date if need be."""
    return Sqlite(data_dir / "ledger.sqlite3", MIGRATIONS)


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
