"""Cache key -> what calling the node gave: output digests, or the inputs it asked for.

Constructive traces in the sense of Mokhov et al. (2018): the result can be taken from the store without any call.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from engine.disk import Disk

Result = str | tuple[str, ...]  # one value's digest, or those of a list


@dataclass(frozen=True, slots=True)
class Trace:
    """`outputs` by position; or `demand`, a lazy input asked for; or `expansion`, the digest of a graph to run."""

    outputs: tuple[Result, ...] = ()
    demand: str = ""
    expansion: str = ""


class Traces:
    """Traces by key, and per step the input digests of its last run (for "why did this run again?")."""

    KEPT = 100_000  # traces, and histories, held in memory

    def __init__(self, disk: Disk | None = None) -> None:
        self.disk = disk
        self._traces: OrderedDict[str, Trace] = OrderedDict()
        self._recent: OrderedDict[str, dict[str, str]] = OrderedDict()

    def get(self, key: str) -> Trace | None:
        """Return the trace of a key, if this step was ever finished."""
        trace = self._traces.get(key)
        if trace is None and self.disk is not None:
            body = self.disk.get("traces", key)
            if body is not None:
                outputs, demand, expansion = json.loads(body)
                trace = Trace(tuple(o if isinstance(o, str) else tuple(o) for o in outputs), demand, expansion)
                self._remember(self._traces, key, trace)
        return trace

    def put(self, key: str, trace: Trace) -> None:
        """Record a trace; durable after the disk's next flush."""
        self._remember(self._traces, key, trace)
        if self.disk is not None:
            self.disk.put("traces", key, json.dumps((trace.outputs, trace.demand, trace.expansion)).encode())

    def last_inputs(self, step: str) -> dict[str, str] | None:
        """Return the input digests of a step's last run, by name."""
        if step not in self._recent and self.disk is not None:
            body = self.disk.get("recent", _step_key(step))
            if body is not None:
                self._remember(self._recent, step, json.loads(body))
        return self._recent.get(step)

    def note_inputs(self, step: str, inputs: dict[str, str]) -> None:
        """Remember the input digests of a step that is about to run."""
        self._remember(self._recent, step, inputs)
        if self.disk is not None:
            self.disk.put("recent", _step_key(step), json.dumps(inputs).encode())

    def _remember(self, table: OrderedDict[str, Any], key: str, value: Any) -> None:
        table[key] = value
        if len(table) > self.KEPT:
            table.popitem(last=False)


def _step_key(step: str) -> str:
    """Return a short name for a step, whose own may be long (ids in deep expansions)."""
    return hashlib.sha256(step.encode("utf-8", "surrogatepass")).hexdigest()[:32]
