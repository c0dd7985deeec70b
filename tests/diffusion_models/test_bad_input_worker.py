"""One worker process is given every kind of bad input in turn: each job has its sentence, and the worker lives."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.jobs.contract import JobState, WorkerOptions
from engine.jobs.database import open_ledger
from engine.jobs.embedded import Supervisor
from engine.jobs.leases import Leases
from engine.jobs.ledger import Ledger
from tests.diffusion_models.test_bad_input import KINDS
from tests.jobs.test_supervisor import WAIT_S, until

STARTS_S = 300  # the worker imports torch and diffusers, perhaps on a busy machine


@pytest.fixture
def desk(tmp_path: Path, models_dir: Path) -> Iterator[tuple[Ledger, Supervisor]]:
    database = open_ledger(tmp_path)
    ledger = Ledger(database)
    options = WorkerOptions(
        tmp_path, "cpu", "tests.diffusion_models.bad_worker:make", {"good": str(models_dir / "diffusers" / "tiny")}
    )
    with Supervisor(ledger, Leases(database), [options]) as supervisor:
        until(lambda: supervisor.workers()[0].state == "ready", STARTS_S)
        yield ledger, supervisor
    database.close()


@pytest.mark.slow
def test_a_worker_outlives_them_all(desk: tuple[Ledger, Supervisor]) -> None:
    ledger, supervisor = desk
    worker = supervisor.workers()[0].pid

    def run(kind: str) -> tuple[JobState, str]:
        job = ledger.enqueue({"kind": kind}).id
        supervisor.wake()
        until(lambda: ledger.get(job).state not in {JobState.QUEUED, JobState.RUNNING})
        return ledger.get(job).state, " ".join(p["message"] for p in ledger.get(job).problems)

    def open_files() -> dict[str, int]:
        return dict(supervisor.request("open_files").result(WAIT_S))

    assert run("")[0] == JobState.DONE
    before = open_files()
    ends = {kind: run(kind) for kind in KINDS}
    assert {kind: end for kind, end in ends.items() if end[0] != JobState.FAILED} == {}
    assert {kind: said for kind, (_, said) in ends.items() if not re.search(KINDS[kind][0], said)} == {}
    assert run("")[0] == JobState.DONE
    assert supervisor.workers()[0].pid == worker
    assert open_files() == before
