"""Fake executors for worker processes: a workflow is `{"steps": [...]}` and each step says what it does."""

import os
import signal
import time
from collections.abc import Callable

from engine.errors import BadInput, Cancelled, Unavailable
from engine.events import StepDone, StepPreview, StepProgress, StepStarted
from engine.jobs.contract import Emit, Job, JobState, JsonObject, Outcome, WorkerOptions


class Fake:
    """Runs steps named `sleep:S`, `spin:S` (deaf to cancel), `kill`, `raise`, `bad`, `busy` or anything (quick)."""

    def __init__(self, options: WorkerOptions) -> None:
        self.options = options
        self.requests = {"echo": self.echo, "fail": self.fail, "die": self.die}

    def echo(self, payload: JsonObject) -> JsonObject:
        return {**payload, "pid": os.getpid(), "settings": self.options.settings, "env": sorted(os.environ)}

    def fail(self, payload: JsonObject) -> JsonObject:
        raise BadInput("That cannot be.", field="x")

    def die(self, payload: JsonObject) -> JsonObject:
        os.kill(os.getpid(), signal.SIGKILL)
        return {}

    def execute(self, job: Job, emit: Emit, cancelled: Callable[[], bool]) -> Outcome:
        for index, step in enumerate(job.workflow["steps"]):
            node = f"n{index}"
            emit(StepStarted(node, "fake", "new"))
            started = time.perf_counter()
            self.step(node, step, emit, cancelled)
            emit(StepDone(node, "fake", step, time.perf_counter() - started, "new"))
        os.write(1, b"nodes may print\n")
        return Outcome(JobState.DONE, {"out": {"job": job.id}})

    def step(self, node: str, step: str, emit: Emit, cancelled: Callable[[], bool]) -> None:
        name, _, amount = step.partition(":")
        end = time.monotonic() + float(amount or 0)
        if name == "kill":
            emit.flush()
            time.sleep(0.1)
            os.kill(os.getpid(), signal.SIGKILL)
        if name == "raise":
            raise ZeroDivisionError("a bug in a node")
        if name == "bad":
            raise BadInput("No such model. Choose another.", node=node, field="model")
        if name == "busy":
            raise Unavailable("The server of that model is busy.", node=node)
        emit(StepPreview(node, "image/webp", b"\x00\x01picture"))
        while name in ("sleep", "spin") and time.monotonic() < end:
            if name == "sleep" and cancelled():
                raise Cancelled("The run was cancelled.")
            emit(StepProgress(node, 1, 100))
            time.sleep(0.01)


def make(options: WorkerOptions) -> Fake:
    return Fake(options)


def broken(options: WorkerOptions) -> Fake:
    raise RuntimeError("no such device")
