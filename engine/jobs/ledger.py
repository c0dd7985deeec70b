"""The job ledger for its clients: the queue, its order, the history and the durable events."""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3
import time
from collections.abc import Callable, Sequence

from engine.errors import Conflict, NotFound
from engine.jobs.contract import (
    ENDED,
    Job,
    JobEvent,
    JobState,
    JobSummary,
    JsonObject,
    Page,
    PastAttempt,
    QueueStatus,
)
from engine.jobs.database import SUMMARY, add_event, to_events, to_job, to_summary
from engine.jobs.transitions import settle
from engine.sqlite import Sqlite

# What the queue shows first: running, then in the order of running, then parked.
RANK = "CASE state WHEN 'running' THEN 0 WHEN 'queued' THEN 1 ELSE 2 END"
LAST_PLACE = "(SELECT coalesce(max(position), 0) + 1 FROM jobs)"


class Ledger:
    """`engine.jobs.contract.JobStore` over SQLite. Safe for threads; calls may wait for the disk."""

    def __init__(self, database: Sqlite, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def enqueue(
        self,
        workflow: JsonObject,
        *,
        wanted: Sequence[str] = (),
        inputs: JsonObject | None = None,
        priority: int = 0,
        client: str = "",
        key: str | None = None,
        id: str | None = None,
    ) -> Job:
        """Add a job, under an `id` that a client has chosen or a new one; Conflict if that is taken.

        A `key` that came before returns its job, or raises `Conflict` for another request.
        """
        texts = (json.dumps(workflow), json.dumps(list(wanted)), json.dumps(inputs or {}))
        request = _digest(workflow, list(wanted), inputs or {}, priority, client)
        with self._database.write() as db:
            known = db.execute("SELECT * FROM jobs WHERE key = ?", (key,)).fetchone()
            if known and known["request"] != request:
                raise Conflict("This idempotency key came before with another request. Use a new key.")
            if known:
                return to_job(known)
            job, now = id or secrets.token_hex(8), self._clock()
            if id and db.execute("SELECT 1 FROM jobs WHERE id = ?", (id,)).fetchone():
                raise Conflict(f"There is a job {id!r} already. Choose another id, or none.")
            db.execute(
                "INSERT INTO jobs"
                "(id, key, request, state, priority, position, client, created, workflow, wanted, inputs)"
                f" VALUES (?, ?, ?, 'queued', ?, {LAST_PLACE}, ?, ?, ?, ?, ?)",
                (job, key, request, priority, client, now, *texts),
            )
            add_event(db, job, "job_queued", now, data={"priority": priority, "client": client})
            return to_job(_row(db, job))

    def get(self, job: str) -> Job:
        """Return one job with its workflow."""
        with self._database.read() as db:
            return to_job(_row(db, job))

    def attempts(self, job: str) -> tuple[PastAttempt, ...]:
        """Return how each attempt of a job went, oldest first."""
        with self._database.read() as db:
            _row(db, job)
            rows = db.execute(
                "SELECT number, owner, started, ended, end, evidence FROM attempts WHERE job = ? ORDER BY number",
                (job,),
            )
            return tuple(PastAttempt(**{**dict(row), "evidence": json.loads(row["evidence"])}) for row in rows)

    def queue(self, *, limit: int = 200, cursor: str | None = None) -> Page:
        """Return what is running, then what waits in the order it will run, then what is parked."""
        after = _numbers(cursor, 3) if cursor else (-1, 0, 0)
        with self._database.read() as db:
            rows = db.execute(
                f"SELECT {SUMMARY}, {RANK} AS rank FROM jobs WHERE state IN ('running', 'queued', 'parked')"
                f" AND ({RANK}, -priority, position) > (?, ?, ?)"
                " ORDER BY rank, priority DESC, position LIMIT ?",
                (*after, limit),
            ).fetchall()
        return _page(rows, limit, lambda row: f"{row['rank']}_{-row['priority']}_{row['position']}")

    def history(self, *, limit: int = 50, cursor: str | None = None, client: str | None = None) -> Page:
        """Return ended jobs, the last ended first."""
        (before,) = _numbers(cursor, 1) if cursor else (2**62,)
        with self._database.read() as db:
            rows = db.execute(
                f"SELECT {SUMMARY} FROM jobs WHERE settled < ? AND coalesce(client = ?, 1)"
                " ORDER BY settled DESC LIMIT ?",
                (before, client, limit),
            ).fetchall()
        return _page(rows, limit, lambda row: str(row["settled"]))

    def status(self) -> QueueStatus:
        """Return whether the queue is paused and how many jobs are in each state."""
        with self._database.read() as db:
            paused = bool(db.execute("SELECT paused FROM queue").fetchone()[0])
            counts = {JobState(row[0]): row[1] for row in db.execute("SELECT state, count(*) FROM jobs GROUP BY state")}
        return QueueStatus(paused, {state: counts.get(state, 0) for state in JobState})

    def pause(self, job: str | None = None) -> None:
        """Hold the whole queue (what runs goes on) or one job (one that runs stops; finished steps stay)."""
        self._hold(job, paused=True)

    def resume(self, job: str | None = None) -> None:
        """Let one job, or the whole queue, run again."""
        self._hold(job, paused=False)

    def _hold(self, job: str | None, *, paused: bool) -> None:
        kind = "paused" if paused else "resumed"
        with self._database.write() as db:
            if job is None:
                db.execute("UPDATE queue SET paused = ?", (paused,))
                add_event(db, "", f"queue_{kind}", self._clock())
                return
            row = _row(db, job)
            _require(row, JobState.QUEUED, JobState.RUNNING)
            db.execute("UPDATE jobs SET paused = ? WHERE id = ?", (paused, job))
            add_event(db, job, f"job_{kind}", self._clock(), attempt=row["attempt"])

    def cancel(self, job: str) -> Job:
        """End a waiting job at once; ask a running one to stop. An ended job stays as it is."""
        with self._database.write() as db:
            self._cancel(db, _row(db, job))
            return to_job(_row(db, job))

    def cancel_all(self) -> int:
        """Cancel whatever has not ended and return how many jobs that were."""
        with self._database.write() as db:
            rows = db.execute(f"SELECT {SUMMARY} FROM jobs WHERE settled IS NULL AND cancel = 0").fetchall()
            for row in rows:
                self._cancel(db, row)
        return len(rows)

    def _cancel(self, db: sqlite3.Connection, row: sqlite3.Row) -> None:
        if row["cancel"] or row["settled"]:
            return
        if row["state"] == JobState.RUNNING:
            db.execute("UPDATE jobs SET cancel = 1 WHERE id = ?", (row["id"],))
            add_event(db, row["id"], "job_stopping", self._clock(), attempt=row["attempt"])
        else:
            settle(db, row["id"], JobState.CANCELLED, self._clock(), attempt=row["attempt"])

    def move(self, job: str, *, before: str | None = None, after: str | None = None) -> None:
        """Put a queued job just before or after another queued one; it takes the other's priority."""
        other = before or after
        if other is None or (before and after) or other == job:
            raise Conflict("Name one other job to move this one before or after.")
        with self._database.write() as db:
            for row in (_row(db, job), anchor := _row(db, other)):
                _require(row, JobState.QUEUED)
            rows = db.execute(
                "SELECT id, position FROM jobs WHERE state = 'queued' AND (priority = ? OR id = ?) ORDER BY position",
                (anchor["priority"], job),
            ).fetchall()
            order = [row["id"] for row in rows if row["id"] != job]
            order.insert(order.index(other) + (after is not None), job)
            places = [(row["position"], moved) for row, moved in zip(rows, order, strict=True) if row["id"] != moved]
            db.executemany("UPDATE jobs SET position = ? WHERE id = ?", places)
            db.execute("UPDATE jobs SET priority = ? WHERE id = ?", (anchor["priority"], job))
            add_event(db, job, "job_moved", self._clock(), data={"before": before, "after": after})

    def prioritise(self, job: str, priority: int) -> None:
        """Give a queued job another priority (higher runs first)."""
        with self._database.write() as db:
            _require(_row(db, job), JobState.QUEUED)
            db.execute("UPDATE jobs SET priority = ? WHERE id = ?", (priority, job))
            add_event(db, job, "job_moved", self._clock(), data={"priority": priority})

    def retry(self, job: str) -> Job:
        """Put a parked, failed or cancelled job back into the queue; finished steps are not run again."""
        with self._database.write() as db:
            row = _row(db, job)
            _require(row, JobState.PARKED, JobState.FAILED, JobState.CANCELLED)
            db.execute(
                "UPDATE jobs SET state = 'queued', cancel = 0, paused = 0, not_before = 0, strikes = 0,"
                f" retries = 0, ended = NULL, settled = NULL, problems = '[]', position = {LAST_PLACE}"
                " WHERE id = ?",
                (job,),
            )
            add_event(
                db,
                job,
                "job_queued",
                self._clock(),
                attempt=row["attempt"],
                data={"priority": row["priority"]},
            )
            return to_job(_row(db, job))

    def forget(self, job: str) -> None:
        """Remove an ended job and its events from the history."""
        with self._database.write() as db:
            _require(_row(db, job), *ENDED)
            for table, column in (("events", "job"), ("attempts", "job"), ("jobs", "id")):
                db.execute(f"DELETE FROM {table} WHERE {column} = ?", (job,))

    def events_since(self, seq: int, *, job: str | None = None, limit: int = 500) -> tuple[JobEvent, ...]:
        """Return events after `seq` in order; nothing is ever skipped."""
        only = "" if job is None else " AND job = ?"
        values = (seq, limit) if job is None else (seq, job, limit)
        with self._database.read() as db:
            if job is not None:
                _row(db, job)
            return to_events(db.execute(f"SELECT * FROM events WHERE seq > ?{only} ORDER BY seq LIMIT ?", values))

    def last_seq(self) -> int:
        """Return the number of the newest event (0 if there was none)."""
        with self._database.read() as db:
            row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
        return int(row[0]) if row else 0


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _row(db: sqlite3.Connection, job: str) -> sqlite3.Row:
    row: sqlite3.Row | None = db.execute("SELECT * FROM jobs WHERE id = ?", (job,)).fetchone()
    if row is None:
        raise NotFound(f"There is no job {job!r}. It may have been removed from the history.")
    return row


def _require(row: sqlite3.Row, *states: JobState) -> None:
    if row["state"] not in states:
        raise Conflict(f"Job {row['id']} is {row['state']}; this needs it to be {' or '.join(states)}.")


def _numbers(cursor: str, count: int) -> tuple[int, ...]:
    parts = cursor.split("_")
    if len(parts) != count or not all(part.removeprefix("-").isdecimal() and len(part) < 19 for part in parts):
        raise NotFound(f"No such page: {cursor!r}. Pass the cursor of an earlier answer.")
    return tuple(map(int, parts))


def _page(rows: list[sqlite3.Row], limit: int, cursor: Callable[[sqlite3.Row], str]) -> Page:
    jobs: tuple[JobSummary, ...] = tuple(map(to_summary, rows))
    return Page(jobs, cursor(rows[-1]) if rows and len(rows) == limit else None)
