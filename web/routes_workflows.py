"""Saved workflows with their revisions."""

from __future__ import annotations

import asyncio

from pydantic import Field

from engine.documents import NAME_MAX, Document, DocumentSummary
from engine.jobs.contract import JsonObject
from web.parts import Parts
from web.routing import Body, Query, Routes

NUMBER_MAX = 2**53

routes = Routes()


class Create(Body):
    """A new document."""

    name: str = Field(min_length=1, max_length=NAME_MAX)
    workflow: JsonObject


class Save(Body):
    """What to change: the name, the workflow or both."""

    name: str | None = Field(None, min_length=1, max_length=NAME_MAX)
    workflow: JsonObject | None = None


class Restore(Body):
    """The earlier revision to make the newest again."""

    revision: int = Field(ge=1, lt=NUMBER_MAX)


class ListQuery(Query):
    """Which part of the list."""

    limit: int = Field(100, ge=1, le=500)
    offset: int = Field(0, ge=0, lt=NUMBER_MAX)


class RevisionQuery(Query):
    """Which revision; the newest if none is named."""

    revision: int | None = Field(None, ge=1, lt=NUMBER_MAX)


@routes.add("POST", "/api/workflows", status=201)
async def create(parts: Parts, body: Create) -> Document:
    """Save a new workflow under a name."""
    return await asyncio.to_thread(parts.documents.create, body.name, body.workflow)


@routes.add("GET", "/api/workflows")
async def documents(parts: Parts, query: ListQuery) -> tuple[DocumentSummary, ...]:
    """List the saved workflows, the last saved first."""
    return await asyncio.to_thread(parts.documents.list, limit=query.limit, offset=query.offset)


@routes.add("GET", "/api/workflows/{document}")
async def document(parts: Parts, document: str, query: RevisionQuery) -> Document:
    """Return a saved workflow, as it is or as it was at a revision; the ETag is its revision."""
    return await asyncio.to_thread(parts.documents.get, document, query.revision)


@routes.add("PUT", "/api/workflows/{document}")
async def save(parts: Parts, document: str, revision: int, body: Save) -> Document:
    """Save a change made from revision `If-Match`; 409 if there is a newer one."""
    return await asyncio.to_thread(
        parts.documents.save, document, revision=revision, name=body.name, workflow=body.workflow
    )


@routes.add("DELETE", "/api/workflows/{document}")
async def delete(parts: Parts, document: str, revision: int) -> None:
    """Delete a saved workflow with its revisions, if `If-Match` is the newest."""
    await asyncio.to_thread(parts.documents.delete, document, revision=revision)


@routes.add("GET", "/api/workflows/{document}/revisions")
async def revisions(parts: Parts, document: str) -> tuple[DocumentSummary, ...]:
    """List the revisions that are kept, newest first."""
    return await asyncio.to_thread(parts.documents.revisions, document)


@routes.add("POST", "/api/workflows/{document}/restore")
async def restore(parts: Parts, document: str, revision: int, body: Restore) -> Document:
    """Make an earlier revision the newest again."""
    return await asyncio.to_thread(parts.documents.restore, document, body.revision, revision=revision)
