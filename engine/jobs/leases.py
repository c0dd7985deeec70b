"""The job ledger for workers: leases with heartbeats, attempts fenced by number, deaths."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable

from engine.events import Event
from engine.jobs.contract import Attempt, JobState, JsonObject, Outcome, Running
from engine.jobs.database import add_event, to_job
from engine.jobs.scheduler import LEASE_S, Waiting, after_failure, after_loss, is_dead, next_job
from engine.jobs.transitions import close_attempt, park, requeue, settle
from engine.sqlite import Sqlite

OWNED = "id = ? AND attempt = ? AND owner = ? AND state = 'running'"


class Leases:
    """`engine.jobs.contract.LeaseStore` over SQLite. `ticks` times leases, `clock` gives dates."""

    def __init__(
        self,
        database: Sqlite,
        *,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._clock = clock
        self._ticks = ticks

    def lease(self, owner: str) -> Attempt | None:
        """Take the next job that may run, or None."""
        with self._database.write() as db:
            self._reclaim(db)
            if db.execute("SELECT paused FROM queue").fetchone()[0]:
                return None
            rows = db.execute(
                "SELECT id, paused, not_before FROM jobs WHERE state = 'queued' ORDER BY priority DESC, position"
            )
            chosen = next_job((Waiting(row[0], bool(row[1]), row[2]) for row in rows), self._clock())
            rows.close()
            return self._start(db, chosen, owner) if chosen else None

    def _start(self, db: sqlite3.Connection, job: str, owner: str) -> Attempt:
        now = self._clock()
        row = db.execute(
            "UPDATE jobs SET state = 'running', attempt = attempt + 1, owner = ?, lease_until = ?,"
            " started = coalesce(started, ?) WHERE id = ? RETURNING *",
            (owner, self._ticks() + LEASE_S, now, job),
        ).fetchone()
        number = row["attempt"]
        db.execute("INSERT INTO attempts(job, number, owner, started) VALUES (?, ?, ?, ?)", (job, number, owner, now))
        add_event(db, job, "job_started", now, attempt=number)
        return Attempt(to_job(row), number, owner)

    def _reclaim(self, db: sqlite3.Connection) -> None:
        for row in db.execute("SELECT * FROM jobs WHERE state = 'running'").fetchall():
            if is_dead(row["lease_until"], self._ticks()):
                self._take_back(db, row, {"why": "it gave no sign of life"})

    def heartbeat(self, attempt: Attempt) -> bool:
        """Extend the lease; False if the attempt no longer owns the job."""
        with self._database.write() as db:
            until = self._ticks() + LEASE_S
            return db.execute(f"UPDATE jobs SET lease_until = ? WHERE {OWNED}", (until, *_fence(attempt))).rowcount == 1

    def asked_to_stop(self, attempt: Attempt) -> bool:
        """Say whether the attempt should end: cancelled, paused, or no longer the owner."""
        with self._database.read() as db:
            row = db.execute(f"SELECT cancel OR paused FROM jobs WHERE {OWNED}", _fence(attempt)).fetchone()
        return row is None or bool(row[0])

    def append(self, attempt: Attempt, events: Iterable[Event]) -> bool:
        """Make events of a run durable."""
        with self._database.write() as db:
            return self._owned(db, attempt) is not None and self._append(db, attempt, events)

    def _append(self, db: sqlite3.Connection, attempt: Attempt, events: Iterable[Event]) -> bool:
        for event in events:
            data = event.to_json()
            add_event(db, attempt.job.id, data.pop("kind"), self._clock(), attempt=attempt.number, data=data)
        return True

    def finish(self, attempt: Attempt, outcome: Outcome, events: Iterable[Event] = ()) -> bool:
        """Settle the job, by the retry table, together with its last events."""
        with self._database.write() as db:
            row = self._owned(db, attempt)
            if row is None:
                return False
            self._append(db, attempt, events)
            close_attempt(db, attempt.job.id, attempt.number, self._clock(), outcome.state)
            self._settle(db, row, outcome)
            return True

    def _settle(self, db: sqlite3.Connection, row: sqlite3.Row, outcome: Outcome) -> None:
        job, number, now = row["id"], row["attempt"], self._clock()
        if outcome.state is JobState.CANCELLED and row["paused"] and not row["cancel"]:
            requeue(db, job, now, attempt=number, why="paused")
            return
        if outcome.state is JobState.FAILED and not row["cancel"]:
            verdict = after_failure(outcome.problems, retries=row["retries"])
            if verdict.state is JobState.QUEUED:
                db.execute("UPDATE jobs SET retries = retries + 1 WHERE id = ?", (job,))
                requeue(db, job, now, attempt=number, why=outcome.problems[0]["message"], delay=verdict.delay)
                return
        settle(db, job, outcome.state, now, attempt=number, outputs=outcome.outputs, problems=outcome.problems)

    def release(self, attempt: Attempt, why: str) -> bool:
        """Give the job back through no fault of its own: it waits again."""
        with self._database.write() as db:
            row = self._owned(db, attempt)
            if row is None:
                return False
            close_attempt(db, attempt.job.id, attempt.number, self._clock(), "released", {"why": why})
            if row["cancel"]:
                settle(db, row["id"], JobState.CANCELLED, self._clock(), attempt=attempt.number)
            else:
                requeue(db, row["id"], self._clock(), attempt=attempt.number, why=why)
            return True

    def running(self) -> tuple[Running, ...]:
        """Return what runs, and under which lease."""
        with self._database.read() as db:
            rows = db.execute(
                "SELECT id, owner, cancel OR paused, lease_until FROM jobs WHERE state = 'running'"
            ).fetchall()
        return tuple(Running(row[0], row[1], bool(row[2]), is_dead(row[3], self._ticks())) for row in rows)

    def lost(self, owner: str, evidence: JsonObject, *, blame: bool = True) -> str | None:
        """Take back what a dead worker held; `blame` counts it against the job. Returns the job's id."""
        with self._database.write() as db:
            row = db.execute("SELECT * FROM jobs WHERE state = 'running' AND owner = ?", (owner,)).fetchone()
            if row is None:
                return None
            self._take_back(db, row, evidence, blame=blame)
            return str(row["id"])

    def _take_back(self, db: sqlite3.Connection, row: sqlite3.Row, evidence: JsonObject, *, blame: bool = True) -> None:
        job, number, now = row["id"], row["attempt"], self._clock()
        close_attempt(db, job, number, now, "lost", evidence)
        if row["cancel"]:
            settle(db, job, JobState.CANCELLED, now, attempt=number)
            return
        steps = _finished_steps(db, job)
        verdict = after_loss(
            strikes=row["strikes"],
            steps_before=row["steps_at_loss"],
            steps_now=steps,
            blame=blame and not row["paused"],
        )
        db.execute("UPDATE jobs SET strikes = ?, steps_at_loss = ? WHERE id = ?", (verdict.strikes, steps, job))
        if verdict.state is JobState.PARKED:
            park(db, job, now, attempt=number, evidence=evidence)
        else:
            requeue(db, job, now, attempt=number, why=f"worker lost: {evidence.get('why', 'it died')}")

    def _owned(self, db: sqlite3.Connection, attempt: Attempt) -> sqlite3.Row | None:
        row: sqlite3.Row | None = db.execute(f"SELECT * FROM jobs WHERE {OWNED}", _fence(attempt)).fetchone()
        return row


def _fence(attempt: Attempt) -> tuple[str, int, str]:
    return attempt.job.id, attempt.number, attempt.owner


def _finished_steps(db: sqlite3.Connection, job: str) -> int:
    """Count the different steps that ever finished; a step that is run again is no progress."""
    rows = db.execute("SELECT data FROM events WHERE job = ? AND kind = 'step_done'", (job,))
    return len({(data["node"], data["key"]) for data in (json.loads(row[0]) for row in rows)})
