"""The runner of one machine: worker processes under the API process, which itself runs no node."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from threading import Event as Flag
from threading import Thread
from typing import Self

from engine.errors import Unavailable
from engine.jobs.contract import Action, Frame, JobStore, JsonObject, LeaseStore, WorkerOptions, WorkerState
from engine.jobs.link import WorkerLink
from engine.jobs.processes import FolderLock, is_alive, kill, pid_of, sweep

LOOK_S = 0.25
CANCEL_S = 10.0  # a job that does not stop within this loses its worker
ORPHAN_S = 3.0  # what a worker whose server has gone may take to end itself

log = logging.getLogger(__name__)


class Supervisor:
    """`engine.jobs.contract.JobRunner` by child processes, one per device.

    Frames given to subscribers: those of a run (`step_started`, `step_progress`, `step_preview`, each with `job` and
    `attempt`), `worker` (a `WorkerState`), and `committed` with the newest `seq` whenever the ledger has new events,
    whoever wrote them.
    """

    def __init__(
        self, jobs: JobStore, leases: LeaseStore, workers: Sequence[WorkerOptions], *, cancel_s: float = CANCEL_S
    ) -> None:
        self._jobs = jobs
        self._leases = leases
        self._cancel_s = cancel_s
        self._listeners: tuple[Callable[[Frame], None], ...] = ()
        self._links = tuple(WorkerLink(options, leases, self._hear) for options in workers)
        self._data_dirs = {options.data_dir for options in workers}
        self._locks: list[FolderLock] = []
        self._nudge = Flag()
        self._closing = Flag()
        self._orphans: tuple[str, ...] = ()
        self._asked: dict[str, float] = {}  # job -> when it was first seen to be stopping
        self._seen = jobs.last_seq()
        self._monitor = Thread(target=self._watch, name="supervisor", daemon=True)
        self._tidier = Thread(target=self._tidy, name="tidy", daemon=True)

    def start(self) -> None:
        """Take the data folder and start the workers. Raises `Conflict` if another server has the folder."""
        self._locks = [FolderLock(folder) for folder in self._data_dirs]
        self._orphans = tuple(held.owner for held in self._leases.running())
        for link in self._links:
            link.start()
        self._monitor.start()
        self._tidier.start()

    def close(self) -> None:
        """Stop: running jobs go back to the queue and keep what has finished."""
        self._closing.set()
        self._nudge.set()
        self._monitor.join()
        self._tidier.join(ORPHAN_S)
        for link in self._links:
            link.close()
        for lock in self._locks:
            lock.release()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def workers(self) -> tuple[WorkerState, ...]:
        """Return the state of each worker."""
        return tuple(link.state for link in self._links)

    def wake(self) -> None:
        """Tell idle workers and subscribers that the ledger has changed; without it they look four times a second."""
        for link in self._links:
            link.wake()
        self._nudge.set()

    def subscribe(self, listener: Callable[[Frame], None]) -> Action:
        """Hand every frame to `listener`, on a thread of the runner; it must be quick and raise nothing."""
        self._listeners = (*self._listeners, listener)

        def stop() -> None:
            self._listeners = tuple(kept for kept in self._listeners if kept is not listener)

        return stop

    def request(self, name: str, payload: JsonObject | None = None) -> Future[JsonObject]:
        """Ask a worker something that is not a job; idle ones are asked first."""
        rank = {"ready": 0, "busy": 1, "starting": 2, "down": 3}
        if not self._links:
            raise Unavailable("This server runs no worker.")
        link = min(self._links, key=lambda link: rank[link.state.state])
        return link.request(name, payload or {})

    def _hear(self, frame: Frame) -> None:
        if frame.head["kind"] in ("committed", "worker"):
            self._nudge.set()
        if frame.head["kind"] != "committed":
            self._tell(frame)

    def _tell(self, frame: Frame) -> None:
        for listener in self._listeners:
            listener(frame)

    def _watch(self) -> None:
        while not self._closing.is_set():
            self._nudge.wait(LOOK_S)
            self._nudge.clear()
            try:
                self._look()
            except Unavailable as error:  # a full disk passes
                log.warning("%s", error)

    def _look(self) -> None:
        newest = self._jobs.last_seq()
        if newest != self._seen:
            self._seen = newest
            self._tell(Frame({"kind": "committed", "seq": newest}))
        self._end_the_stuck()

    def _tidy(self) -> None:
        """Put away what an earlier server left behind."""
        with suppress(Unavailable):  # then its leases run out by themselves
            self._bury_orphans()
        with suppress(OSError):
            for folder in self._data_dirs:
                sweep(folder)

    def _bury_orphans(self) -> None:
        """Take back what workers of an earlier server still hold. They end themselves, or are ended."""
        for orphan in self._orphans:
            patience = time.monotonic() + ORPHAN_S
            while is_alive(orphan) and time.monotonic() < patience:
                time.sleep(0.02)
            if is_alive(orphan):
                kill(pid_of(orphan))
            self._leases.lost(orphan, {"why": "its server ended without warning"})

    def _end_the_stuck(self) -> None:
        """End workers that gave no sign of life or did not stop in time."""
        links = {link.owner: link for link in self._links}
        running = [r for r in self._leases.running() if r.owner in links]
        now = time.monotonic()
        self._asked = {r.job: self._asked.get(r.job, now) for r in running if r.stopping}
        for held in running:
            if held.dead:
                links[held.owner].kill("it gave no sign of life")
            elif now - self._asked.get(held.job, now) > self._cancel_s:
                links[held.owner].kill("it did not stop when asked")
