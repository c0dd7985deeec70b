"""ComfyUI's HTTP dialect: prompts, queue, history and jobs, with and without `/api`, on our ledger.

On our own port, where an address means something else already, ours wins; `--comfyui-port` opens one on loopback where
all of them are ComfyUI's and no token is asked for. What ComfyUI answers with 500 or an empty body is a 400 in JSON.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from aiohttp import web

from engine.errors import BadInput, NotFound, SfumatoError, Unavailable
from engine.jobs.contract import ENDED, Job, JobState, JsonObject
from web import compat_files, compat_history, compat_socket
from web.parts import PARTS, Parts

ASK_SECONDS = 60.0
HISTORY_MAX = 10_000
QUEUE_MAX = 10_000
PRIORITY_MAX = 10**9
PRIORITY_STEP = 1_000  # how finely numbers of ComfyUI tell apart
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def routes() -> list[tuple[str, str, Handler]]:
    """Return method, address without `/api`, and handler of every route of the dialect."""
    return [
        ("GET", "/prompt", exec_info),
        ("POST", "/prompt", submit),
        ("GET", "/queue", queue),
        ("POST", "/queue", change_queue),
        ("POST", "/interrupt", interrupt),
        ("GET", "/history", history),
        ("GET", "/history/{prompt_id}", history_of),
        ("POST", "/history", change_history),
        ("GET", "/jobs", jobs),
        ("GET", "/jobs/{job}", job),
        ("POST", "/jobs/{job}/cancel", cancel),
        ("POST", "/jobs/cancel", cancel_many),
        ("POST", "/free", free),
        *compat_files.routes(),
        ("GET", "/ws", compat_socket.socket),
    ]


def add_to(app: web.Application, taken: Iterable[tuple[str, str]]) -> None:
    """Add the dialect's routes where they are not `taken`; of each there is one with `/api` before it."""
    known = {*taken}
    for method, path, handler in routes():
        for full in (path, f"/api{path}"):
            if (method, full) not in known:
                app.router.add_route(method, full, handler)


def add_packs_to(app: web.Application) -> None:
    """Hand what no route has an address for to the packs of the worker."""
    app.router.add_route("*", "/{path:.+}", pack_route)


async def pack_route(request: web.Request) -> web.Response:
    """Answer as a pack's own route says, with and without `/api`; the worker runs it."""
    body = base64.b64encode(await request.read()).decode()
    path = "/" + request.match_info["path"].removeprefix("api/")
    asked = {"method": request.method, "path": path, "query": dict(request.query), "headers": dict(request.headers)}
    answer = await ask(request.app[PARTS], "comfyui_route", {**asked, "body": body})
    if answer["status"] == 404 and not answer["body"]:
        raise NotFound(f"There is nothing at {path[:200]}.")
    return web.Response(status=answer["status"], headers=answer["headers"], body=base64.b64decode(answer["body"]))


async def body_of(request: web.Request) -> Any:
    """Read a JSON body, whatever its type says; an empty one is an empty object."""
    data = await request.read()
    try:
        plain = json.loads(data) if data else {}
    except (ValueError, RecursionError) as error:
        raise BadInput(f"The body is not JSON: {error}.") from error
    if not isinstance(plain, dict):
        raise BadInput("The body must be a JSON object.")
    return plain


async def ask(parts: Parts, name: str, payload: JsonObject) -> JsonObject:
    """Ask the worker; Unavailable if it is not ready in time."""
    try:
        return await asyncio.wait_for(asyncio.wrap_future(parts.runner.request(name, payload)), ASK_SECONDS)
    except TimeoutError as error:
        raise Unavailable("The worker did not answer in time. Look at its state in /api/system.") from error


# Prompts -----------------------------------------------------------------------------------------------------------


async def exec_info(request: web.Request) -> web.Response:
    """Say how many prompts wait or run."""
    return web.json_response({"exec_info": {"queue_remaining": await remaining(request.app[PARTS])}})


async def remaining(parts: Parts) -> int:
    """Return how many jobs wait or run."""
    counts = (await asyncio.to_thread(parts.jobs.status)).counts
    return counts[JobState.QUEUED] + counts[JobState.RUNNING]


async def submit(request: web.Request) -> web.Response:
    """Check a prompt and queue what of it can run."""
    parts, plain = request.app[PARTS], await body_of(request)
    refusal = _wrong_with(plain)
    if refusal:
        return web.json_response({"error": refusal, "node_errors": {}}, status=400)
    targets = plain.get("partial_execution_targets")
    checked = await ask(parts, "comfyui_check", {**plain, "targets": targets})
    if checked["error"]:
        return web.json_response({"error": checked["error"], "node_errors": checked["node_errors"]}, status=400)
    queued = await asyncio.to_thread(_enqueue, parts, plain, checked)
    parts.runner.wake()
    number = queued.workflow[compat_history.REST]["number"]
    return web.json_response({"prompt_id": queued.id, "number": number, "node_errors": checked["node_errors"]})


def _wrong_with(plain: JsonObject) -> JsonObject | None:
    def error(type: str, message: str, details: str) -> JsonObject:
        return {"type": type, "message": message, "details": details, "extra_info": {}}

    if "prompt" not in plain:
        return error("no_prompt", "No prompt provided", "No prompt provided")
    if not isinstance(plain["prompt"], dict):
        return error("invalid_prompt", "The prompt must be an object of nodes by id.", type(plain["prompt"]).__name__)
    given = plain.get("prompt_id")
    if given is not None and not (isinstance(given, str) and given.isprintable() and 0 < len(given) <= 100):
        return error(
            "invalid_prompt_id", "prompt_id must be a text of 1 to 100 printable characters.", repr(given)[:100]
        )
    if not isinstance(plain.get("number", 0), (int, float)):
        return error("invalid_number", "number must be a number.", repr(plain["number"])[:100])
    for name in ("partial_execution_targets", "extra_data"):
        if not isinstance(plain.get(name), (list, dict, type(None))):
            return error("invalid_prompt", f"{name} has the wrong type.", type(plain[name]).__name__)
    return None


def _enqueue(parts: Parts, plain: JsonObject, checked: JsonObject) -> Job:
    """Queue a checked prompt. A smaller `number` runs earlier, `front` before all that wait."""
    extra = {**(plain.get("extra_data") or {}), "create_time": int(time.time() * 1000)}
    number = plain.get("number", parts.jobs.last_seq())
    secret = {k for k in extra if k.endswith("_comfy_org")}
    kept = {
        "prompt": checked["prompt"],
        "extra_data": {k: v for k, v in extra.items() if k not in secret},
        "number": -number if plain.get("front") and "number" not in plain else number,
    }
    asked = int(-float(number) * PRIORITY_STEP) if "number" in plain else 0
    first = next((j.id for j in parts.jobs.queue(limit=50).jobs if j.state is JobState.QUEUED), None)
    queued = parts.jobs.enqueue(
        {**checked["workflow"], compat_history.REST: kept},
        wanted=checked["wanted"],
        priority=max(-PRIORITY_MAX, min(PRIORITY_MAX, asked)),
        client=str(plain.get("client_id") or extra.get("client_id") or "")[:200],
        id=plain.get("prompt_id") or str(uuid.uuid4()),
    )
    if plain.get("front") and "number" not in plain and first is not None:
        parts.jobs.move(queued.id, before=first)
    return queued


# Queue -------------------------------------------------------------------------------------------------------------


async def queue(request: web.Request) -> web.Response:
    """Return what runs and what waits; beside it what our own clients look for at this address."""
    parts = request.app[PARTS]
    found = await asyncio.to_thread(_waiting, parts)
    status = await asyncio.to_thread(parts.jobs.status)
    return web.json_response({
        "queue_running": [compat_history.queue_item(j) for j in found if j.state is JobState.RUNNING],
        "queue_pending": [compat_history.queue_item(j) for j in found if j.state is JobState.QUEUED],
        "paused": status.paused,
        "counts": {str(state): count for state, count in status.counts.items()},
    })  # fmt: skip


def _waiting(parts: Parts) -> list[Job]:
    return [parts.jobs.get(j.id) for j in parts.jobs.queue(limit=QUEUE_MAX).jobs]


async def change_queue(request: web.Request) -> web.Response:
    """Cancel what waits: all of it, or by id."""
    parts, plain = request.app[PARTS], await body_of(request)

    def change() -> None:
        waiting = {j.id for j in parts.jobs.queue(limit=QUEUE_MAX).jobs if j.state is not JobState.RUNNING}
        for name in waiting if plain.get("clear") else waiting & set(_ids(plain, "delete")):
            parts.jobs.cancel(name)
            parts.jobs.forget(name)  # there, what never ran leaves no trace

    await asyncio.to_thread(change)
    parts.runner.wake()
    return web.Response()


def _ids(plain: JsonObject, name: str) -> list[str]:
    given = plain.get(name, [])
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        raise BadInput(f"{name} must be a list of ids.", field=name)
    return given


async def interrupt(request: web.Request) -> web.Response:
    """Stop what runs, or the one prompt that is named, if it runs."""
    parts, plain = request.app[PARTS], await body_of(request)
    wanted = plain.get("prompt_id")

    def stop() -> None:
        for each in parts.jobs.queue(limit=QUEUE_MAX).jobs:
            if each.state is JobState.RUNNING and wanted in (None, each.id):
                parts.jobs.cancel(each.id)

    await asyncio.to_thread(stop)
    parts.runner.wake()
    return web.Response()


async def free(request: web.Request) -> web.Response:
    """Accept; memory is given up by plan, when something else needs it."""
    await body_of(request)
    return web.Response()


# History -----------------------------------------------------------------------------------------------------------


async def history(request: web.Request) -> web.Response:
    """Return prompts that have ended, the oldest first: the last `max_items`, or those after `offset`."""
    parts = request.app[PARTS]
    limit, offset = _number(request, "max_items"), _number(request, "offset")

    def read() -> JsonObject:
        kept = parts.jobs.history(limit=HISTORY_MAX).jobs[::-1]
        start = (max(0, len(kept) - limit) if limit is not None else 0) if offset is None or offset < 0 else offset
        return {j.id: _item(parts, j.id) for j in kept[start : None if limit is None else start + limit]}

    return web.json_response(await asyncio.to_thread(read))


def _number(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    if not text.removeprefix("-").isdecimal() or len(text) > 9:
        raise BadInput(f"{name} must be a whole number, got {text[:40]!r}.", field=name)
    return int(text)


def _item(parts: Parts, name: str) -> JsonObject:
    return compat_history.history_item(parts.jobs.get(name), events_of(parts, name), parts.files)


def events_of(parts: Parts, name: str) -> tuple[Any, ...]:
    """Return the events of a job since it was last started."""
    events = parts.jobs.events_since(0, job=name, limit=compat_history.EVENTS_MAX)
    starts = [i for i, event in enumerate(events) if event.kind == "job_started"]
    return events[starts[-1] :] if starts else events


async def history_of(request: web.Request) -> web.Response:
    """Return one prompt if it has ended, else nothing."""
    parts, name = request.app[PARTS], request.match_info["prompt_id"]

    def read() -> JsonObject:
        try:
            found = parts.jobs.get(name)
        except NotFound:
            return {}
        return {name: _item(parts, name)} if found.state in ENDED else {}

    return web.json_response(await asyncio.to_thread(read))


async def change_history(request: web.Request) -> web.Response:
    """Forget prompts that have ended: all, or by id; their pictures stay."""
    parts, plain = request.app[PARTS], await body_of(request)

    def change() -> None:
        kept = {j.id for j in parts.jobs.history(limit=HISTORY_MAX).jobs}
        for name in kept if plain.get("clear") else kept & set(_ids(plain, "delete")):
            parts.jobs.forget(name)

    await asyncio.to_thread(change)
    parts.runner.wake()
    return web.Response()


# Jobs, as later versions have them ---------------------------------------------------------------------------------


async def jobs(request: web.Request) -> web.Response:
    """List jobs of any state, a part at a time."""
    parts, query = request.app[PARTS], request.query
    limit, offset = _number(request, "limit"), _number(request, "offset") or 0
    wanted = {s for s in query.get("status", "").split(",") if s}
    order, sort = query.get("sort_order", "desc"), query.get("sort_by", "created_at")
    bad = wanted - set(compat_history.STATUS.values())
    if bad or order not in ("asc", "desc") or sort not in ("created_at", "execution_duration"):
        return web.json_response({"error": f"Unknown value among {sorted(bad) or [order, sort]}."}, status=400)
    if (limit is not None and limit <= 0) or offset < 0:
        return web.json_response({"error": "limit must be above 0 and offset 0 or above."}, status=400)

    def read() -> JsonObject:
        every = [*parts.jobs.queue(limit=QUEUE_MAX).jobs, *parts.jobs.history(limit=HISTORY_MAX).jobs]
        found = [j for j in every if not wanted or compat_history.STATUS[j.state] in wanted]
        keys = {"created_at": lambda j: j.created, "execution_duration": lambda j: (j.ended or 0) - (j.started or 0)}
        found.sort(key=keys[sort], reverse=order == "desc")
        page = found[offset : None if limit is None else offset + limit]
        items = [compat_history.job_item(parts.jobs.get(j.id), events_of(parts, j.id), parts.files) for j in page]
        more = offset + len(page) < len(found)
        pagination = {"offset": offset, "limit": limit, "total": len(found), "has_more": more}
        return {"jobs": items, "pagination": pagination}

    return web.json_response(await asyncio.to_thread(read))


async def job(request: web.Request) -> web.Response:
    """Return one job with its outputs and its prompt."""
    parts, name = request.app[PARTS], request.match_info["job"]

    def read() -> JsonObject:
        return compat_history.job_item(parts.jobs.get(name), events_of(parts, name), parts.files, whole=True)

    try:
        return web.json_response(await asyncio.to_thread(read))
    except NotFound:
        return web.json_response({"error": "Job not found"}, status=404)


async def cancel(request: web.Request) -> web.Response:
    """End a job; says whether it had not ended before."""
    return web.json_response({"cancelled": await _cancel(request.app[PARTS], request.match_info["job"])})


async def cancel_many(request: web.Request) -> web.Response:
    """End jobs by id."""
    parts, plain = request.app[PARTS], await body_of(request)
    return web.json_response({"cancelled": [name for name in _ids(plain, "job_ids") if await _cancel(parts, name)]})


async def _cancel(parts: Parts, name: str) -> bool:
    try:
        before = await asyncio.to_thread(parts.jobs.get, name)
        await asyncio.to_thread(parts.jobs.cancel, name)
    except SfumatoError:
        return False
    parts.runner.wake()
    return before.state not in ENDED
