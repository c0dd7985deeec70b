"""What the world does to a ledger: a full disk, processes that race, a kill in the middle of a commit."""

import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.errors import Unavailable
from engine.jobs.contract import JobState
from engine.jobs.database import open_ledger
from engine.jobs.ledger import Ledger
from tests.jobs.conftest import Desk
from tests.jobs.test_supervisor import house

WORKFLOW = {"text": "x" * 20_000}


@contextmanager
def full_disk(room: int, pid: int = 0) -> Iterator[None]:
    """Let no file of a process grow beyond `room` bytes: a full disk without root."""
    _, hard = limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


def whole(desk: Desk) -> bool:
    with desk.database.read() as db:
        return db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def fill(desk: Desk, acknowledged: list[str]) -> None:
    while True:
        acknowledged.append(desk.ledger.enqueue(WORKFLOW).id)


def test_a_full_disk_refuses_jobs_and_loses_none(desk: Desk) -> None:
    acknowledged: list[str] = []
    with full_disk(400_000), pytest.raises(Unavailable, match="Check the disk"):
        fill(desk, acknowledged)
    assert acknowledged
    assert [job.id for job in desk.ledger.queue().jobs] == acknowledged
    acknowledged.append(desk.ledger.enqueue(WORKFLOW).id)  # there is room again
    desk.database.close()
    desk.open()
    assert [job.id for job in desk.ledger.queue().jobs] == acknowledged
    assert whole(desk)


def test_a_worker_outlasts_a_full_disk(tmp_path: Path) -> None:
    with house(tmp_path) as it:
        job = it.run("sleep:0.5", "a")
        pid = it.running(job)
        with full_disk(1, pid):
            time.sleep(1.5)  # the step ends meanwhile and cannot be written down
            assert it.ledger.get(job).state is JobState.RUNNING
        assert it.ended(job).state is JobState.DONE
        assert it.supervisor.workers()[0].pid == pid


LEASE_ALL = """
import sys
from pathlib import Path
from engine.jobs.database import open_ledger
from engine.jobs.leases import Leases
leases = Leases(open_ledger(Path(sys.argv[1])))
print("ready", flush=True)
sys.stdin.readline()
while attempt := leases.lease(sys.argv[2]):
    print(attempt.job.id, flush=True)
"""


def test_two_processes_never_lease_the_same_job(desk: Desk) -> None:
    jobs = [desk.ledger.enqueue({}).id for _ in range(100)]
    racers = [
        subprocess.Popen([sys.executable, "-c", LEASE_ALL, str(desk.folder), name], stdin=-1, stdout=-1, text=True)
        for name in "ab"
    ]
    for racer in racers:
        racer.stdout.readline()
    taken = [racer.communicate("go\n")[0].split() for racer in racers]
    assert sorted(taken[0] + taken[1]) == sorted(jobs)


ENQUEUE = """
import sys
from pathlib import Path
from engine.jobs.database import open_ledger
from engine.jobs.ledger import Ledger
ledger = Ledger(open_ledger(Path(sys.argv[1])))
while True:
    print(ledger.enqueue({"text": "x" * 20_000}).id, flush=True)
"""


def test_what_was_acknowledged_survives_a_kill_at_any_moment(desk: Desk) -> None:
    acknowledged = 0
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", ENQUEUE, str(desk.folder)], stdout=-1, text=True)
        process.stdout.readline()
        time.sleep(random.uniform(0.01, 0.1))
        process.kill()
        acknowledged += 1 + len(process.communicate()[0].splitlines())
    known = len(Ledger(open_ledger(desk.folder)).queue(limit=10_000).jobs)
    assert acknowledged <= known <= acknowledged + 3  # a kill may come between the commit and the answer
    assert whole(desk)


HANG = """
import os, signal, sys
from pathlib import Path
from engine.jobs.database import open_ledger
with open_ledger(Path(sys.argv[1])).write() as db:
    db.execute("UPDATE queue SET paused = 1")
    print(flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
"""


def test_a_process_that_hangs_in_a_write_keeps_nobody_from_reading(desk: Desk) -> None:
    """So a server that starts can see who hangs, end it, and go on."""
    process = subprocess.Popen([sys.executable, "-c", HANG, str(desk.folder)], stdout=-1)
    process.stdout.readline()
    other = Ledger(open_ledger(desk.folder))
    assert not other.status().paused
    process.kill()
    process.communicate()
    assert other.enqueue({}).state is JobState.QUEUED
