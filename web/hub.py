"""What happens, for all who listen: durable events from the ledger by number, frames from the workers as they come.

Durable events are never queued per listener: each reads on from the number it has, so a slow one costs no memory and
misses nothing. Frames (progress, previews) are kept per listener by what they are about, newest only, 64 at most.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from engine.errors import SfumatoError
from engine.jobs.contract import Frame, JobEvent, JobRunner, JobStore

RETRY_SECONDS = 0.5
RECENT_MAX = 2_000
FRAMES_MAX = 64
PAGE = 500

log = logging.getLogger(__name__)


class Listener:
    """One who listens: wakes when there is news, holds the frames not yet taken."""

    def __init__(self) -> None:
        self._news = asyncio.Event()
        self._frames: OrderedDict[tuple[str, str, str], Frame] = OrderedDict()

    def offer(self, frame: Frame) -> None:
        """Keep a frame in place of an older one about the same; the oldest goes when there are too many."""
        about = (frame.head["kind"], str(frame.head.get("job", "")), str(frame.head.get("node", "")))
        self._frames.pop(about, None)
        self._frames[about] = frame
        if len(self._frames) > FRAMES_MAX:
            self._frames.popitem(last=False)
        self._news.set()

    def wake(self) -> None:
        """Say that there are durable events."""
        self._news.set()

    async def wait(self, seconds: float | None = None) -> None:
        """Wait for news, at most so long."""
        try:
            await asyncio.wait_for(self._news.wait(), seconds)
        except TimeoutError:
            return
        self._news.clear()

    def take(self) -> list[Frame]:
        """Return the frames that wait, oldest first."""
        frames = list(self._frames.values())
        self._frames.clear()
        return frames


class Hub:
    """Follows the ledger and the workers while anybody listens."""

    def __init__(self, jobs: JobStore, runner: JobRunner) -> None:
        self._jobs = jobs
        self._runner = runner
        self._stirred = asyncio.Event()
        self._listeners: set[Listener] = set()
        self._recent: deque[JobEvent] = deque(maxlen=RECENT_MAX)
        self._floor = 0  # all events after this number are in `_recent`
        self.seq = 0

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Follow until the block ends."""
        loop = asyncio.get_running_loop()
        self.seq = self._floor = await asyncio.to_thread(self._jobs.last_seq)

        def hear(frame: Frame) -> None:
            loop.call_soon_threadsafe(self._on_frame, frame)

        stop = self._runner.subscribe(hear)
        task = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            stop()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Listener]:
        """Give a listener until the block ends."""
        listener = Listener()
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    async def after(self, seq: int, job: str | None = None) -> tuple[JobEvent, ...]:
        """Return the next events after a number, a page at most."""
        if seq < self._floor or job is not None:
            return await asyncio.to_thread(self._jobs.events_since, seq, job=job, limit=PAGE)
        return tuple(event for event in self._recent if event.seq > seq)[:PAGE]

    def _on_frame(self, frame: Frame) -> None:
        if frame.head["kind"] == "committed":
            self._stirred.set()
            return
        for listener in self._listeners:
            listener.offer(frame)

    async def _follow(self) -> None:
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            try:
                while events := await asyncio.to_thread(self._jobs.events_since, self.seq, limit=PAGE):
                    self._keep(events)
            except (SfumatoError, sqlite3.Error) as error:  # a full disk passes; listening must outlive it
                log.warning("Cannot read new events: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
                self._stirred.set()

    def _keep(self, events: tuple[JobEvent, ...]) -> None:
        overflow = len(self._recent) + len(events) - RECENT_MAX
        if overflow > 0:
            self._floor = self._recent[overflow - 1].seq
        self._recent.extend(events)
        self.seq = events[-1].seq
        for listener in self._listeners:
            listener.wake()
