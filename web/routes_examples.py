"""Ready-made workflows for the gallery, and workflows out of files that people bring."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from aiohttp import web

from engine import workflow
from engine.compat.convert import open_file
from engine.errors import NotFound, TooLarge
from engine.examples import Example, describe, found, one, pictures
from engine.files import UNKNOWN_MEDIA, sniff
from engine.jobs.contract import JsonObject
from web.guard import JSON_BYTES, UPLOAD_BYTES
from web.parts import Parts
from web.routing import Routes

PICTURES = {"webp": "image/webp", "png": "image/png", "jpg": "image/jpeg"}

routes = Routes()


@dataclass(frozen=True)
class OneExample:
    """A ready-made workflow with its graph."""

    example: Example
    workflow: JsonObject


@dataclass(frozen=True)
class Imported:
    """The workflow that a file held, in the present format, and what became of its nodes if they were ComfyUI's.

    `report`: `source`, `counts` of nodes imported, changed and unknown, `remarks` on the whole, `nodes` by id.
    """

    name: str
    workflow: JsonObject
    report: JsonObject


@routes.add("GET", "/api/examples")
async def examples(parts: Parts) -> tuple[Example, ...]:
    """List the ready-made workflows, by group."""
    return await asyncio.to_thread(lambda: tuple(describe(path, plain) for path, plain in found(parts.settings)))


@routes.add("GET", "/api/examples/{group}/{name}")
async def example(parts: Parts, group: str, name: str) -> OneExample:
    """Return a ready-made workflow."""
    path, plain = await asyncio.to_thread(one, parts.settings, group, name)
    return OneExample(describe(path, plain), workflow.parse(plain).to_json())


@routes.add("GET", "/api/examples/{group}/{name}/{which}", media="image/*")
async def picture(parts: Parts, group: str, name: str, which: str, request: web.Request) -> web.StreamResponse:
    """Return the picture `before` or `after` of a ready-made workflow."""
    path, _ = await asyncio.to_thread(one, parts.settings, group, name)
    beside = next((file for kind, file in pictures(path) if kind == which), None)
    if beside is None:
        raise NotFound(f"The workflow {name[:80]!r} has no picture {which[:80]!r}.")
    headers = {"Content-Type": PICTURES[beside.suffix[1:]], "Cache-Control": "private, max-age=300"}
    return web.FileResponse(beside, headers=headers)


@routes.add("POST", "/api/import")
async def bring(parts: Parts, request: web.Request) -> Imported:
    """Read the workflow out of a file (the body): ours, ComfyUI's, A1111's text, or a picture with one inside.

    It is converted and never run.
    """
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > UPLOAD_BYTES:
            raise TooLarge(f"A file may have {UPLOAD_BYTES // 2**20} MiB.")
    specs = parts.catalogue.specs()
    found = await asyncio.to_thread(lambda: open_file(_bounded(bytes(body)), specs))
    name = str(found.workflow.rest.get("name") or "")[:200]
    return Imported(name, found.workflow.to_json(), found.report.to_json())


def _bounded(data: bytes) -> bytes:
    if sniff(data[:16]) == UNKNOWN_MEDIA and len(data) > JSON_BYTES:
        raise TooLarge(f"A workflow may have {JSON_BYTES // 2**20} MiB.")
    return data
