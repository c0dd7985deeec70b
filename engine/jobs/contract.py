"""The seam of the job system: all that the web, the ledger and a worker know of each other.

The ledger owns truth (queue, order, attempts, results). A worker runs one attempt at a time and proves by a
lease that it is alive. Large values never pass through here: outputs are digests and small JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Protocol

from engine.events import Event

JsonObject = dict[str, Any]
DEFAULT_EXECUTOR = "engine.jobs.execute:make"
Handler = Callable[[JsonObject], JsonObject]
Action = Callable[[], None]


class JobState(StrEnum):
    """Where a job stands. A queued job may be paused; a running one may be asked to stop."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PARKED = "parked"  # it ended its worker twice; it waits for a person


ENDED = frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED})
PENDING = frozenset({JobState.QUEUED, JobState.RUNNING, JobState.PARKED})


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSummary:
    """A job without its workflow, as lists show it. Times are seconds since the epoch.

    `attempt` counts its starts; `stopping`: a cancel or pause waits for the sampler step to end; `outputs`
    maps node ids to what they produced; `problems` are `engine.errors.Problem` in JSON.
    """

    id: str
    state: JobState
    priority: int = 0
    paused: bool = False
    stopping: bool = False
    client: str = ""
    key: str | None = None
    attempt: int = 0
    created: float
    started: float | None = None
    ended: float | None = None
    outputs: JsonObject = field(default_factory=dict)
    problems: tuple[JsonObject, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(JobSummary):
    """A job with its request: `wanted` node ids (empty = all), `inputs` laid over it by `node.input`."""

    workflow: JsonObject
    wanted: tuple[str, ...] = ()
    inputs: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One lease of a job by one worker; `number` fences out a worker that lost its lease and comes back."""

    job: Job
    number: int
    owner: str


@dataclass(frozen=True, slots=True)
class PastAttempt:
    """How an attempt went: `end` is how it ended (None while it runs), `evidence` what a lost worker left."""

    number: int
    owner: str
    started: float
    ended: float | None
    end: str | None
    evidence: JsonObject


@dataclass(frozen=True, slots=True)
class JobEvent:
    """A durable event. `seq` rises over all jobs; `job` is empty for events of the whole queue.

    Kinds: `job_queued`, `job_started`, `job_requeued` (`why`, `delay`), `job_paused`, `job_resumed`, `job_moved`,
    `job_stopping`, then `job_done`, `job_failed`, `job_cancelled` or `job_parked` (`problems`); `queue_paused`,
    `queue_resumed`; and the durable ones of `engine.events`.
    """

    seq: int
    job: str
    attempt: int
    at: float
    kind: str
    data: JsonObject


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list, and the cursor of the next part (None at the end)."""

    jobs: tuple[JobSummary, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """Whether the whole queue is paused, and how many jobs are in each state."""

    paused: bool
    counts: Mapping[JobState, int]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an attempt. `state` is done, failed or cancelled."""

    state: JobState
    outputs: JsonObject = field(default_factory=dict)
    problems: tuple[JsonObject, ...] = ()


@dataclass(frozen=True, slots=True)
class Running:
    """A running job: who holds it, whether it was asked to stop, and whether its lease has run out."""

    job: str
    owner: str
    stopping: bool
    dead: bool


class JobStore(Protocol):
    """The ledger as its clients see it. Every change is durable, with its event, when the call returns.

    An unknown id raises `NotFound`, a change that the job's state forbids `Conflict`, a full disk
    `Unavailable`.
    """

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

    def get(self, job: str) -> Job:
        """Return one job with its workflow."""

    def attempts(self, job: str) -> tuple[PastAttempt, ...]:
        """Return how each attempt of a job went, oldest first."""

    def queue(self, *, limit: int = 200, cursor: str | None = None) -> Page:
        """Return what is running, then what waits in the order it will run, then what is parked."""

    def history(self, *, limit: int = 50, cursor: str | None = None, client: str | None = None) -> Page:
        """Return ended jobs, the last ended first."""

    def status(self) -> QueueStatus:
        """Return whether the queue is paused and how many jobs are in each state."""

    def pause(self, job: str | None = None) -> None:
        """Hold the whole queue (what runs goes on) or one job (one that runs stops; finished steps stay)."""

    def resume(self, job: str | None = None) -> None:
        """Let one job, or the whole queue, run again."""

    def cancel(self, job: str) -> Job:
        """End a waiting job at once; ask a running one to stop. An ended job stays as it is."""

    def cancel_all(self) -> int:
        """Cancel whatever has not ended and return how many jobs that were."""

    def move(self, job: str, *, before: str | None = None, after: str | None = None) -> None:
        """Put a queued job just before or after another queued one; it takes the other's priority."""

    def prioritise(self, job: str, priority: int) -> None:
        """Give a queued job another priority (higher runs first)."""

    def retry(self, job: str) -> Job:
        """Put a parked, failed or cancelled job back into the queue; finished steps are not run again."""

    def forget(self, job: str) -> None:
        """Remove an ended job and its events from the history."""

    def events_since(self, seq: int, *, job: str | None = None, limit: int = 500) -> tuple[JobEvent, ...]:
        """Return events after `seq` in order; nothing is ever skipped."""

    def last_seq(self) -> int:
        """Return the number of the newest event (0 if there was none)."""


class LeaseStore(Protocol):
    """The ledger as a worker sees it. A call with an attempt that lost its job does nothing but say so."""

    def lease(self, owner: str) -> Attempt | None:
        """Take the next job that may run, or None."""

    def heartbeat(self, attempt: Attempt) -> bool:
        """Extend the lease; False if the attempt no longer owns the job."""

    def asked_to_stop(self, attempt: Attempt) -> bool:
        """Say whether the attempt should end: cancelled, paused, or no longer the owner."""

    def append(self, attempt: Attempt, events: Iterable[Event]) -> bool:
        """Make events of a run durable."""

    def finish(self, attempt: Attempt, outcome: Outcome, events: Iterable[Event] = ()) -> bool:
        """Settle the job, by the retry table, together with its last events."""

    def release(self, attempt: Attempt, why: str) -> bool:
        """Give the job back through no fault of its own: it waits again."""

    def running(self) -> tuple[Running, ...]:
        """Return what runs, and under which lease."""

    def lost(self, owner: str, evidence: JsonObject, *, blame: bool = True) -> str | None:
        """Take back what a dead worker held; `blame` counts it against the job. Returns the job's id."""


class Emit(Protocol):
    """Where an executor reports, once the results behind a durable event are durable themselves.

    Durable events are committed in groups, others are only streamed.
    """

    def __call__(self, event: Event) -> None:
        """Report an event."""

    def flush(self) -> None:
        """Commit what is pending now."""


class Executor(Protocol):
    """What a worker runs. Made once per worker process by the factory named on its command line."""

    @property
    def requests(self) -> Mapping[str, Handler]:
        """Answers to requests that are not jobs, by name. They run on another thread, also during a job."""

    def execute(self, job: Job, emit: Emit, cancelled: Callable[[], bool]) -> Outcome:
        """Run a job; `cancelled` is cheap and asked between sampler steps."""


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How a worker starts. `settings` is for the executor's factory."""

    data_dir: Path
    device: str = "cpu"
    executor: str = DEFAULT_EXECUTOR
    settings: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WorkerState:
    """A worker as its supervisor knows it; `why` says what brought it down."""

    device: str
    state: Literal["starting", "ready", "busy", "down"]
    pid: int | None = None
    job: str | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Frame:
    """A message streamed from a worker: never durable, may be dropped. `blob`: a preview picture or empty."""

    head: JsonObject
    blob: bytes = b""


class JobRunner(Protocol):
    """What runs the jobs of a ledger."""

    def workers(self) -> tuple[WorkerState, ...]:
        """Return the state of each worker."""

    def wake(self) -> None:
        """Tell idle workers that the queue has changed; without it they look four times a second."""

    def subscribe(self, listener: Callable[[Frame], None]) -> Action:
        """Hand every frame to `listener`, on a thread of the runner; call the result to stop."""

    def request(self, name: str, payload: JsonObject | None = None) -> Future[JsonObject]:
        """Ask a worker something that is not a job."""
