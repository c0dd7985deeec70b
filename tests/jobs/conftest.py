from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from engine.jobs.database import open_ledger
from engine.jobs.leases import Leases
from engine.jobs.ledger import Ledger
from engine.sqlite import Sqlite


class Clock:
    """A clock that only moves when told."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@dataclass
class Desk:
    """A ledger with both of its sides, under test clocks."""

    folder: Path
    clock: Clock = field(default_factory=Clock)
    ticks: Clock = field(default_factory=lambda: Clock(500.0))

    def __post_init__(self) -> None:
        self.open()

    def open(self) -> None:
        self.database: Sqlite = open_ledger(self.folder)
        self.ledger = Ledger(self.database, clock=self.clock)
        self.leases = Leases(self.database, clock=self.clock, ticks=self.ticks)

    def wait(self, seconds: float) -> None:
        self.clock.now += seconds
        self.ticks.now += seconds


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.database.close()
