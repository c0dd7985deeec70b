"""The application: parts and route tables put together. Nothing here imports torch or a node."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import web

from web import (
    compat,
    compat_packs,
    compat_socket,
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
from web.guard import GUARD, JSON_BYTES, Guard, guarded
from web.openapi import TABLE
from web.parts import PARTS, Parts
from web.routing import Route

ROUTES: tuple[Route, ...] = (
    *routes_jobs.routes.table,
    *compat_packs.routes.table,
    *routes_nodes.routes.table,
    *routes_workflows.routes.table,
    *routes_files.routes.table,
    *routes_examples.routes.table,
    *routes_system.routes.table,
    *sockets.routes.table,
)


def make_app(parts: Parts) -> web.Application:
    """Return the application that serves `parts`."""
    app = _application(parts, parts.guard)
    app[TABLE] = ROUTES
    for route in ROUTES:
        handler = sockets_of_both if route.path == "/ws" else route.__call__
        if route.path != "/api/queue" or route.method != "GET":  # answered for both
            app.router.add_route(route.method, route.path, handler)
    compat.add_to(app, {(r.method, r.path) for r in ROUTES} - {("GET", "/api/queue")})
    app.router.add_get("/", pages.index)
    if pages.STATIC.is_dir():
        app.router.add_static("/static", pages.STATIC)
    app.cleanup_ctx.append(_follow)
    return app


def make_comfyui_app(parts: Parts) -> web.Application:
    """Return the application of `--comfyui-port`: ComfyUI's dialect alone, without a token."""
    settings = parts.settings
    guard = Guard(None, secret=b"", hosts=(settings.host, *settings.allow_host.split(",")), port=settings.comfyui_port)
    app = _application(parts, guard)
    compat.add_to(app, ())
    compat.add_packs_to(app)
    return app


async def sockets_of_both(request: web.Request) -> web.StreamResponse:
    """Open our socket, or ComfyUI's for a client that names itself."""
    if "clientId" in request.query:
        return await compat_socket.socket(request)
    return await sockets.routes.table[0](request)


def _application(parts: Parts, guard: Guard) -> web.Application:
    app = web.Application(middlewares=[errors, guarded], client_max_size=JSON_BYTES)
    app[PARTS] = parts
    app[GUARD] = guard
    app[sockets.SOCKETS] = set()
    app[compat_socket.CLIENTS] = {}
    app.on_response_prepare.append(pages.add_headers)
    app.on_shutdown.append(sockets.close_sockets)
    return app


async def _follow(app: web.Application) -> AsyncIterator[None]:
    async with app[PARTS].hub.following():
        yield
