"""Every so-many-th entry of the table, counted from the noisy end."""

from __future__ import annotations

from torch import Tensor

from engine.diffusion.levels import Levels
from engine.diffusion.schedules import at_levels


def sigmas(levels: Levels, steps: int) -> Tensor:
    """Place step i at level N - i N / steps ("trailing" of Lin et al. 2023, arXiv 2305.08891, table 2).

    Levels are whole as long as there are enough of them.
    """
    n = levels.count
    return at_levels(levels, (n - (i * n // steps if steps <= n else i * n / steps) for i in range(steps)))
