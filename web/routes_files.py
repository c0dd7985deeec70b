"""Uploads, examples and results: by content, never by path."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from aiohttp import web
from pydantic import Field

from engine.errors import BadInput, TooLarge
from engine.files import UNKNOWN_MEDIA, Stored
from engine.types import FileRef
from web.guard import UPLOAD_BYTES
from web.parts import Parts
from web.routing import Query, Routes

CHUNK = 2**18

routes = Routes()


class FilesQuery(Query):
    """Which files: `input` (uploads, examples) or `output` (results); one of them by name, or a part of the list."""

    kind: Literal["input", "output"] = "input"
    name: str | None = Field(None, max_length=1_024)
    limit: int = Field(100, ge=1, le=500)
    offset: int = Field(0, ge=0, lt=2**53)


class UploadQuery(Query):
    """What the file is called."""

    name: str = Field(min_length=1, max_length=255)


@dataclass(frozen=True)
class FilePage:
    """A part of the files, the last changed first, and how many there are."""

    files: tuple[Stored, ...]
    total: int


@routes.add("GET", "/api/files")
async def files(parts: Parts, query: FilesQuery) -> FilePage:
    """List files with the digest of their content, the last changed first."""
    if query.name is not None:
        digest = await asyncio.to_thread(parts.files.digest, query.kind, query.name)
        return FilePage((parts.files.open(digest)[1],), 1)
    return FilePage(*await asyncio.to_thread(parts.files.page, query.kind, limit=query.limit, offset=query.offset))


@routes.add("POST", "/api/files", status=201)
async def upload(parts: Parts, query: UploadQuery, request: web.Request) -> FileRef:
    """Store the body as a file; returns its digest and the name it can be used by."""
    with parts.files.receive() as incoming:
        async for chunk in request.content.iter_chunked(CHUNK):
            incoming.write(chunk)
            if incoming.size > UPLOAD_BYTES:
                raise TooLarge(f"A file may have {UPLOAD_BYTES // 2**20} MiB.")
        if not incoming.size:
            raise BadInput("The file is empty.")
        return await asyncio.to_thread(parts.files.commit, incoming, query.name)


@routes.add("GET", "/api/files/{digest}", media="*/*")
async def file(parts: Parts, digest: str, request: web.Request) -> web.StreamResponse:
    """Return a file by the SHA-256 of its content; shown inline only if it is a picture or film by its own bytes."""
    path, stored = await asyncio.to_thread(parts.files.open, digest)
    placed = "attachment" if stored.media == UNKNOWN_MEDIA else "inline"
    headers = {
        "Content-Type": stored.media,
        "Content-Disposition": f"{placed}; filename*=UTF-8''{quote(stored.name.rpartition('/')[2], safe='')}",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Cache-Control": "private, max-age=31536000, immutable",
    }
    return web.FileResponse(path, headers=headers)
