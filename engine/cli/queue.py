"""`main.py queue`: the ledger of a data folder, whether or not a server runs on it; a server sees changes at once."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict

from engine.cli.parser import settings_of
from engine.errors import BadInput, NotFound
from engine.jobs.contract import JobState, JobStore, JobSummary
from engine.jobs.database import open_ledger
from engine.jobs.ledger import Ledger


def main(args: argparse.Namespace) -> int:
    """Carry out one action and say what came of it."""
    data_dir = settings_of(args).data_dir
    data_dir.mkdir(parents=True, exist_ok=True)
    with closing(open_ledger(data_dir)) as database:
        jobs = Ledger(database)
        if args.action not in (None, "list"):
            print(act(jobs, args))
        elif args.json:
            plain = {"paused": jobs.status().paused, "jobs": [asdict(job) for job in waiting(jobs)]}
            print(json.dumps(plain))
        else:
            print("\n".join(listing(jobs)))
    return 0


def act(jobs: JobStore, args: argparse.Namespace) -> str:
    """Change the queue; returns a sentence."""
    if args.action == "cancel" and args.all:
        return f"Cancelled {jobs.cancel_all()} jobs."
    job = find(jobs, args.id) if args.id is not None else None
    match args.action:
        case "cancel" if job:
            state = jobs.cancel(job).state
            return f"{job} will stop after its present step." if state == JobState.RUNNING else f"{job} is {state}."
        case "pause":
            jobs.pause(job)
            return f"{job or 'The queue'} is paused."
        case "resume":
            jobs.resume(job)
            return f"{job or 'The queue'} goes on."
        case "move" if job:
            before, after = (find(jobs, name) if name else None for name in (args.before, args.after))
            jobs.move(job, before=before, after=after)
            return f"{job} now runs {'before' if before else 'after'} {before or after}."
    raise AssertionError(args.action)


def find(jobs: JobStore, start: str) -> str:
    """Return the one id in the queue that begins with `start`."""
    found = [job.id for job in waiting(jobs) if start and job.id.startswith(start)]
    if not found:
        raise NotFound(f"No job in the queue has an id that begins with {start!r}; main.py queue lists them.")
    if len(found) > 1:
        raise BadInput(f"{len(found)} jobs begin with {start!r}; write more of the id: {', '.join(found[:5])}.")
    return found[0]


def waiting(jobs: JobStore) -> Iterator[JobSummary]:
    """Yield every job that has not ended, in the order of running."""
    cursor: str | None = None
    while True:
        page = jobs.queue(cursor=cursor)
        yield from page.jobs
        cursor = page.cursor
        if cursor is None:
            return


def listing(jobs: JobStore) -> Iterator[str]:
    """Yield one line per job."""
    if jobs.status().paused:
        yield "The queue is paused; main.py queue resume lets it go on."
    empty = True
    for job in waiting(jobs):
        empty = False
        state = f"{job.state}{', paused' if job.paused else ''}{', stopping' if job.stopping else ''}"
        age = time.time() - job.created
        yield f"{job.id}  {state:<18}  priority {job.priority}  {age:.0f} s old  {job.client}".rstrip()
    if empty:
        yield "Nothing runs and nothing waits."
