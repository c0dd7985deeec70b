"""The worker process of one device: leases a job, runs it, settles it.

`python -m engine.jobs.worker --data-dir D --executor package.module:factory`. Frames come in on stdin and go out on
stdout. When stdin ends, its server has gone: the job is given back and the process ends.
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from threading import Event as Flag
from threading import Lock, Thread
from typing import BinaryIO, Self, TypeVar

from engine.errors import Cancelled, NodeFailed, NotFound, SfumatoError, Unavailable
from engine.events import Event
from engine.jobs.contract import (
    DEFAULT_EXECUTOR,
    Attempt,
    Executor,
    JobState,
    JsonObject,
    LeaseStore,
    Outcome,
    WorkerOptions,
)
from engine.jobs.database import open_ledger
from engine.jobs.emit import GroupedEmit
from engine.jobs.frames import FrameWriter, read_frame
from engine.jobs.leases import Leases
from engine.jobs.processes import owner_name
from engine.jobs.scheduler import HEARTBEAT_S

IDLE_S = 0.25
TICK_S = 0.025
ASK_S = 0.1  # how often a running job looks whether it should stop
DISK_S = 1.0  # how long to wait for a ledger that cannot be written

T = TypeVar("T")
log = logging.getLogger(__name__)


class Watch:
    """Beside a running job, on a thread: commits due events, keeps the lease, notices a request to stop."""

    def __init__(self, leases: LeaseStore, attempt: Attempt, emit: GroupedEmit) -> None:
        self.stop = Flag()
        self._leases = leases
        self._attempt = attempt
        self._emit = emit
        self._over = Flag()
        self._thread = Thread(target=self._loop, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _loop(self) -> None:
        ask = time.monotonic()
        beat = ask + HEARTBEAT_S
        while not self._over.wait(TICK_S):
            now = time.monotonic()
            try:
                self._emit.flush_if_due()
                if now >= ask:
                    ask = now + ASK_S
                    if self._leases.asked_to_stop(self._attempt):
                        self.stop.set()
                if now >= beat:
                    beat = now + HEARTBEAT_S
                    self._leases.heartbeat(self._attempt)
            except Unavailable as error:  # the run meets it too, at its next event
                log.warning("%s", error)
                self._over.wait(DISK_S)


class Worker:
    """Runs one attempt after another until its server goes."""

    def __init__(self, leases: LeaseStore, owner: str, stdin: BinaryIO, stdout: BinaryIO) -> None:
        self._leases = leases
        self._owner = owner
        self._stdin = stdin
        self._frames = FrameWriter(stdout)
        self._executor: Future[Executor] = Future()
        self._wake = Flag()
        self._attempt: Attempt | None = None
        self._gate = Lock()  # closed for good when the server has gone: no lease is taken then

    def serve(self, make: Callable[[], Executor]) -> None:
        """Make the executor, then take jobs for ever."""
        Thread(target=self._listen, daemon=True).start()
        self.prepare(make())
        while True:
            if not self.take():
                self._wake.wait(IDLE_S)
                self._wake.clear()

    def prepare(self, executor: Executor) -> None:
        """Be ready for jobs and requests."""
        self._executor.set_result(executor)
        self._frames.send({"kind": "ready"})

    def take(self) -> bool:
        """Run the next job, if there is one."""
        try:
            with self._gate:
                self._attempt = self._leases.lease(self._owner)
        except Unavailable as error:
            log.warning("%s", error)
            time.sleep(DISK_S)
        if self._attempt is None:
            return False
        self._run(self._attempt)
        self._attempt = None
        return True

    def _run(self, attempt: Attempt) -> None:
        where = {"job": attempt.job.id, "attempt": attempt.number}
        self._frames.send({"kind": "busy", **where})

        def commit(events: Sequence[Event]) -> None:
            self._leases.append(attempt, events)
            self._frames.send({"kind": "committed"})

        emit = GroupedEmit(commit, lambda head, blob: self._frames.send({**head, **where}, blob))
        with Watch(self._leases, attempt, emit) as watch:
            outcome = self._execute(attempt, emit, watch.stop.is_set)
            self._finish(attempt, outcome, emit)
        self._frames.send({"kind": "idle", **where})

    def _execute(self, attempt: Attempt, emit: GroupedEmit, cancelled: Callable[[], bool]) -> Outcome:
        result = guarded(lambda: self._executor.result().execute(attempt.job, emit, cancelled))
        if isinstance(result, Cancelled):
            return Outcome(JobState.CANCELLED)
        if isinstance(result, SfumatoError):
            return Outcome(JobState.FAILED, problems=_problems(result))
        return result

    def _finish(self, attempt: Attempt, outcome: Outcome, emit: GroupedEmit) -> None:
        while True:
            try:
                self._leases.finish(attempt, outcome, emit.pending())
                return
            except Unavailable as error:  # nothing may be lost: wait for the disk
                log.warning("%s", error)
                time.sleep(DISK_S)

    def _listen(self) -> None:
        try:
            while frame := read_frame(self._stdin):
                if frame.head["kind"] == "wake":
                    self._wake.set()
                else:
                    self._frames.send({"kind": "reply", "id": frame.head["id"], **self._answer(frame.head)})
        finally:
            self._leave()

    def _answer(self, request: JsonObject) -> JsonObject:
        handler = self._executor.result().requests.get(request["name"])
        if handler is None:
            result: JsonObject | SfumatoError = NotFound(f"The worker answers no {request['name']!r} request.")
        else:
            result = guarded(lambda: handler(request["payload"]))
        if isinstance(result, SfumatoError):
            return {"problems": _problems(result), "status": result.status}
        return {"result": result}

    def _leave(self) -> None:
        """Give the job back and end, whatever the main thread is at: what it still does is fenced out."""
        try:
            self._gate.acquire()
            if self._attempt:
                self._leases.release(self._attempt, "the server stopped")
        finally:
            os._exit(0)


def guarded(call: Callable[[], T]) -> T | SfumatoError:
    """Call code of nodes. This is a boundary: whatever it raises, the worker lives on."""
    try:
        return call()
    except SfumatoError as error:
        return error
    except Exception as error:
        log.exception("unforeseen")
        text = f"{type(error).__name__}: {error}"[:500]
        return NodeFailed(f"Something unforeseen went wrong ({text}). The worker's log has the details.")


def _problems(error: SfumatoError) -> tuple[JsonObject, ...]:
    return tuple(problem.to_json() for problem in error.problems)


def load(name: str) -> Callable[[WorkerOptions], Executor]:
    """Return the executor's factory named `package.module:function`."""
    module, _, function = name.partition(":")
    factory: Callable[[WorkerOptions], Executor] = getattr(importlib.import_module(module), function)
    return factory


def _take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Keep stdin and stdout for frames: nodes and their children read nothing, and print to stderr."""
    stdin, stdout = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    return stdin, stdout


def main() -> None:
    """Run a worker until its server goes."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--executor", default=DEFAULT_EXECUTOR)
    parser.add_argument("--settings", type=json.loads, default="{}")
    options = WorkerOptions(**vars(parser.parse_args()))
    faulthandler.enable()  # a crash in C leaves its stack in the log, which becomes evidence
    logging.basicConfig(stream=sys.stderr)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's to handle
    leases = Leases(open_ledger(options.data_dir))
    worker = Worker(leases, owner_name(options.device, os.getpid()), *_take_pipes())
    worker.serve(lambda: load(options.executor)(options))


if __name__ == "__main__":
    main()
