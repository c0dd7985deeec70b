"""Ready-made workflows for the gallery, and workflows out of files that people bring."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

from aiohttp import web

from engine import workflow
from engine.errors import BadFile, NotFound, TooLarge
from engine.examples import Example, describe, found, one, pictures
from engine.files import UNKNOWN_MEDIA, sniff
from engine.jobs.contract import JsonObject
from engine.pictures import embedded_workflow
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
    """The workflow that a file held, brought up to the present format."""

    name: str
    workflow: JsonObject


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
    """Read the workflow out of a picture or a JSON file (the body); it is checked, never run."""
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > UPLOAD_BYTES:
            raise TooLarge(f"A file may have {UPLOAD_BYTES // 2**20} MiB.")
    parsed = await asyncio.to_thread(lambda: workflow.parse(_ours(_workflow_in(bytes(body)))))
    return Imported(str(parsed.rest.get("name") or "")[:200], parsed.to_json())


def _workflow_in(data: bytes) -> JsonObject:
    if sniff(data[:16]) != UNKNOWN_MEDIA:
        found = embedded_workflow(data)
        if found is None:
            raise BadFile("There is no workflow in this picture; many sites remove it. It can be used as an image.")
        return found
    if len(data) > JSON_BYTES:
        raise TooLarge(f"A workflow may have {JSON_BYTES // 2**20} MiB.")
    try:
        plain = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadFile("This is neither a picture (PNG, WebP, JPEG) nor a workflow in JSON.") from error
    if not isinstance(plain, dict):
        raise BadFile("A workflow in JSON is an object with `nodes`.")
    return plain


def _ours(plain: JsonObject) -> JsonObject:
    """Return `plain`, unless it is one of ComfyUI's two kinds of file, which `parse` would only call broken."""
    values = plain.values()
    is_prompt = bool(values) and all(isinstance(node, dict) and "class_type" in node for node in values)
    if is_prompt or (isinstance(plain.get("nodes"), list) and "links" in plain):
        raise BadFile("This is a workflow of ComfyUI; only Sfumato's own workflows can be opened yet.")
    return plain
