"""What work really takes beside the weights: measured once per network and shape, and kept."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Hashable, Iterator
from pathlib import Path

from engine.diffusion.backends import Backend

MARGIN = 1.1  # of a measured peak
SLACK = 16 << 20  # bytes below which a peak says more about the allocator than about the work


class WorkingMemory:
    """Peaks by (network, estimate): a node's estimate is a function of the shape, and stands for it."""

    def __init__(self, database: Path) -> None:
        database.parent.mkdir(parents=True, exist_ok=True)
        self._database = database
        with self._open() as db:
            db.execute("CREATE TABLE IF NOT EXISTS peaks (work TEXT PRIMARY KEY, bytes INTEGER)")

    def bytes(self, key: Hashable, estimate: int) -> int:
        """Return what was measured, with a margin, or the estimate."""
        with self._open() as db:
            row = db.execute("SELECT bytes FROM peaks WHERE work = ?", (_work(key, estimate),)).fetchone()
        return round(row[0] * MARGIN) if row else estimate

    @contextlib.contextmanager
    def measured(self, key: Hashable, estimate: int, backend: Backend) -> Iterator[None]:
        """Measure the peak of a block, without what it leaves behind: ready forms of weights, results."""
        work = _work(key, estimate)
        with self._open() as db:
            row = db.execute("SELECT bytes FROM peaks WHERE work = ?", (work,)).fetchone()
        if row or not estimate:
            yield
            return
        before = backend.used()
        backend.begin()
        yield
        stays = max(0, backend.used() - before)
        peak = backend.peak() - before - stays
        if peak > SLACK:
            with self._open() as db:
                db.execute("INSERT OR REPLACE INTO peaks VALUES (?, ?)", (work, peak))

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self._database, timeout=30)) as db, db:
            yield db


def _work(key: Hashable, estimate: int) -> str:
    return f"{key}:{estimate}"
