"""A run as lines on standard error: one that refreshes on a terminal, plain ones elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable

from engine import events

PLAIN_SECONDS = 5.0  # between progress lines where they cannot be refreshed
BAR = 20


class Show:
    """Turns the events of a run into lines."""

    def __init__(self, write: Callable[[str], object] = sys.stderr.write, *, live: bool | None = None) -> None:
        self._write = write
        self._live = sys.stderr.isatty() if live is None else live
        self._shown = time.monotonic()

    def __call__(self, event: events.Event) -> None:
        """Show one event."""
        match event:
            case events.StepStarted(node=node, type=type):
                self._pass(f"  {node}: {type}", due=self._live)
            case events.StepProgress():
                self._pass(progress_line(event), due=self._live or self._waited())
            case events.StepCached(node=node):
                self.line(f"  {node}: cached")
            case events.StepDone(node=node, seconds=seconds):
                self.line(f"  {node}: {seconds:.2f} s")
            case events.StepFailed(node=node):
                self.line(f"  {node}: failed")
            case events.StepSkipped(node=node, because=because):
                self.line(f"  {node}: skipped, {because} failed")

    def line(self, text: str) -> None:
        """Show a line that stays."""
        self._write(f"{self._clear()}{text}\n")
        sys.stderr.flush()

    def _pass(self, text: str, *, due: bool) -> None:
        if due and self._live:
            self._write(f"{self._clear()}{text[: shutil.get_terminal_size().columns - 1]}")
            sys.stderr.flush()
        elif due:
            self.line(text)

    def _waited(self) -> bool:
        now = time.monotonic()
        if now - self._shown < PLAIN_SECONDS:
            return False
        self._shown = now
        return True

    def _clear(self) -> str:
        return "\r\x1b[K" if self._live else ""


def progress_line(event: events.StepProgress) -> str:
    """Return `sampler: [#####.....] 12/20, 5.3 it/s, 2 s left`."""
    filled = BAR * event.done // max(event.total, 1)
    parts = [f"  {event.node}: [{'#' * filled}{'.' * (BAR - filled)}] {event.done}/{event.total}"]
    if event.rate:
        parts.append(f"{event.rate:.1f} it/s" if event.rate >= 1 else f"{1 / event.rate:.1f} s/it")
    if event.left is not None and event.done < event.total:
        parts.append(f"{event.left:.0f} s left")
    return ", ".join([*parts, *filter(None, [event.note])])
