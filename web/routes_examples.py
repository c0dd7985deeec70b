"""Ready-made workflows for the gallery, and workflows out of files that people bring."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from aiohttp import web

from engine import workflow
from engine.errors import BadFile, NotFound, TooLarge
from engine.files import UNKNOWN_MEDIA, sniff
from engine.jobs.contract import JsonObject
from engine.pictures import WORKFLOW_MAX, embedded_workflow
from engine.settings import ROOT
from web.guard import JSON_BYTES, UPLOAD_BYTES
from web.parts import Parts
from web.routing import Routes

SHIPPED = ROOT / "nodes"
PICTURES = {"webp": "image/webp", "png": "image/png", "jpg": "image/jpeg"}
SENTENCE = re.compile(r"(?<=[.!?])\s")
Which = Literal["before", "after"]

routes = Routes()


@dataclass(frozen=True)
class Example:
    """A ready-made workflow: `sentence` for its card, `help` in Markdown, `pictures` that lie beside it."""

    group: str
    id: str
    name: str
    sentence: str
    help: str
    pictures: tuple[Which, ...]


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
    return await asyncio.to_thread(lambda: tuple(_describe(path, plain) for path, plain in _found(parts)))


@routes.add("GET", "/api/examples/{group}/{name}")
async def example(parts: Parts, group: str, name: str) -> OneExample:
    """Return a ready-made workflow."""
    path, plain = await asyncio.to_thread(_one, parts, group, name)
    return OneExample(_describe(path, plain), workflow.parse(plain).to_json())


@routes.add("GET", "/api/examples/{group}/{name}/{which}", media="image/*")
async def picture(parts: Parts, group: str, name: str, which: str, request: web.Request) -> web.StreamResponse:
    """Return the picture `before` or `after` of a ready-made workflow."""
    path, _ = await asyncio.to_thread(_one, parts, group, name)
    beside = next((found for kind, found in _pictures(path) if kind == which), None)
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


def _found(parts: Parts) -> Iterator[tuple[Path, JsonObject]]:
    """Give the workflow files one folder deep; other JSON is passed over, and the first of a name wins."""
    seen = set()
    for root in (SHIPPED, *parts.settings.custom_nodes):
        for path in sorted(root.glob("*/*.json")):
            plain = _read(path)
            if plain.get("format") == workflow.FORMAT and path.parts[-2:] not in seen:
                seen.add(path.parts[-2:])
                yield path, plain


def _one(parts: Parts, group: str, name: str) -> tuple[Path, JsonObject]:
    for path, plain in _found(parts):
        if (path.parent.name, path.stem) == (group, name):
            return path, plain
    raise NotFound(f"There is no ready-made workflow {f'{group}/{name}'[:80]!r}.")


def _read(path: Path) -> dict[str, Any]:
    try:
        plain = json.loads(path.read_bytes()) if path.stat().st_size <= WORKFLOW_MAX else None
    except (OSError, ValueError, RecursionError):
        return {}
    return plain if isinstance(plain, dict) else {}


def _describe(path: Path, plain: JsonObject) -> Example:
    beside = path.with_suffix(".md")
    title, _, text = (beside.read_text(encoding="utf-8") if beside.is_file() else "").partition("\n")
    name = title.removeprefix("# ").strip() or str(plain.get("name") or path.stem)
    sentence = SENTENCE.split(" ".join(text.strip().partition("\n\n")[0].split()), maxsplit=1)[0]
    which = tuple(found for found, _ in _pictures(path))
    return Example(path.parent.name, path.stem, name, sentence, text.strip(), which)


def _pictures(path: Path) -> Iterator[tuple[Which, Path]]:
    """Give `method.before.png` and `method.png` (or webp, jpg) that lie beside `method.json`."""
    suffixes: tuple[tuple[Which, str], ...] = (("before", ".before"), ("after", ""))
    for which, middle in suffixes:
        for ending in PICTURES:
            beside = path.with_name(f"{path.stem}{middle}.{ending}")
            if beside.is_file():
                yield which, beside
                break
