"""ComfyUI's node packs: which there are, and the one time that a person says that their code may run."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from pydantic import Field

from engine.compat import packs
from engine.jobs.contract import JsonObject
from web.parts import Parts
from web.routing import Body, Routes

routes = Routes()


class Trust(Body):
    """What was looked at: the digest of the pack's files."""

    digest: str = Field(min_length=64, max_length=64)


@dataclass(frozen=True)
class Packs:
    """The packs that were found, and those that failed with their reasons."""

    packs: tuple[packs.Pack, ...]
    failed: tuple[JsonObject, ...] = ()


@routes.add("GET", "/api/packs")
async def list_packs(parts: Parts) -> Packs:
    """List ComfyUI's node packs: whether each is trusted, and why one does not work."""
    found = await asyncio.to_thread(packs.listed, parts.settings)
    return Packs(tuple(found), tuple(parts.catalogue.plain().get("failed", ())))


@routes.add("POST", "/api/packs/{pack}/trust")
async def trust(parts: Parts, pack: str, body: Trust) -> Packs:
    """Let a pack's code run, as its files are now; its nodes are read at once."""
    await asyncio.to_thread(packs.trust, parts.settings, pack, digest=body.digest)
    await parts.catalogue.refresh()
    return await list_packs(parts)


@routes.add("POST", "/api/packs/{pack}/distrust")
async def distrust(parts: Parts, pack: str) -> Packs:
    """No longer let a pack's code run from the next start of the worker on."""
    await asyncio.to_thread(packs.distrust, parts.settings, pack)
    await parts.catalogue.refresh()
    return await list_packs(parts)
