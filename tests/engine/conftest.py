from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.engine.lab import Lab

settings.register_profile(
    "engine", max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
settings.load_profile("engine")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """An engine with its cache on disk."""
    made = Lab(tmp_path / "store")
    yield made
    made.close()


@pytest.fixture
def ram() -> Lab:
    """An engine that keeps values in memory only."""
    return Lab()
