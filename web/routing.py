"""Routes declared by their handlers: parameters are the path, the query and the body, the docstring is the help.

    @routes.post("/api/jobs", status=201)
    async def submit(parts: Parts, body: Submit) -> Job:
        \"\"\"Queue a workflow.\"\"\"

OpenAPI, validation and serialisation all follow from that; a handler that takes `request` answers for itself.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import from_json

from engine.errors import BadInput, NotFound, Problem, TooLarge
from web.errors import BadRequest, NoRevision
from web.parts import PARTS

DEPTH_MAX = 64
FOREIGN_CHARS = re.compile(r"[\x00-\x1f\ud800-\udfff]")
REVISION = re.compile(r'^(?:W/)?"([0-9]{1,15})"$')
PARAMETER = re.compile(r"{(\w+)}")
F = TypeVar("F", bound=Callable[..., Awaitable[Any]])


class Body(BaseModel):
    """Base of all JSON bodies; a field that is not declared is refused, so that a slip of the pen is noticed."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True, allow_inf_nan=False)


class Query(Body):
    """Base of all queries."""


@dataclass(frozen=True)
class Route:
    """A declared route; `answer` is the type of its JSON, None where it sends something else (`media`)."""

    method: str
    path: str
    handler: Callable[..., Awaitable[Any]]
    status: int = 200
    media: str = "application/json"
    body: type[Body] | None = None
    query: type[Query] | None = None
    answer: Any = None
    raw: bool = False
    uses_revision: bool = False

    @property
    def summary(self) -> str:
        """The first line of the handler's docstring."""
        return (inspect.getdoc(self.handler) or "").partition("\n")[0]

    @property
    def parameters(self) -> list[str]:
        """The names in the path."""
        return PARAMETER.findall(self.path)

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Answer a request."""
        given: dict[str, Any] = dict(request.match_info)
        if any(FOREIGN_CHARS.search(value) for value in given.values()):
            raise NotFound("Ids hold no control characters.")
        if self.query:
            given["query"] = _read_query(self.query, request)
        if self.body:
            given["body"] = await _read_body(self.body, request)
        if self.raw:
            given["request"] = request
        if self.uses_revision:
            given["revision"] = _revision(request)
        result = await self.handler(request.app[PARTS], **given)
        if isinstance(result, web.StreamResponse):
            return result
        return _respond(self, result)


@dataclass
class Routes:
    """A table of routes, filled by decorators."""

    table: list[Route] = field(default_factory=list)

    def add(self, method: str, path: str, **options: Any) -> Callable[[F], F]:
        """Declare a route; see the module's docstring."""

        def declare(handler: F) -> F:
            hints = typing.get_type_hints(handler, include_extras=True)
            answer = hints.pop("return", None)
            route = Route(
                method,
                path,
                handler,
                body=hints.get("body"),
                query=hints.get("query"),
                answer=None if answer in {type(None), web.StreamResponse} else answer,
                raw="request" in hints,
                uses_revision="revision" in hints,
                **options,
            )
            self.table.append(route)
            return handler

        return declare


@cache
def adapter(kind: Any) -> TypeAdapter[Any]:
    """Return what reads and writes values of a type; made once, as that takes milliseconds."""
    return TypeAdapter(kind)


def _respond(route: Route, result: Any) -> web.Response:
    if route.answer is None:
        return web.Response(status=204)
    revision = getattr(result, "revision", None)
    headers = {} if revision is None else {"ETag": f'"{revision}"'}
    body = adapter(route.answer).dump_json(result)
    return web.Response(status=route.status, body=body, content_type="application/json", headers=headers)


async def _read_body(kind: type[Body], request: web.Request) -> Body:
    data = await request.read()
    try:
        if _is_deeper(from_json(data, allow_inf_nan=False), DEPTH_MAX):
            raise TooLarge(f"The JSON is nested more than {DEPTH_MAX} levels deep.")
        return kind.model_validate_json(data, strict=True)
    except ValidationError as error:
        raise _explained(error) from error
    except ValueError as error:
        raise BadInput(f"The body is not JSON: {error}.") from error


def _read_query(kind: type[Query], request: web.Request) -> Query:
    try:
        return kind.model_validate(dict(request.query))
    except ValidationError as error:
        raise _explained(error) from error


def _explained(error: ValidationError) -> BadRequest:
    """Say all that is wrong with a body or query, each with the place it is at."""
    problems = []
    for fault in error.errors(include_url=False, include_input=False, include_context=False):
        place = ".".join(map(str, fault["loc"]))
        problems.append(Problem("bad_request", f"{place or 'The body'}: {fault['msg']}.", field=place or None))
    return BadRequest(problems)


def _revision(request: web.Request) -> int:
    given = REVISION.fullmatch(request.headers.get("If-Match", ""))
    if given is None:
        raise NoRevision('Say which revision the change was made from: If-Match: "REVISION".')
    return int(given[1])


def _is_deeper(value: Any, limit: int) -> bool:
    """Say whether JSON is nested more than `limit` levels deep, level by level so that nothing recurses."""
    level = [value]
    for _ in range(limit + 1):
        level = [m for v in level if isinstance(v, (dict, list)) for m in (v.values() if isinstance(v, dict) else v)]
        if not level:
            return False
    return True
