"""Node types, checking of workflows, and models."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web
from pydantic import Field

from engine import graph, workflow
from engine.errors import NotFound, Unavailable, WorkflowInvalid
from engine.files import UNKNOWN_MEDIA, sniff
from engine.jobs.contract import JsonObject
from web.parts import Parts
from web.routing import Body, Query, Routes

WORKER_SECONDS = 30.0

routes = Routes()


class Check(Body):
    """A workflow to check, with `inputs` laid over it; only what the `outputs` need is looked at (none: all of it)."""

    workflow: JsonObject
    inputs: JsonObject = Field({})
    outputs: list[str] = Field([])


@dataclass(frozen=True)
class Verdict:
    """Whether a workflow can run, all that is wrong with it, and the nodes whose results it would give."""

    valid: bool
    problems: tuple[JsonObject, ...] = ()
    wanted: tuple[str, ...] = ()


class WeightsQuery(Query):
    """Weights: the models folder `kind` and the `name` listed there."""

    kind: str = Field(max_length=64)
    name: str = Field(max_length=1_024)


class Prompt(Body):
    """A prompt, and the weights whose tokenizer is meant: folder `kind` and the `name` listed there."""

    kind: str = Field(max_length=64)
    name: str = Field(max_length=1_024)
    text: str = Field(max_length=20_000)


@dataclass(frozen=True)
class Tokens:
    """`words`: each with its `text` and `tokens`; `count` of all tokens; `room` in a chunk; how many `chunks`."""

    words: list[JsonObject]
    count: int
    room: int
    chunks: int


@routes.add("GET", "/api/nodes")
async def nodes(parts: Parts) -> JsonObject:
    """Return the catalogue: `hash` and `nodes` with their inputs, outputs, bounds, widgets and help."""
    return parts.catalogue.plain()


@routes.add("POST", "/api/nodes/refresh")
async def refresh(parts: Parts) -> JsonObject:
    """Read the nodes and the choices of their inputs again, after files came or went; returns the catalogue."""
    await parts.catalogue.refresh()
    return parts.catalogue.plain()


@routes.add("GET", "/api/nodes/{node}")
async def node(parts: Parts, node: str) -> JsonObject:
    """Return one node type."""
    found: JsonObject = parts.catalogue.node(node)
    return found


@routes.add("POST", "/api/validate")
async def validate(parts: Parts, body: Check) -> Verdict:
    """Check a workflow and list everything that is wrong with it."""
    specs = parts.catalogue.specs()

    def check() -> graph.Graph:
        parsed = workflow.parse(body.workflow).with_inputs(body.inputs)
        return graph.build(parsed, specs, wanted=body.outputs, whole=not body.outputs)

    try:
        built = await asyncio.to_thread(check)
    except WorkflowInvalid as error:
        return Verdict(False, tuple(problem.to_json() for problem in error.problems))
    return Verdict(True, wanted=built.wanted)


@routes.add("POST", "/api/tokens")
async def tokens(parts: Parts, body: Prompt) -> Tokens:
    """Cut a prompt into words and tokens, as the tokenizer of a model does."""
    return Tokens(**await _asked(parts, "tokens", body.model_dump()))


@routes.add("GET", "/api/models")
async def models(parts: Parts) -> JsonObject:
    """List the weights that were found, what each was recognised as, and why."""
    return await _asked(parts, "models")


@routes.add("GET", "/api/models/picture", media="image/*")
async def model_picture(parts: Parts, query: WeightsQuery, request: web.Request) -> web.StreamResponse:
    """Return the picture that lies beside weights."""
    path = Path((await _asked(parts, "model_picture", query.model_dump()))["path"])
    media = await asyncio.to_thread(_media, path)
    if not media.startswith("image/"):
        raise NotFound(f"No picture lies beside {query.name[:80]!r}.")
    return web.FileResponse(path, headers={"Content-Type": media, "Cache-Control": "private, max-age=300"})


def _media(path: Path) -> str:
    """Return what a file is by its first bytes; a folder, or nothing, is nothing."""
    if not path.is_file():
        return UNKNOWN_MEDIA
    with path.open("rb") as file:
        return sniff(file.read(16))


async def _asked(parts: Parts, name: str, payload: JsonObject | None = None) -> JsonObject:
    try:
        return await asyncio.wait_for(asyncio.wrap_future(parts.runner.request(name, payload)), WORKER_SECONDS)
    except TimeoutError as error:
        raise Unavailable("The worker did not answer in time. Look at its state in /api/system.") from error
