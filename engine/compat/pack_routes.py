"""Routes that packs add to ComfyUI's server: their handlers run in the worker, never in the process that serves.

A handler is given a `Request` with what aiohttp's requests are asked for, and returns a response of aiohttp, of which
status, headers and body are handed on.
"""

from __future__ import annotations

import asyncio
import base64
import inspect
import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from engine.errors import NodeFailed
from engine.registry import tried

Handler = Callable[[Any], Awaitable[Any]]
F = TypeVar("F", bound=Callable[..., Any])
PLACE = re.compile(r"\{([A-Za-z_]\w*)(?::([^{}]*))?\}")
KEPT_HEADERS = ("content-type", "cache-control", "content-disposition")


@dataclass
class Request:
    """What a handler is told: as much of aiohttp's request as packs ask for."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    match_info: Mapping[str, str] = field(default_factory=dict)

    @property
    def rel_url(self) -> Request:
        """The address; its `query` is that of the request."""
        return self

    async def read(self) -> bytes:
        """Return the body."""
        return self.body

    async def text(self) -> str:
        """Return the body as text."""
        return self.body.decode()

    async def json(self) -> Any:
        """Return the body, which is JSON."""
        return json.loads(self.body)

    async def post(self) -> dict[str, str]:
        """Return the fields of a form; ones with files are not read."""
        return dict(parse_qsl(self.body.decode()))


class Routes:
    """The routes of all packs, declared as with aiohttp's RouteTableDef."""

    def __init__(self) -> None:
        self._handlers: dict[tuple[str, str], Handler] = {}

    def route(self, method: str, path: str, **options: Any) -> Callable[[F], F]:
        """Declare a handler for a method (`*` any) and an address, in which `{name}` or `{name:pattern}` is a part."""

        def declare(handler: F) -> F:
            self._handlers[method.upper(), path] = handler
            return handler

        return declare

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if method not in ("get", "post", "put", "patch", "delete", "head", "options", "view"):
            raise AttributeError(method)
        return lambda path, **options: self.route("*" if method == "view" else method, path)

    def static(self, prefix: str, path: Any, **options: Any) -> None:
        """Leave a folder of files unserved: they belong to another editor."""

    add_static = static

    def add_route(self, method: str, path: str, handler: Handler, **options: Any) -> None:
        """Declare a handler, as an application's router does."""
        self.route(method, path)(handler)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._handlers)

    def find(self, method: str, path: str) -> tuple[Handler, dict[str, str]] | None:
        """Return the handler of a request, and the parts of its address by name."""
        for (wanted, pattern), handler in self._handlers.items():
            found = _pattern(pattern).fullmatch(path) if wanted in (method, "*") else None
            if found:
                return handler, found.groupdict()
        return None

    def answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a request as JSON: `{"status", "headers", "body"}`, the body in base64; status 404 without a handler.

        Raises NodeFailed with what the handler raised.
        """
        found = self.find(asked["method"], asked["path"])
        if found is None:
            return {"status": 404, "headers": {}, "body": ""}
        handler, parts = found
        request = Request(asked["method"], asked["path"], asked["query"], asked["headers"],
                          base64.b64decode(asked["body"]), parts)  # fmt: skip
        responses: list[Any] = []
        error = tried(lambda: responses.append(asyncio.run(_called(handler, request))))
        if error is not None:
            raise NodeFailed(f"The handler of {asked['path']} failed: {type(error).__name__}: {error}.") from error
        return _plain(responses[0], asked["path"])


async def _called(handler: Handler, request: Request) -> Any:
    answer = handler(request)
    return await answer if inspect.isawaitable(answer) else answer


def _plain(response: Any, path: str) -> dict[str, Any]:
    body = getattr(response, "body", None)
    if response is None or not isinstance(body or b"", (bytes, bytearray)) or hasattr(response, "_path"):
        raise NodeFailed(f"The handler of {path} gave no text, JSON or bytes; Sfumato hands no other response on.")
    headers = {k.lower(): v for k, v in response.headers.items() if k.lower() in KEPT_HEADERS}
    return {"status": response.status, "headers": headers, "body": base64.b64encode(body or b"").decode()}


def _pattern(path: str) -> re.Pattern[str]:
    """Return the expression of an address with `{name}` and `{name:pattern}` in it."""
    text, at = "", 0
    for place in PLACE.finditer(path):
        text += re.escape(path[at : place.start()]) + f"(?P<{place[1]}>{place[2] or '[^/]+'})"
        at = place.end()
    return re.compile(text + re.escape(path[at:]))
