"""Medians of calls that alternate, so that a busy moment hits all."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

REPEATS = 5
Timed = Callable[[], Any]


def alternating(calls: Mapping[str, Timed]) -> dict[str, float]:
    """Return the median seconds of each call, all called in turn after one round that does not count."""
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(REPEATS):
        for name, call in calls.items():
            times[name].append(seconds(call))
    return {name: median(found) for name, found in times.items()}


def seconds(call: Timed) -> float:
    """Return how long a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def median_of(call: Timed) -> float:
    """Return the median seconds of one call."""
    return alternating({"s": call})["s"]
