from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.web.fakes import CATALOGUE, Served, serving


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(tmp_path, kept=CATALOGUE) as found:
        yield found
