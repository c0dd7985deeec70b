"""ComfyUI's socket: each client hears of its own prompts, in that program's messages, from our durable events.

A client that comes back is told again what happened to its running prompt: nothing is lost with a connection.
"""

from __future__ import annotations

import asyncio
import json
import struct
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from engine.errors import SfumatoError
from engine.jobs.contract import Frame, JobEvent, JobState
from web import compat_history as words
from web.guard import UPLOAD_BYTES
from web.hub import Listener
from web.parts import PARTS, Parts
from web.sockets import HEARTBEAT_SECONDS, MESSAGE_BYTES, SOCKETS

PREVIEW, PREVIEW_WITH_METADATA = 1, 4  # kinds of binary messages
FORMATS = {"image/jpeg": 1, "image/png": 2}
CLIENTS = web.AppKey("clients", dict[str, web.WebSocketResponse])
EARLY_MAX = 64
QUEUE_KINDS = {"job_queued", "job_started", "job_done", "job_failed", "job_cancelled", "job_parked", "job_requeued"}
ENDS = {"job_done", "job_failed", "job_cancelled", "job_parked"}
Message = dict[str, Any]


@dataclass
class Client:
    """What is known of one client: its id, whether it takes previews with metadata, how far its prompts are."""

    id: str
    metadata: bool = False
    mine: dict[str, bool] = field(default_factory=dict)  # job -> whether it is this client's
    nodes: dict[str, dict[str, Message]] = field(default_factory=dict)  # job -> node -> its progress
    events: dict[str, list[JobEvent]] = field(default_factory=dict)  # of prompts that have begun and not ended
    early: list[Frame] = field(default_factory=list)  # streamed before the start of their prompt was told

    def node(self, job: str, name: str, *, done: float = 0, total: float = 1, state: str = "running") -> Message:
        """Note how far a node is and return `progress_state` of all that have begun."""
        keys = ("node_id", "display_node_id", "parent_node_id", "real_node_id")
        entry = {"value": done, "max": total, "state": state, "prompt_id": job, **words.place(name, job, keys)}
        self.nodes.setdefault(job, {})[words.theirs(name)] = entry
        return {"type": "progress_state", "data": {"prompt_id": job, "nodes": self.nodes[job]}}


async def socket(request: web.Request) -> web.StreamResponse:
    """Open a socket for `clientId`; one that was open under that id is closed."""
    parts = request.app[PARTS]
    ws = web.WebSocketResponse(heartbeat=HEARTBEAT_SECONDS, max_msg_size=MESSAGE_BYTES, compress=False)
    await ws.prepare(request)
    client = Client(request.query.get("clientId", "")[:200] or uuid.uuid4().hex)
    clients = request.app[CLIENTS]
    earlier = clients.get(client.id)
    clients[client.id] = ws
    if earlier is not None:
        await earlier.close(code=WSCloseCode.GOING_AWAY, message=b"Another connection has taken this client's id.")
    request.app[SOCKETS].add(ws)
    async with parts.hub.listening() as listener:
        pump = asyncio.create_task(_pump(ws, parts, listener, client))
        try:
            await _listen(ws, client)
        finally:
            pump.cancel()
            request.app[SOCKETS].discard(ws)
            if clients.get(client.id) is ws:
                del clients[client.id]
    return ws


async def _listen(ws: web.WebSocketResponse, client: Client) -> None:
    """Take the one message that a client may send: what it can do."""
    first = True
    async for message in ws:
        if message.type is WSMsgType.TEXT and first:
            client.metadata = _takes_metadata(message.data)
            flags = {"supports_preview_metadata": True, "max_upload_size": UPLOAD_BYTES}
            await ws.send_json({"type": "feature_flags", "data": flags})
        first = False


def _takes_metadata(text: str) -> bool:
    try:
        plain = json.loads(text)
    except ValueError:
        return False
    data = plain.get("data") if isinstance(plain, dict) and plain.get("type") == "feature_flags" else None
    return isinstance(data, dict) and data.get("supports_preview_metadata") is True


async def _pump(ws: web.WebSocketResponse, parts: Parts, listener: Listener, client: Client) -> None:
    """Send until the client goes."""
    try:
        seq = parts.hub.seq
        await ws.send_json(await _status(parts, client.id))
        for event in await asyncio.to_thread(_missed, parts, client.id, seq):
            await _tell(ws, parts, client, event)
        while True:
            while events := await parts.hub.after(seq):
                for event in events:
                    await _tell(ws, parts, client, event)
                seq = events[-1].seq
            frames, client.early = [*client.early, *listener.take()], []
            for frame in frames:
                if await _is_mine(parts, client, str(frame.head.get("job", ""))):
                    await _show(ws, client, frame)
            await listener.wait()
    except (ConnectionError, SfumatoError):
        await ws.close()


def _missed(parts: Parts, client: str, seq: int) -> list[JobEvent]:
    """Return the events up to `seq` of the client's prompt that runs now."""
    running = [j for j in parts.jobs.queue(limit=10).jobs if j.state is JobState.RUNNING and j.client == client]
    return [e for j in running for e in parts.jobs.events_since(0, job=j.id, limit=5_000) if e.seq <= seq]


async def _status(parts: Parts, sid: str | None = None) -> Message:
    counts = (await asyncio.to_thread(parts.jobs.status)).counts
    left = counts[JobState.QUEUED] + counts[JobState.RUNNING]
    return {
        "type": "status",
        "data": {"status": {"exec_info": {"queue_remaining": left}}, **({"sid": sid} if sid else {})},
    }


async def _is_mine(parts: Parts, client: Client, job: str) -> bool:
    if job and job not in client.mine:
        try:
            client.mine[job] = (await asyncio.to_thread(parts.jobs.get, job)).client == client.id
        except SfumatoError:
            return False
    return client.mine.get(job, False)


async def _tell(ws: web.WebSocketResponse, parts: Parts, client: Client, event: JobEvent) -> None:
    """Send what a durable event means there."""
    if event.job and event.kind != "job_queued" and await _is_mine(parts, client, event.job):
        seen = client.events.setdefault(event.job, [])
        seen.append(event)
        for message in await asyncio.to_thread(lambda: list(_messages(parts, client, event, seen))):
            await ws.send_json(message)
    if event.kind in QUEUE_KINDS:
        await ws.send_json(await _status(parts))
    if event.kind in ENDS and client.mine.get(event.job):
        await ws.send_json({"type": "executing", "data": {"node": None, "prompt_id": event.job}})
        client.events.pop(event.job, None)
        client.early = [frame for frame in client.early if frame.head.get("job") != event.job]
    if event.kind in ENDS:
        client.mine.pop(event.job, None)
        client.nodes.pop(event.job, None)


def _messages(parts: Parts, client: Client, event: JobEvent, seen: list[JobEvent]) -> Iterator[Message]:
    job, data = event.job, event.data
    node = str(data.get("node", ""))
    match event.kind:
        case "job_started":
            yield words.message("execution_start", job, event.at)
            yield words.message("execution_cached", job, event.at, nodes=[])
        case "step_cached":
            yield words.message("execution_cached", job, event.at, nodes=[words.theirs(node)])
            yield from _executed(parts, job, data)
        case "step_done":
            yield from _executed(parts, job, data)
            yield client.node(job, node, done=1, state="finished")
        case "step_failed":
            yield client.node(job, node, state="error")
        case "step_skipped" if data.get("note"):
            blocked = words.failed(
                job, [{"node": node, "message": data["note"], "code": "ExecutionBlocked"}], seen, event.at
            )
            blocked["data"].pop("timestamp")
            yield blocked
        case "job_done":
            yield words.message("execution_success", job, event.at)
        case "job_failed" | "job_parked":
            yield words.failed(job, data.get("problems", []), seen, event.at)
        case "job_cancelled":
            yield words.interrupted(job, seen, event.at)


def _executed(parts: Parts, job: str, data: dict[str, Any]) -> Iterator[Message]:
    if data.get("ui"):
        place = words.place(data["node"], job, ("node", "display_node", "parent_node", "real_node"))
        output = words.shown_by(data["ui"], parts.files)
        told = {"node": place["node"], "display_node": place["display_node"], "output": output, "prompt_id": job}
        yield {"type": "executed", "data": told}


async def _show(ws: web.WebSocketResponse, client: Client, frame: Frame) -> None:
    """Send what is only streamed: which node runs, how far it is, a picture of work in progress."""
    job, node = str(frame.head["job"]), str(frame.head.get("node", ""))
    if job not in client.events:
        client.early = [*client.early, frame][-EARLY_MAX:]
        return
    match frame.head["kind"]:
        case "step_started":
            await ws.send_json(client.node(job, node))
            told = {"node": words.theirs(node), "display_node": node.partition("/")[0], "prompt_id": job}
            await ws.send_json({"type": "executing", "data": told})
        case "step_progress":
            done, total = frame.head["done"], frame.head["total"]
            await ws.send_json(client.node(job, node, done=done, total=total))
            told = {"value": done, "max": total, "prompt_id": job, "node": words.theirs(node)}
            await ws.send_json({"type": "progress", "data": told})
        case "step_message":
            await ws.send_json({"type": frame.head["name"], "data": frame.head["data"]})
        case "step_preview":
            await ws.send_bytes(preview(client, job, node, str(frame.head["media"]), frame.blob))


def preview(client: Client, job: str, node: str, media: str, picture: bytes) -> bytes:
    """Return a picture as a binary message, with metadata if the client takes it."""
    if not client.metadata:
        return struct.pack(">II", PREVIEW, FORMATS.get(media, 1)) + picture
    keys = ("node_id", "display_node_id", "parent_node_id", "real_node_id")
    head = json.dumps({**words.place(node, job, keys), "prompt_id": job, "image_type": media}).encode()
    return struct.pack(">II", PREVIEW_WITH_METADATA, len(head)) + head + picture
