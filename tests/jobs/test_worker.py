"""The worker's loop in this process; what needs a process of its own is in test_supervisor."""

import io
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import Cancelled, Unavailable
from engine.events import Event, StepDone
from engine.jobs import worker as worker_module
from engine.jobs.contract import Attempt, Emit, Job, JobState, Outcome, WorkerOptions
from engine.jobs.frames import read_frame
from engine.jobs.leases import Leases
from engine.jobs.worker import Worker, load
from tests.jobs.conftest import Desk
from tests.jobs.executors import Fake

Body = Callable[[Emit, Callable[[], bool]], None]


class Flaky(Leases):
    """Leases of a disk that is full for the first `failures` writes of a kind; counts heartbeats."""

    failures = 0
    beats = 0

    def fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise Unavailable("disk full")

    def heartbeat(self, attempt: Attempt) -> bool:
        self.beats += 1
        self.fail()
        return super().heartbeat(attempt)

    def finish(self, attempt: Attempt, outcome: Outcome, events: tuple[Event, ...] = ()) -> bool:
        self.fail()
        return super().finish(attempt, outcome, events)


class Floor:
    """A worker with its ledger; `run` has it run one job whose body is a function of the test."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.leases = Flaky(desk.database)
        self.frames = io.BytesIO()
        self.worker = Worker(self.leases, "w", io.BytesIO(), self.frames)
        self.body: Body = lambda emit, cancelled: None
        self.worker.prepare(self)
        self.requests = {}

    def execute(self, job: Job, emit: Emit, cancelled: Callable[[], bool]) -> Outcome:
        self.body(emit, cancelled)
        return Outcome(JobState.DONE)

    def run(self, body: Body) -> Job:
        self.body = body
        job = self.desk.ledger.enqueue({}).id
        assert self.worker.take()
        return self.desk.ledger.get(job)

    def kinds(self) -> list[str]:
        self.frames.seek(0)
        kinds = []
        while frame := read_frame(self.frames):
            kinds.append(frame.head["kind"])
        return kinds


@pytest.fixture
def floor(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Floor:
    monkeypatch.setattr(worker_module, "DISK_S", 0.01)
    monkeypatch.setattr(worker_module, "HEARTBEAT_S", 0.05)
    return Floor(desk)


def wait(true: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_without_a_job_there_is_nothing_to_do(floor: Floor) -> None:
    assert not floor.worker.take()


def test_events_of_a_quick_job_are_settled_with_it(floor: Floor) -> None:
    job = floor.run(lambda emit, cancelled: emit(StepDone("a", "t", "key", 0.0, "new")))
    assert job.state is JobState.DONE
    kinds = [event.kind for event in floor.desk.ledger.events_since(0)]
    assert kinds == ["job_queued", "job_started", "step_done", "job_done"]
    assert floor.kinds() == ["ready", "busy", "idle"]


def test_events_before_a_long_step_do_not_wait_for_it(floor: Floor) -> None:
    def body(emit: Emit, cancelled: Callable[[], bool]) -> None:
        emit(StepDone("a", "t", "key", 0.0, "new"))
        wait(lambda: floor.desk.ledger.last_seq() == 3)

    assert floor.run(body).state is JobState.DONE
    assert "committed" in floor.kinds()


def test_the_lease_is_kept_through_a_full_disk(floor: Floor) -> None:
    def body(emit: Emit, cancelled: Callable[[], bool]) -> None:
        floor.leases.failures = 1
        wait(lambda: floor.leases.beats > 2)

    assert floor.run(body).state is JobState.DONE


def test_a_result_waits_for_the_disk(floor: Floor) -> None:
    floor.leases.failures = 3
    assert floor.run(lambda emit, cancelled: None).state is JobState.DONE
    assert floor.leases.failures == 0


def test_a_lease_that_cannot_be_taken_is_tried_again_later(floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(owner: str) -> None:
        raise Unavailable("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(floor.leases, "lease", full)
        assert not floor.worker.take()
    assert floor.run(lambda emit, cancelled: None).state is JobState.DONE


def test_a_worker_that_lost_its_lease_stops_and_changes_nothing(floor: Floor) -> None:
    def body(emit: Emit, cancelled: Callable[[], bool]) -> None:
        floor.leases.lost("w", {})
        wait(cancelled)
        emit(StepDone("a", "t", "key", 1.0, "new"))
        raise Cancelled("The run was cancelled.")

    job = floor.run(body)
    assert (job.state, job.attempt) == (JobState.QUEUED, 1)
    assert "step_done" not in [event.kind for event in floor.desk.ledger.events_since(0)]


def test_the_executor_is_found_by_name(tmp_path: Path) -> None:
    assert isinstance(load("tests.jobs.executors:make")(WorkerOptions(tmp_path)), Fake)
