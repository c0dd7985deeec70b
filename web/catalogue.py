"""The node types as data: made by the worker, kept on disk by source hash, served without importing a single node."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from engine.errors import NotFound, Unavailable
from engine.jobs.contract import JobRunner, JsonObject
from engine.node import NodeSpec
from engine.registry import specs_of
from engine.workflow import nearest

REFRESH_SECONDS = 60.0


class Catalogue:
    """Starts from the one `kept` on disk (None if that is stale); else the worker is asked for a new one."""

    def __init__(self, runner: JobRunner, kept: JsonObject | None) -> None:
        self._runner = runner
        self._asked: Future[JsonObject] | None = None
        self._plain: JsonObject = {}
        self._nodes: dict[str, Any] = {}
        self._specs: dict[str, NodeSpec] | None = None
        if kept:
            self._adopt(kept)

    def plain(self) -> JsonObject:
        """Return the catalogue as JSON; Unavailable until the worker has made it."""
        if not self._plain:
            self._ask()
        return self._plain

    def node(self, name: str) -> Any:
        """Return one node type as JSON."""
        self.plain()
        if name not in self._nodes:
            raise NotFound(f"There is no node type {name[:80]!r}.{nearest(name[:80], self._nodes)}")
        return self._nodes[name]

    def specs(self) -> Mapping[str, NodeSpec]:
        """Return the node types for checking workflows."""
        self.plain()
        if self._specs is None:
            self._specs = specs_of(self._plain)
        return self._specs

    async def refresh(self) -> None:
        """Have the worker make the catalogue anew, after weights or nodes came or went."""
        asked = asyncio.wrap_future(self._runner.request("catalogue"))
        try:
            self._adopt(await asyncio.wait_for(asked, REFRESH_SECONDS))
        except TimeoutError as error:
            raise Unavailable("The worker did not answer in time. Look at its state in /api/system.") from error

    def _ask(self) -> None:
        self._asked = self._asked or self._runner.request("catalogue")
        if not self._asked.done():
            why = "".join(f" It failed before: {worker.why}" for worker in self._runner.workers() if worker.why)
            raise Unavailable(f"The worker is still reading the nodes. Ask again in a moment.{why}")
        asked, self._asked = self._asked, None
        self._adopt(asked.result())

    def _adopt(self, plain: JsonObject) -> None:
        self._nodes = {node["id"]: node for node in plain["nodes"]}
        self._plain = plain
        self._specs = None
