"""Calls that go on outside the run's thread, so that other nodes run meanwhile: functions that return a Future."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Any

from engine.call import Values

LOOK_SECONDS = 0.05  # how often a run that only waits looks whether it was cancelled


class Elsewhere(BaseException):
    """The call goes on in `future`. A BaseException, so that nothing takes it for an error of the node."""

    def __init__(self, future: Future[Any]) -> None:
        self.future = future


@dataclass
class Begun:
    """A call that has begun: the values handed out, when it started, and what gives its result."""

    values: Values
    started: float
    call: Callable[[], Any]


class Away:
    """Begun calls by node and place in its list."""

    def __init__(self) -> None:
        self._calls: dict[tuple[str, int], tuple[Begun, Future[Any]]] = {}

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(self, node: str, index: int, begun: Begun, future: Future[Any]) -> None:
        """Note that a call goes on in `future`."""
        begun.call = lambda: settled(future)
        self._calls[node, index] = begun, future

    def take(self, node: str, index: int) -> Begun | None:
        """Return a call that has begun, if it has; it is no longer noted."""
        return self._calls.pop((node, index), (None,))[0]

    def back(self, *, patient: bool) -> list[str]:
        """Return the nodes of which a call has ended; if `patient`, wait a moment for one."""
        futures = [future for _, future in self._calls.values()]
        if patient:
            wait(futures, LOOK_SECONDS, FIRST_COMPLETED)
        return list(dict.fromkeys(node for (node, _), (_, future) in self._calls.items() if future.done()))

    def drop(self, node: str | None = None) -> None:
        """Cancel the calls of a node, or all of them, and forget them."""
        for key in [key for key in self._calls if node in (None, key[0])]:
            self._calls.pop(key)[1].cancel()


def settled(value: Any) -> Any:
    """Return a value, or what a Future has ended with; Elsewhere if that goes on."""
    if not isinstance(value, Future):
        return value
    if not value.done():
        raise Elsewhere(value)
    return value.result()
