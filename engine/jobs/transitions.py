"""The changes of a job's state: each writes row and event in the caller's transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from engine.jobs.contract import JobState, JsonObject
from engine.jobs.database import add_event


def settle(
    db: sqlite3.Connection,
    job: str,
    state: JobState,
    at: float,
    *,
    attempt: int,
    outputs: JsonObject | None = None,
    problems: Sequence[JsonObject] = (),
) -> None:
    """End a job, with what it made and what went wrong."""
    seq = add_event(db, job, f"job_{state}", at, attempt=attempt, data={"problems": list(problems)})
    db.execute(
        "UPDATE jobs SET state = ?, ended = ?, settled = ?, outputs = ?, problems = ?, owner = NULL WHERE id = ?",
        (state, at, seq, json.dumps(outputs or {}), json.dumps(list(problems)), job),
    )


def requeue(db: sqlite3.Connection, job: str, at: float, *, attempt: int, why: str, delay: float = 0.0) -> None:
    """Let a job wait again, at its old place, for at least `delay` seconds."""
    add_event(db, job, "job_requeued", at, attempt=attempt, data={"why": why, "delay": delay})
    db.execute("UPDATE jobs SET state = 'queued', not_before = ?, owner = NULL WHERE id = ?", (at + delay, job))


def park(db: sqlite3.Connection, job: str, at: float, *, attempt: int, evidence: JsonObject) -> None:
    """Set a job aside that ended its worker repeatedly, so that the queue moves on."""
    problem = {
        "code": "parked",
        "message": "This job ended its worker process twice and was set aside. Look at its attempts, "
        "then retry or cancel it.",
        "evidence": evidence,
    }
    add_event(db, job, "job_parked", at, attempt=attempt, data={"problems": [problem]})
    db.execute(
        "UPDATE jobs SET state = 'parked', owner = NULL, problems = ? WHERE id = ?",
        (json.dumps([problem]), job),
    )


def close_attempt(
    db: sqlite3.Connection, job: str, number: int, at: float, end: str, evidence: JsonObject | None = None
) -> None:
    """Write down how an attempt ended."""
    db.execute(
        "UPDATE attempts SET ended = ?, end = ?, evidence = ? WHERE job = ? AND number = ?",
        (at, end, json.dumps(evidence or {}), job, number),
    )
