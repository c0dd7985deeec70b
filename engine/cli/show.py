"""A run as lines: progress refreshes one line on a terminal and is told every few seconds elsewhere."""

from __future__ import annotations

import time

from engine import events
from engine.cli.screen import Screen

PLAIN_SECONDS = 5.0  # between progress lines where they cannot be refreshed
BAR = 20


class Show:
    """Turns the events of a run into lines on a screen."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._told = time.monotonic()
        self._ended: list[float | None] = []  # what the calls of one node took; None = cached
        self._node = ""

    def __call__(self, event: events.Event) -> None:
        """Show one event; the calls of a node over a list become one line."""
        node = getattr(event, "node", "")
        if node != self._node:
            self._tell_ended()
            self._node = node
        match event:
            case events.StepStarted(type=type):
                self._screen.update("", f"  {node}: {type}")
            case events.StepProgress():
                text = progress_line(event)
                self._screen.update(text if self._due() else "", text)
            case events.StepCached():
                self._ended.append(None)
            case events.StepDone(seconds=seconds):
                self._ended.append(seconds)
            case events.StepFailed():
                self._screen.line(f"  {node}: failed")
            case events.StepSkipped(because=because):
                self._screen.line(f"  {node}: skipped, {because} failed")

    def _tell_ended(self) -> None:
        ran = [seconds for seconds in self._ended if seconds is not None]
        cached = len(self._ended) - len(ran)
        parts = []
        if ran:
            parts.append(f"{sum(ran):.2f} s" + (f" for {len(ran)} calls" if len(ran) > 1 else ""))
        if cached:
            parts.append(f"{cached} cached" if len(self._ended) > 1 else "cached")
        if parts:
            self._screen.line(f"  {self._node}: {', '.join(parts)}")
        self._ended.clear()

    def _due(self) -> bool:
        now = time.monotonic()
        if now - self._told < PLAIN_SECONDS:
            return False
        self._told = now
        return True


def progress_line(event: events.StepProgress) -> str:
    """Return `sampler: [#####.....] 12/20, 5.3 it/s, 2 s left`."""
    filled = BAR * event.done // max(event.total, 1)
    parts = [f"  {event.node}: [{'#' * filled}{'.' * (BAR - filled)}] {event.done}/{event.total}"]
    if event.rate:
        parts.append(f"{event.rate:.1f} it/s" if event.rate >= 1 else f"{1 / event.rate:.1f} s/it")
    if event.left is not None and event.done < event.total:
        parts.append(f"{event.left:.0f} s left")
    parts += [f"{name} {figure:.4g}" for name, figure in event.figures.items()]
    return ", ".join([*parts, *filter(None, [event.note])])
