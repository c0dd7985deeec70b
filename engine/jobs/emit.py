"""Reports of a run: durable events in group commits, progress and previews straight to the stream."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from threading import RLock

from engine.events import Event, StepDone, StepPreview, StepProgress
from engine.jobs.contract import JsonObject

GROUP_S = 0.05  # an event waits at most this long for others to share its commit
SLOW_STEP_S = 0.02  # a step that took longer is committed at once: losing it would cost more than the commit
PROGRESS_S = 0.05


class GroupedEmit:
    """`engine.jobs.contract.Emit`: `commit` makes a group durable, `stream` sends a frame that may be lost."""

    def __init__(self, commit: Callable[[Sequence[Event]], None], stream: Callable[[JsonObject, bytes], None]) -> None:
        self._commit = commit
        self._stream = stream
        self._lock = RLock()
        self._pending: list[Event] = []
        self._oldest = 0.0
        self._next_progress = 0.0

    def __call__(self, event: Event) -> None:
        """Report an event."""
        if not event.durable:
            self._send(event)
            return
        with self._lock:
            self._oldest = self._oldest if self._pending else time.monotonic()
            self._pending.append(event)
            if isinstance(event, StepDone) and event.seconds > SLOW_STEP_S:
                self.flush()
            else:
                self.flush_if_due()

    def _send(self, event: Event) -> None:
        if isinstance(event, StepProgress) and event.done < event.total:
            if time.monotonic() < self._next_progress:
                return
            self._next_progress = time.monotonic() + PROGRESS_S
        self._stream(event.to_json(), event.data if isinstance(event, StepPreview) else b"")

    def flush_if_due(self) -> None:
        """Commit what has waited long enough. Called from a timer, as the next event may be minutes away."""
        with self._lock:
            if self._pending and time.monotonic() - self._oldest >= GROUP_S:
                self.flush()

    def flush(self) -> None:
        """Commit what is pending now. If that fails, it stays pending."""
        with self._lock:
            if self._pending:
                self._commit(self._pending)
                self._pending.clear()

    def pending(self) -> tuple[Event, ...]:
        """Return what is not committed yet, for the commit that ends the job."""
        with self._lock:
            return tuple(self._pending)
