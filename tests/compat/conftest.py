from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compat.v1_lab import V1Lab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[V1Lab]:
    lab = V1Lab(tmp_path)
    yield lab
    lab.close()
