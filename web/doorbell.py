"""The line at the terminal that lets a browser in: printed at the start, and again when one stands at the door."""

from __future__ import annotations

import sys
import time

from web.guard import Guard

PAUSE_SECONDS = 10.0


class Doorbell:
    """Prints a link with a ticket that was not used yet; not more often than a person can read. `address`: ours."""

    def __init__(self, guard: Guard) -> None:
        self.address = ""
        self._guard = guard
        self._next = 0.0

    def ring(self) -> None:
        """Print the link, unless that was done a moment ago."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + PAUSE_SECONDS
        ticket = f"?token={self._guard.open_ticket()}" if self._guard.token else ""
        sys.stdout.write(f"Sfumato is at {self.address}/{ticket}\n")
        sys.stdout.flush()
