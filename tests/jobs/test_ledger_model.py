"""The ledger against a model of dictionaries and lists, under random histories with crashes of either side."""

import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from engine.errors import Conflict
from engine.events import StepDone
from engine.jobs.contract import ENDED, Attempt, JobState, Outcome
from engine.jobs.scheduler import LEASE_S, MAX_STRIKES, RETRY_AFTER_S
from tests.jobs.conftest import Desk

BUSY = {"code": "unavailable", "message": "busy"}
WRONG = {"code": "bad_input", "message": "wrong"}
PICK = st.integers(0, 30)
OWNERS = st.sampled_from(["w0", "w1", "w2"])


@dataclass
class Model:
    """What a job should be."""

    priority: int
    state: str = "queued"
    paused: bool = False
    cancel: bool = False
    attempt: int = 0
    owner: str = ""
    lease_until: float = 0.0
    not_before: float = 0.0
    strikes: int = 0
    retries: int = 0
    steps: set[int] = field(default_factory=set)
    steps_at_loss: int = 0

    def back(self, now: float) -> None:
        self.state, self.not_before = "queued", now


class LedgerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        self.desk = Desk(self.folder)
        self.model: dict[str, Model] = {}
        self.places: list[str] = []  # all jobs in the order of their turn, priorities aside
        self.keys: dict[str, tuple[str, int]] = {}
        self.paused = False
        self.ended: list[str] = []
        self.attempts: list[Attempt] = []

    @initialize()
    def begin(self) -> None:
        for _ in range(4):
            self.enqueue(0, None)

    def teardown(self) -> None:
        self.desk.database.close()
        shutil.rmtree(self.folder)

    def job(self, pick: int) -> str:
        return self.places[pick % len(self.places)]

    def attempt(self, pick: int) -> Attempt:
        """One of the last attempts."""
        return self.attempts[-1 - pick % min(len(self.attempts), 5)]

    # What the model says

    def waiting(self) -> list[str]:
        queued = [job for job in self.places if self.model[job].state == "queued"]
        return sorted(queued, key=lambda job: -self.model[job].priority)

    def end(self, job: str, state: str) -> None:
        self.model[job].state = state
        self.ended.append(job)

    def lose(self, job: str) -> None:
        it = self.model[job]
        if it.cancel:
            self.end(job, "cancelled")
            return
        if not it.paused:
            it.strikes = 1 if len(it.steps) > it.steps_at_loss else it.strikes + 1
        it.steps_at_loss = len(it.steps)
        if not it.paused and it.strikes >= MAX_STRIKES:
            it.state = "parked"
        else:
            it.back(self.desk.clock.now)

    def owns(self, attempt: Attempt) -> bool:
        it = self.model.get(attempt.job.id)
        return it is not None and (it.state, it.attempt, it.owner) == ("running", attempt.number, attempt.owner)

    # What clients do

    @rule(priority=st.integers(-1, 1), key=st.none() | st.sampled_from("kl"))
    def enqueue(self, priority: int, key: str | None) -> None:
        known, asked = self.keys.get(key, ("", priority)) if key else ("", priority)
        try:
            job = self.desk.ledger.enqueue({"n": 1}, priority=priority, key=key)
        except Conflict:
            assert known
            assert asked != priority
            return
        assert asked == priority
        if known:
            assert job.id == known
            return
        if key:
            self.keys[key] = job.id, priority
        self.model[job.id] = Model(priority)
        self.places.append(job.id)

    @rule(pick=PICK)
    @precondition(lambda self: self.places)
    def cancel(self, pick: int) -> None:
        job = self.job(pick)
        self.desk.ledger.cancel(job)
        self.cancelled(job)

    def cancelled(self, job: str) -> None:
        it = self.model[job]
        if it.state == "running":
            it.cancel = True
        elif it.state in ("queued", "parked"):
            self.end(job, "cancelled")

    @rule()
    def cancel_all(self) -> None:
        open_jobs = [job for job in self.places if self.model[job].state not in ENDED and not self.model[job].cancel]
        assert self.desk.ledger.cancel_all() == len(open_jobs)
        with self.desk.database.read() as db:  # in whatever order the ledger took them
            rows = db.execute("SELECT id FROM jobs WHERE settled IS NOT NULL ORDER BY settled").fetchall()
        settled = [row["id"] for row in rows]
        for job in sorted(open_jobs, key=lambda job: settled.index(job) if job in settled else -1):
            self.cancelled(job)

    @rule(pick=PICK, paused=st.booleans())
    @precondition(lambda self: self.places)
    def hold(self, pick: int, paused: bool) -> None:
        job = self.job(pick)
        change = self.desk.ledger.pause if paused else self.desk.ledger.resume
        try:
            change(job)
            self.model[job].paused = paused
            assert self.model[job].state in ("queued", "running")
        except Conflict:
            assert self.model[job].state not in ("queued", "running")

    @rule(paused=st.booleans())
    def hold_all(self, paused: bool) -> None:
        (self.desk.ledger.pause if paused else self.desk.ledger.resume)()
        self.paused = paused

    @rule(pick=PICK, into=PICK, after=st.booleans())
    @precondition(lambda self: self.places)
    def move(self, pick: int, into: int, after: bool) -> None:
        job, other = self.job(pick), self.job(into)
        places = {"after": other} if after else {"before": other}
        allowed = job != other and self.model[job].state == self.model[other].state == "queued"
        try:
            self.desk.ledger.move(job, **places)
            assert allowed
        except Conflict:
            assert not allowed
            return
        priority = self.model[other].priority
        group = [
            j
            for j in self.places
            if self.model[j].state == "queued" and (self.model[j].priority == priority or j == job)
        ]
        slots = [self.places.index(j) for j in group]
        group.remove(job)
        group.insert(group.index(other) + after, job)
        for slot, moved in zip(slots, group, strict=True):
            self.places[slot] = moved
        self.model[job].priority = priority

    @rule(pick=PICK, priority=st.integers(-1, 1))
    @precondition(lambda self: self.places)
    def prioritise(self, pick: int, priority: int) -> None:
        job = self.job(pick)
        try:
            self.desk.ledger.prioritise(job, priority)
            assert self.model[job].state == "queued"
            self.model[job].priority = priority
        except Conflict:
            assert self.model[job].state != "queued"

    @rule(pick=PICK)
    @precondition(lambda self: self.places)
    def retry(self, pick: int) -> None:
        job = self.job(pick)
        it = self.model[job]
        try:
            self.desk.ledger.retry(job)
            assert it.state in ("parked", "failed", "cancelled")
        except Conflict:
            assert it.state in ("queued", "running", "done")
            return
        if job in self.ended:
            self.ended.remove(job)
        it.state, it.cancel, it.paused, it.not_before, it.strikes, it.retries = "queued", False, False, 0, 0, 0
        self.places.remove(job)
        self.places.append(job)

    @rule(pick=PICK)
    @precondition(lambda self: self.places)
    def forget(self, pick: int) -> None:
        job = self.job(pick)
        try:
            self.desk.ledger.forget(job)
            assert self.model[job].state in ENDED
        except Conflict:
            assert self.model[job].state not in ENDED
            return
        self.places.remove(job)
        self.ended.remove(job)
        del self.model[job]
        self.keys = {key: known for key, known in self.keys.items() if known[0] != job}

    # What workers do

    @rule(owner=OWNERS)
    def lease(self, owner: str) -> None:
        for job in [j for j in self.places if self.model[j].state == "running"]:
            if self.model[job].lease_until <= self.desk.ticks.now:
                self.lose(job)
        now = self.desk.clock.now
        free = [j for j in self.waiting() if not self.model[j].paused and self.model[j].not_before <= now]
        attempt = self.desk.leases.lease(owner)
        if self.paused or not free:
            assert attempt is None
            return
        it = self.model[free[0]]
        it.state, it.owner, it.attempt, it.lease_until = "running", owner, it.attempt + 1, self.desk.ticks.now + LEASE_S
        assert (attempt.job.id, attempt.number, attempt.owner) == (free[0], it.attempt, owner)
        self.attempts.append(attempt)

    @rule(pick=PICK)
    @precondition(lambda self: self.attempts)
    def heartbeat(self, pick: int) -> None:
        attempt = self.attempt(pick)
        assert self.desk.leases.heartbeat(attempt) is self.owns(attempt)
        if self.owns(attempt):
            self.model[attempt.job.id].lease_until = self.desk.ticks.now + LEASE_S

    @rule(pick=PICK)
    @precondition(lambda self: self.attempts)
    def ask(self, pick: int) -> None:
        attempt = self.attempt(pick)
        it = self.model.get(attempt.job.id)
        assert self.desk.leases.asked_to_stop(attempt) is (not self.owns(attempt) or it.cancel or it.paused)

    @rule(pick=PICK, node=st.integers(0, 3))
    @precondition(lambda self: self.attempts)
    def step_done(self, pick: int, node: int) -> None:
        attempt = self.attempt(pick)
        assert self.desk.leases.append(attempt, [StepDone(str(node), "t", "key", 0.0, "")]) is self.owns(attempt)
        if self.owns(attempt):
            self.model[attempt.job.id].steps.add(node)

    @rule(pick=PICK, state=st.sampled_from(sorted(ENDED)), problem=st.sampled_from([BUSY, WRONG]))
    @precondition(lambda self: self.attempts)
    def finish(self, pick: int, state: JobState, problem: dict[str, str]) -> None:
        attempt = self.attempt(pick)
        owned = self.owns(attempt)
        failed = state is JobState.FAILED
        outcome = Outcome(state, {"n": attempt.number}, (problem,) if failed else ())
        assert self.desk.leases.finish(attempt, outcome) is owned
        if not owned:
            return
        it, now = self.model[attempt.job.id], self.desk.clock.now
        delays = RETRY_AFTER_S["unavailable"]
        if state is JobState.CANCELLED and it.paused and not it.cancel:
            it.back(now)
        elif failed and not it.cancel and problem is BUSY and it.retries < len(delays):
            it.back(now + delays[it.retries])
            it.retries += 1
        else:
            self.end(attempt.job.id, state.value)
            assert self.desk.ledger.get(attempt.job.id).outputs == outcome.outputs

    @rule(pick=PICK)
    @precondition(lambda self: self.attempts)
    def release(self, pick: int) -> None:
        attempt = self.attempt(pick)
        owned = self.owns(attempt)
        assert self.desk.leases.release(attempt, "stopped") is owned
        if owned and self.model[attempt.job.id].cancel:
            self.end(attempt.job.id, "cancelled")
        elif owned:
            self.model[attempt.job.id].back(self.desk.clock.now)

    @rule(owner=OWNERS)
    def die(self, owner: str) -> None:
        held = [job for job in self.places if (self.model[job].state, self.model[job].owner) == ("running", owner)]
        lost = self.desk.leases.lost(owner, {"why": "killed"})
        assert lost in held if held else lost is None
        if lost:
            self.lose(lost)

    # What the world does

    @rule(seconds=st.sampled_from([0.5, 4.0, LEASE_S / 2, LEASE_S]))
    def wait(self, seconds: float) -> None:
        self.desk.wait(seconds)

    @rule()
    def crash(self) -> None:
        """Die in the middle of a change, and open the file anew."""
        with suppress(KeyboardInterrupt), self.desk.database.write() as db:
            db.execute("UPDATE jobs SET state = 'done'")
            db.execute("DELETE FROM events")
            raise KeyboardInterrupt
        self.desk.database.close()
        self.desk.open()

    # What must hold

    @invariant()
    def states_agree(self) -> None:
        for job, it in self.model.items():
            found = self.desk.ledger.get(job)
            assert (found.state, found.priority, found.attempt) == (it.state, it.priority, it.attempt)
            assert found.stopping is (it.state == "running" and (it.cancel or it.paused))
        counts = self.desk.ledger.status().counts
        assert counts == {s: sum(it.state == s for it in self.model.values()) for s in JobState}

    @invariant()
    def orders_agree(self) -> None:
        queued = [job.id for job in self.desk.ledger.queue().jobs if job.state is JobState.QUEUED]
        assert queued == self.waiting()
        assert [job.id for job in self.desk.ledger.history().jobs] == self.ended[::-1]

    @invariant()
    def every_end_is_told_once(self) -> None:
        for job, it in self.model.items():
            kinds = [event.kind for event in self.desk.ledger.events_since(0, job=job, limit=10_000)]
            assert kinds.count("job_done") == (it.state == "done")
            assert kinds.count("job_started") == it.attempt == len(self.desk.ledger.attempts(job))


LedgerMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
test_the_ledger_behaves_like_its_model = LedgerMachine.TestCase
