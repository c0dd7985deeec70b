"""What to do next, as pure functions of what is known: whom to run, whose lease is dead, retry or park."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engine.jobs.contract import JobState, JsonObject

LEASE_S = 15.0
HEARTBEAT_S = LEASE_S / 3
MAX_STRIKES = 2

# The retry table: problem code -> seconds to wait before each further attempt. What is not here is final.
RETRY_AFTER_S: dict[str, tuple[float, ...]] = {"unavailable": (1, 4, 16)}


@dataclass(frozen=True, slots=True)
class Waiting:
    """A queued job as far as the choice depends on it."""

    id: str
    paused: bool
    not_before: float


def next_job(waiting: Iterable[Waiting], now: float) -> str | None:
    """Choose the first job, in queue order, that is neither paused nor waiting for its retry."""
    return next((job.id for job in waiting if not job.paused and job.not_before <= now), None)


def is_dead(lease_until: float, now: float) -> bool:
    """Say whether a lease has ended. One that ends too far ahead is from before a restart of the machine."""
    return not now < lease_until <= now + LEASE_S


@dataclass(frozen=True, slots=True)
class Verdict:
    """The next state of a job whose attempt ended; `delay` in seconds, `strikes` held against it."""

    state: JobState
    delay: float = 0.0
    strikes: int = 0


def after_loss(*, strikes: int, steps_before: int, steps_now: int, blame: bool) -> Verdict:
    """Judge a job whose worker died under it.

    A job is poison if it ends its worker twice without finishing a step in between: one that gets further was
    the victim of something else. `blame` is false if the worker was ended on purpose.
    """
    if not blame:
        return Verdict(JobState.QUEUED, strikes=strikes)
    strikes = 1 if steps_now > steps_before else strikes + 1
    return Verdict(JobState.PARKED if strikes >= MAX_STRIKES else JobState.QUEUED, strikes=strikes)


def after_failure(problems: Sequence[JsonObject], *, retries: int) -> Verdict:
    """Judge a job that failed: another attempt only if time can heal every one of its problems."""
    waits = [RETRY_AFTER_S.get(str(problem.get("code")), ()) for problem in problems]
    if not waits or any(retries >= len(wait) for wait in waits):
        return Verdict(JobState.FAILED)
    return Verdict(JobState.QUEUED, delay=max(wait[retries] for wait in waits))
