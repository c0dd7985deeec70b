"""The application: parts and route tables put together. Nothing here imports torch or a node."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import web

from web import (
    pages,
    routes_examples,
    routes_files,
    routes_jobs,
    routes_nodes,
    routes_system,
    routes_workflows,
    sockets,
)
from web.errors import errors
from web.guard import GUARD, JSON_BYTES, guarded
from web.openapi import TABLE
from web.parts import PARTS, Parts
from web.routing import Route

ROUTES: tuple[Route, ...] = (
    *routes_jobs.routes.table,
    *routes_nodes.routes.table,
    *routes_workflows.routes.table,
    *routes_files.routes.table,
    *routes_examples.routes.table,
    *routes_system.routes.table,
    *sockets.routes.table,
)


def make_app(parts: Parts) -> web.Application:
    """Return the application that serves `parts`."""
    app = web.Application(middlewares=[errors, guarded], client_max_size=JSON_BYTES)
    app[PARTS] = parts
    app[GUARD] = parts.guard
    app[TABLE] = ROUTES
    app[sockets.SOCKETS] = set()
    for route in ROUTES:
        app.router.add_route(route.method, route.path, route.__call__)
    app.router.add_get("/", pages.index)
    if pages.STATIC.is_dir():
        app.router.add_static("/static", pages.STATIC)
    app.on_response_prepare.append(pages.add_headers)
    app.on_shutdown.append(sockets.close_sockets)
    app.cleanup_ctx.append(_follow)
    return app


async def _follow(app: web.Application) -> AsyncIterator[None]:
    async with app[PARTS].hub.following():
        yield
