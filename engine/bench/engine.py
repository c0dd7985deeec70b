"""What the engine itself costs per node: chains and a fan of nodes that do nothing, cold and cached.

Everything is measured as it is used: parsing, `graph.build` and `Run.execute`, with the cache on disk and its commits.
Figures are the best of several runs in wall time; on a busy machine they say more about the machine.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from engine import graph, workflow
from engine.call import Services
from engine.disk import Disk
from engine.node import Range, node
from engine.registry import Registry
from engine.run import Run
from engine.store import Store
from engine.trace import Traces

Number = Annotated[int, Range(-(10**9), 10**9)]
BUDGET = 2**28
REPEATS = 3
CHAINS = (100, 1_000, 5_000)
FAN = 1_000


@node(category="bench")
def add(value: Number, by: Number = 1) -> int:
    """Do next to nothing."""
    return value + by


@node(category="bench")
def numbers(first: Number, count: Annotated[int, Range(0, 10_000)]) -> list[int]:
    """Make a list."""
    return list(range(first, first + count))


@node(category="bench")
def total(values: list[Number]) -> int:
    """Take a list in whole."""
    return sum(values)


def run() -> dict[str, Any]:
    """Measure; `cold_us_per_node`, `cached_ms_1000` and `linearity_*` (5,000 nodes against 1,000) are of the chain."""
    registry = Registry()
    for function in (add, numbers, total):
        registry.add(function)
    shapes: dict[str, tuple[int, Callable[[int], dict[str, Any]]]] = {
        **{f"chain_{n}": (n, partial(chain, n)) for n in CHAINS},
        f"fan_{FAN}": (FAN, partial(fan, FAN)),
        f"list_{FAN}": (FAN, partial(mapped, FAN)),
    }
    with tempfile.TemporaryDirectory() as folder:
        table = {name: _measure(registry, Path(folder) / name, *shape) for name, shape in shapes.items()}
    thousand, most = table["chain_1000"], table[f"chain_{max(CHAINS)}"]
    return {
        "cold_us_per_node": thousand["cold_us_per_node"],
        "cached_ms_1000": thousand["cached_us_per_node"],
        "bytes_per_cached_node": most["bytes_per_node"],
        "linearity_cold": most["cold_us_per_node"] / thousand["cold_us_per_node"],
        "linearity_cached": most["cached_us_per_node"] / thousand["cached_us_per_node"],
        **table,
    }


def chain(length: int, first: int) -> dict[str, Any]:
    """Return `length` nodes, each of which needs the one before."""
    values = [first, *([str(i), "int"] for i in range(length - 1))]
    return {str(i): {"type": "add", "inputs": {"value": value}} for i, value in enumerate(values)}


def fan(width: int, first: int) -> dict[str, Any]:
    """Return `width` nodes that need one."""
    leaves = {f"leaf{i}": {"type": "add", "inputs": {"value": ["root", "int"], "by": i}} for i in range(width)}
    return {"root": {"type": "add", "inputs": {"value": first}}, **leaves}


def mapped(length: int, first: int) -> dict[str, Any]:
    """Return one node that is called for every element of a list."""
    return {
        "list": {"type": "numbers", "inputs": {"first": first, "count": length}},
        "each": {"type": "add", "inputs": {"value": ["list", "int"]}},
        "total": {"type": "total", "inputs": {"values": ["each", "int"]}},
    }


def _measure(registry: Registry, folder: Path, count: int, shape: Callable[[int], dict[str, Any]]) -> dict[str, float]:
    """Run new values cold, then again cached, then from disk alone as after a restart; all in one growing cache."""
    disk = Disk(folder, BUDGET)
    services = _services(registry, disk)
    cold, cached, restarted = [], [], []
    for repeat in range(REPEATS):
        plain = shape(repeat * 1_000_000)
        cold.append(_seconds(plain, services))
        cached.append(_seconds(plain, services))
        restarted.append(_seconds(plain, _services(registry, disk)))
    disk.close()
    stored = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return {
        "cold_us_per_node": min(cold) / count * 1e6,
        "cached_us_per_node": min(cached) / count * 1e6,
        "restarted_us_per_node": min(restarted) / count * 1e6,
        "bytes_per_node": stored / count / REPEATS,
    }


def _services(registry: Registry, disk: Disk) -> Services:
    return Services(registry.functions, registry.specs, Store(BUDGET, disk), Traces(disk))


def _seconds(plain: dict[str, Any], services: Services) -> float:
    started = time.perf_counter()
    result = Run(graph.build(workflow.parse(plain), services.specs), services).execute()
    if result.state != "done":
        raise RuntimeError(f"the bench's own workflow failed: {result.problems}")
    return time.perf_counter() - started
