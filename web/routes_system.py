"""The server itself: its state, its description, links for other browsers."""

from __future__ import annotations

import asyncio
import os
import platform
import sys
import time
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from aiohttp import web

from engine.jobs.contract import JsonObject, QueueStatus, WorkerState
from web.openapi import TABLE, document
from web.pages import build
from web.parts import Parts
from web.routing import Routes

PACKAGES = ("torch", "diffusers", "transformers", "safetensors", "aiohttp", "numpy", "pillow")
STARTED = time.time()

routes = Routes()


@dataclass(frozen=True)
class Memory:
    """Bytes: of the machine in all and free for use (None where the system does not tell), and of this process."""

    total: int | None
    available: int | None
    process: int | None


@dataclass(frozen=True)
class System:
    """The state of the server. `seq` is the newest event's number, `build` tells which editor it gives out.

    `started` is in seconds since the epoch.
    """

    python: str
    platform: str
    versions: dict[str, str]
    memory: Memory
    workers: tuple[WorkerState, ...]
    queue: QueueStatus
    seq: int
    build: str
    started: float = field(default=STARTED)


@dataclass(frozen=True)
class Link:
    """A path with a token for one use; put the server's address in front."""

    path: str


@routes.add("GET", "/api/system")
async def system(parts: Parts) -> System:
    """Return versions, memory, workers and queue."""
    return System(
        python=platform.python_version(),
        platform=f"{sys.platform} {platform.machine()}",
        versions=_versions(),
        memory=_memory(),
        workers=parts.runner.workers(),
        queue=await asyncio.to_thread(parts.jobs.status),
        seq=parts.hub.seq,
        build=await asyncio.to_thread(build),
    )


@routes.add("POST", "/api/session/link", status=201)
async def link(parts: Parts) -> Link:
    """Make a link that logs another browser in, once."""
    return Link(f"/?token={parts.guard.ticket()}")


@routes.add("GET", "/api/openapi.json")
async def openapi(parts: Parts, request: web.Request) -> JsonObject:
    """Return the description of this API, OpenAPI 3.1."""
    return document(request.app[TABLE])


@cache
def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _memory() -> Memory:
    page = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    total = os.sysconf("SC_PHYS_PAGES") * page if page else None
    return Memory(total, _proc("/proc/meminfo", "MemAvailable"), _proc("/proc/self/status", "VmRSS"))


def _proc(path: str, name: str) -> int | None:
    """Read one of Linux's figures, given in kB."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":")), None)
