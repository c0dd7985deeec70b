"""What is lost when processes are killed: jobs, results, finished steps. And what durability costs when queueing.

A client queues jobs of several steps through a server process; server and worker are killed by SIGKILL at random
moments. Each step leaves a mark when it is called, so that the verdict does not rest on the ledger alone. Jobs that
were hit twice within a step are `parked` and let go on at the end, as a person would.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import IO, Any, cast

from engine.bench.durability_worker import DISK, MARKS, RAM, chain, expected
from engine.disk import Disk
from engine.jobs.contract import JobEvent, JobState, JobSummary
from engine.jobs.database import open_ledger
from engine.jobs.ledger import Ledger
from engine.settings import ROOT
from engine.store import Store

KILLS = 100
VICTIMS = ("worker", "worker", "worker", "server", "both")
STARTING = 0.35  # the share of worker kills that may strike while it starts; the others strike a running job
IN_JOB_S = 0.15  # a worker is killed at most this long after it has called a step,
IN_REQUEST_S = 0.004  # the server at most this long after it was sent a job
PACE_S = 0.25  # between jobs, on average
BACKLOG = 100
PATIENCE_S = 120.0
QUEUED = 1000
WORKFLOW_BYTES = 20_000


def run(*, kills: int = KILLS, seed: int | None = None) -> dict[str, Any]:
    """Kill so many processes, let the rest finish, count what went wrong; then time the queue."""
    with tempfile.TemporaryDirectory() as folder, closing(_KillLoop(Path(folder), random.Random(seed))) as loop:
        figures = loop.run(kills)
    with tempfile.TemporaryDirectory() as folder:
        return {**figures, **_queueing(Path(folder))}


class _KillLoop:
    """The server, the client that asks it for jobs, and the hand that kills."""

    def __init__(self, data_dir: Path, random: random.Random) -> None:
        self._data_dir = data_dir
        self._random = random
        self._database = open_ledger(data_dir)
        self._ledger = Ledger(self._database)
        self._acknowledged: list[str] = []
        self._asking = Flag()
        self._enough = Flag()
        self._server = self._start()

    def run(self, kills: int) -> dict[str, Any]:
        """Kill, drain, judge."""
        started = time.monotonic()
        client = Thread(target=self._ask_for_jobs, daemon=True)
        client.start()
        done = 0
        while done < kills:
            done += self._kill()
        self._enough.set()
        client.join()
        parked = self._drain()
        seconds = time.monotonic() - started
        self._server.communicate()
        counts = {"kills": done, "acknowledged": len(self._acknowledged), **self._verdict()}
        return {**counts, "parked": parked, "seconds": seconds}

    def close(self) -> None:
        """End the server, however far it got."""
        self._enough.set()
        self._server.kill()
        self._server.communicate()
        self._database.close()

    def _start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "engine.bench.durability_server", str(self._data_dir)]
        return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    # The client: asks with the same key until it is answered, whichever server is there

    def _ask_for_jobs(self) -> None:
        while not self._enough.is_set():
            time.sleep(self._random.uniform(0, 2 * PACE_S))
            if self._ledger.status().counts[JobState.QUEUED] >= BACKLOG:
                continue
            key = f"job-{len(self._acknowledged)}"
            _until(partial(self._ask, json.dumps({"key": key, "workflow": chain(self._data_dir, key)})))
            self._acknowledged.append(key)

    def _ask(self, request: str) -> bool:
        server = self._server
        self._asking.set()
        try:
            print(request, file=server.stdin, flush=True)
            return bool(cast(IO[str], server.stdout).readline())
        except (BrokenPipeError, ValueError):  # killed, or put away by the other thread
            return False
        finally:
            self._asking.clear()

    # The hand

    def _kill(self) -> int:
        """Kill one or two processes at a random moment and return how many it hit."""
        victim = self._random.choice(VICTIMS)
        if victim != "worker":
            _until(self._asking.is_set)
        elif self._random.random() > STARTING:
            before = self._marks_size()
            _until(lambda: self._marks_size() > before)
        time.sleep(self._random.uniform(0, IN_JOB_S if victim == "worker" else IN_REQUEST_S))
        workers = _children(self._server.pid) if victim != "server" else []
        for pid in workers:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if victim == "worker":
            return len(workers)
        self._server.kill()
        self._server.communicate()
        self._server = self._start()
        return len(workers) + 1

    def _marks_size(self) -> int:
        path = self._data_dir / MARKS
        return path.stat().st_size if path.exists() else 0

    def _drain(self) -> int:
        """Let all jobs end; one that was killed twice in the same step waits for a person, who lets it go on."""
        parked: list[JobSummary] = []

        def empty() -> bool:
            jobs = self._ledger.queue().jobs
            for job in (job for job in jobs if job.state is JobState.PARKED):
                self._ledger.retry(job.id)
                parked.append(job)
            return not jobs

        _until(empty)
        return len(parked)

    # The verdict

    def _verdict(self) -> dict[str, int]:
        jobs = {job.id: str(job.key) for job in self._history()}
        with closing(Disk(self._data_dir / "store", DISK)) as disk:
            good = {str(job.key) for job in self._history() if _is_right(job, Store(RAM, disk))}
        events = list(self._events())
        ends = Counter(event.job for event in events if event.kind == "job_done")
        names = Counter(jobs.values())
        finished = {
            f"{jobs[event.job]}:{event.data['node'].removeprefix('s')}": event.at
            for event in reversed(events)  # the first time counts
            if event.kind == "step_done"
        }
        marks = [line.split() for line in (self._data_dir / MARKS).read_text().splitlines()]
        return {
            "lost": sum(key not in good for key in self._acknowledged),
            "visible_twice": sum(count - 1 for counts in (ends, names) for count in counts.values()),
            "finished_steps_rerun": sum(float(at) > finished.get(name, float("inf")) for name, at in marks),
            "steps_finished": len(finished),
            "steps_called": len(marks),
        }

    def _history(self) -> Iterator[JobSummary]:
        cursor, more = None, True
        while more:
            page = self._ledger.history(limit=500, cursor=cursor)
            yield from page.jobs
            cursor, more = page.cursor, page.cursor is not None

    def _events(self) -> Iterator[JobEvent]:
        seq = 0
        while page := self._ledger.events_since(seq):
            yield from page
            seq = page[-1].seq


def _is_right(job: JobSummary, store: Store) -> bool:
    if job.state is not JobState.DONE:
        return False
    (outputs,) = job.outputs.values()
    return bool(store.get(outputs["string"]) == expected(str(job.key)))


def _children(pid: int) -> list[int]:
    with suppress(FileNotFoundError):
        tasks = Path(f"/proc/{pid}/task").glob("*/children")
        return [int(child) for task in tasks for child in task.read_text().split()]
    return []


def _until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        if time.monotonic() > end:
            raise TimeoutError("the jobs stand still; look at the worker's log")
        time.sleep(0.001)


def _queueing(data_dir: Path) -> dict[str, float]:
    """Time the queueing of jobs: each is on the disk before the next is sent."""
    database = open_ledger(data_dir)
    ledger = Ledger(database)
    workflow = {"text": "x" * WORKFLOW_BYTES}
    times = []
    for _ in range(QUEUED):
        started = time.perf_counter()
        ledger.enqueue(workflow)
        times.append(time.perf_counter() - started)
    database.close()
    times.sort()
    return {
        "enqueue_p50_ms": times[QUEUED // 2] * 1e3,
        "enqueue_p99_ms": times[QUEUED * 99 // 100] * 1e3,
        "queue_1000_s": sum(times),
    }
