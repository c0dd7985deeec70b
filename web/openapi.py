"""The OpenAPI 3.1 document, made from the same declarations that answer the requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from aiohttp import web
from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from web.guard import UPLOAD_MEDIA, UPLOAD_PATHS
from web.routing import REVISION, Route, adapter

TABLE = web.AppKey("table", tuple[Route, ...])
ERROR_REF = {"$ref": "#/components/schemas/Error"}
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "problems"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string", "description": "A sentence for people: what came, and what to do."},
                "problems": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["code", "message"],
                        "properties": {name: {"type": "string"} for name in ("code", "message", "node", "field")},
                    },
                },
            },
        }
    },
}
INFO = {
    "title": "Sfumato",
    "version": "1",
    "description": "Node-based workflows for diffusion models. Send `Authorization: Bearer TOKEN` with every request.",
}


@cache
def document(table: tuple[Route, ...]) -> dict[str, Any]:
    """Describe a table of routes."""
    schemas, definitions = TypeAdapter.json_schemas(_types(table), ref_template="#/components/schemas/{model}")
    paths: dict[str, Any] = {}
    for route in table:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": INFO,
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": ERROR, **definitions.get("$defs", {})},
        },
    }


def _types(table: tuple[Route, ...]) -> Iterator[tuple[Any, JsonSchemaMode, TypeAdapter[Any]]]:
    for route in table:
        if route.body is not None:
            yield route.body, "validation", adapter(route.body)
        if route.answer is not None:
            yield route.answer, "serialization", adapter(route.answer)


def _operation(route: Route, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    """Describe one route."""
    answer = {} if route.answer is None else _content(route.media, schemas[route.answer, "serialization"])
    if route.answer is None and route.media == "*/*":
        answer = _content(route.media, {})
    status = 204 if route.answer is None and route.media == "application/json" else route.status
    operation: dict[str, Any] = {
        "operationId": route.handler.__name__,
        "summary": route.summary,
        "parameters": list(_parameters(route)),
        "responses": {
            str(status): {"description": route.summary, **answer},
            "default": {"description": "What went wrong.", **_content("application/json", ERROR_REF)},
        },
    }
    if route.body is not None:
        content = _content("application/json", schemas[route.body, "validation"])
        operation["requestBody"] = {"required": True, **content}
    if route.method == "POST" and route.path in UPLOAD_PATHS:
        operation["requestBody"] = {"required": True, "content": {media: {} for media in sorted(UPLOAD_MEDIA)}}
    return operation


def _content(media: str, schema: Any) -> dict[str, Any]:
    return {"content": {media: {"schema": schema}}}


def _parameters(route: Route) -> Iterator[dict[str, Any]]:
    for name in route.parameters:
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
    if route.query is not None:
        schema = route.query.model_json_schema()
        for name, described in schema["properties"].items():
            yield {"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": described}
    if route.uses_revision:
        schema = {"type": "string", "pattern": REVISION.pattern}
        yield {"name": "If-Match", "in": "header", "required": True, "schema": schema}
