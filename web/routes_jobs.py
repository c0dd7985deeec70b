"""Jobs and the queue."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from engine import graph, workflow
from engine.jobs.contract import Job, JobEvent, JobSummary, JsonObject, Page, PastAttempt, QueueStatus
from web.parts import Parts
from web.routing import Body, Query, Routes

PRIORITY_MAX = 1_000
SEQ_MAX = 2**62

routes = Routes()


class Submit(Body):
    """A job: a workflow, `inputs` laid over it (`{"node.input": value}`) and the nodes wanted (none: all that show)."""

    workflow: JsonObject
    inputs: JsonObject = Field({})
    outputs: list[str] = Field([])
    priority: int = Field(0, ge=-PRIORITY_MAX, le=PRIORITY_MAX)
    idempotency_key: str | None = Field(None, min_length=1, max_length=200)
    client: str = Field("", max_length=200)


class JobsQuery(Query):
    """Which list, and which part of it."""

    list: Literal["queue", "history"] = "queue"
    client: str | None = Field(None, max_length=200)
    limit: int = Field(50, ge=1, le=500)
    cursor: str | None = Field(None, max_length=80)


class Move(Body):
    """Where to move a job to: just before or just after another one."""

    before: str | None = None
    after: str | None = None


class Priority(Body):
    """A priority; higher runs first."""

    priority: int = Field(ge=-PRIORITY_MAX, le=PRIORITY_MAX)


class EventsQuery(Query):
    """Events after number `since`; if there are none yet, wait so many seconds for one."""

    since: int = Field(0, ge=0, lt=SEQ_MAX)
    wait: float = Field(0, ge=0, le=30)


@dataclass(frozen=True)
class Events:
    """Events in order; pass `seq` as `since` to get the next ones."""

    events: tuple[JobEvent, ...]
    seq: int


@dataclass(frozen=True)
class Outputs:
    """What a job made: `outputs` by node, and once it has ended `done`."""

    state: str
    outputs: JsonObject


@dataclass(frozen=True)
class Cancelled:
    """How many jobs were cancelled."""

    cancelled: int


@routes.add("POST", "/api/jobs", status=201)
async def submit(parts: Parts, body: Submit) -> JobSummary:
    """Queue a workflow; answered once the job is on the disk. The same idempotency key returns the same job."""
    specs = parts.catalogue.specs()

    def enqueue() -> Job:
        parsed = workflow.parse(body.workflow).with_inputs(body.inputs)
        graph.build(parsed, specs, wanted=body.outputs)
        return parts.jobs.enqueue(
            body.workflow,
            wanted=body.outputs,
            inputs=body.inputs,
            priority=body.priority,
            client=body.client,
            key=body.idempotency_key,
        )

    job = await asyncio.to_thread(enqueue)
    parts.runner.wake()
    return job


@routes.add("GET", "/api/jobs")
async def jobs(parts: Parts, query: JobsQuery) -> Page:
    """List the queue (running, waiting, parked) or the history (last ended first), a page at a time."""
    if query.list == "queue":
        return await asyncio.to_thread(parts.jobs.queue, limit=query.limit, cursor=query.cursor)
    return await asyncio.to_thread(parts.jobs.history, limit=query.limit, cursor=query.cursor, client=query.client)


@routes.add("GET", "/api/jobs/{job}")
async def job(parts: Parts, job: str) -> Job:
    """Return a job with its workflow."""
    return await asyncio.to_thread(parts.jobs.get, job)


@routes.add("DELETE", "/api/jobs/{job}")
async def forget(parts: Parts, job: str) -> None:
    """Remove an ended job from the history; its pictures stay."""
    await asyncio.to_thread(parts.jobs.forget, job)
    parts.runner.wake()


@routes.add("GET", "/api/jobs/{job}/outputs")
async def outputs(parts: Parts, job: str) -> Outputs:
    """Return what a job made, by node; files are at /api/files/{digest}."""
    found = await asyncio.to_thread(parts.jobs.get, job)
    return Outputs(found.state, found.outputs)


@routes.add("GET", "/api/jobs/{job}/attempts")
async def attempts(parts: Parts, job: str) -> tuple[PastAttempt, ...]:
    """Return how each attempt of a job went."""
    return await asyncio.to_thread(parts.jobs.attempts, job)


@routes.add("GET", "/api/jobs/{job}/events")
async def job_events(parts: Parts, job: str, query: EventsQuery) -> Events:
    """Return a job's events after a number, waiting for one if asked to."""
    return await _events(parts, query, job)


@routes.add("GET", "/api/events")
async def events(parts: Parts, query: EventsQuery) -> Events:
    """Return all events after a number, waiting for one if asked to."""
    return await _events(parts, query, None)


async def _events(parts: Parts, query: EventsQuery, job: str | None) -> Events:
    until = time.monotonic() + query.wait
    async with parts.hub.listening() as listener:
        while not (found := await parts.hub.after(query.since, job)) and (left := until - time.monotonic()) > 0:
            await listener.wait(left)
    return Events(found, found[-1].seq if found else query.since)


@routes.add("POST", "/api/jobs/{job}/cancel")
async def cancel(parts: Parts, job: str) -> JobSummary:
    """End a waiting job at once, or ask a running one to stop at its next step."""
    cancelled = await asyncio.to_thread(parts.jobs.cancel, job)
    parts.runner.wake()
    return cancelled


@routes.add("POST", "/api/jobs/{job}/retry")
async def retry(parts: Parts, job: str) -> JobSummary:
    """Queue a failed, cancelled or parked job again; what had finished is not run again."""
    again = await asyncio.to_thread(parts.jobs.retry, job)
    parts.runner.wake()
    return again


@routes.add("POST", "/api/jobs/{job}/move")
async def move(parts: Parts, job: str, body: Move) -> JobSummary:
    """Put a waiting job before or after another one; it takes that one's priority."""
    await asyncio.to_thread(parts.jobs.move, job, before=body.before, after=body.after)
    return await _changed(parts, job)


@routes.add("POST", "/api/jobs/{job}/priority")
async def prioritise(parts: Parts, job: str, body: Priority) -> JobSummary:
    """Give a waiting job another priority."""
    await asyncio.to_thread(parts.jobs.prioritise, job, body.priority)
    return await _changed(parts, job)


@routes.add("POST", "/api/jobs/{job}/pause")
async def pause(parts: Parts, job: str) -> JobSummary:
    """Hold a job; a running one stops at its next step and keeps what has finished."""
    await asyncio.to_thread(parts.jobs.pause, job)
    return await _changed(parts, job)


@routes.add("POST", "/api/jobs/{job}/resume")
async def resume(parts: Parts, job: str) -> JobSummary:
    """Let a held job run again."""
    await asyncio.to_thread(parts.jobs.resume, job)
    return await _changed(parts, job)


async def _changed(parts: Parts, job: str) -> JobSummary:
    parts.runner.wake()
    return await asyncio.to_thread(parts.jobs.get, job)


@routes.add("GET", "/api/queue")
async def queue(parts: Parts) -> QueueStatus:
    """Say whether the queue is held, and how many jobs are in each state."""
    return await asyncio.to_thread(parts.jobs.status)


@routes.add("POST", "/api/queue/pause")
async def pause_queue(parts: Parts) -> QueueStatus:
    """Hold the whole queue; what runs goes on."""
    await asyncio.to_thread(parts.jobs.pause)
    return await queue(parts)


@routes.add("POST", "/api/queue/resume")
async def resume_queue(parts: Parts) -> QueueStatus:
    """Let the queue run again."""
    await asyncio.to_thread(parts.jobs.resume)
    parts.runner.wake()
    return await queue(parts)


@routes.add("POST", "/api/queue/cancel")
async def cancel_all(parts: Parts) -> Cancelled:
    """Cancel every job that has not ended."""
    count = await asyncio.to_thread(parts.jobs.cancel_all)
    parts.runner.wake()
    return Cancelled(count)
