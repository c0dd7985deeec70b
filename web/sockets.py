"""The socket: durable events from a number on, then live; progress and previews as they come, if the client keeps up.

To the client: `hello`, `events`, `frame`, `error` as JSON text; a preview as binary: the length of its JSON head
(4 bytes, big-endian), the head, the picture. From the client: `{"type": "subscribe", "since": SEQ, "job": ID or null}`.
"""

from __future__ import annotations

import asyncio
import json
import struct
from typing import Literal

from aiohttp import WSCloseCode, WSMsgType, web
from pydantic import Field, ValidationError

from engine.errors import SfumatoError
from engine.jobs.contract import Frame, JobEvent
from web.hub import Hub, Listener
from web.parts import Parts
from web.routing import Body, Routes, adapter

HEARTBEAT_SECONDS = 20.0
MESSAGE_BYTES = 64 * 2**10
SOCKETS = web.AppKey("sockets", set[web.WebSocketResponse])

routes = Routes()


class Subscribe(Body):
    """What a client asks for; a later one replaces it."""

    type: Literal["subscribe"]
    since: int = Field(ge=0, lt=2**62)
    job: str | None = None


@routes.add("GET", "/ws", status=101, media="websocket")
async def socket(parts: Parts, request: web.Request) -> web.StreamResponse:
    """Open a socket: says `hello` with the newest event's number, then what the client subscribes to."""
    ws = web.WebSocketResponse(heartbeat=HEARTBEAT_SECONDS, max_msg_size=MESSAGE_BYTES, compress=False)
    await ws.prepare(request)
    request.app[SOCKETS].add(ws)
    await ws.send_str(json.dumps({"type": "hello", "seq": parts.hub.seq}))
    async with parts.hub.listening() as listener:
        pump: asyncio.Task[None] | None = None
        try:
            async for message in ws:
                wanted = _read(message.data) if message.type is WSMsgType.TEXT else None
                if wanted is None:
                    await ws.send_str(json.dumps({"type": "error", "message": "Send a `subscribe` message."}))
                    continue
                if pump:
                    pump.cancel()
                pump = asyncio.create_task(_pump(ws, parts.hub, listener, wanted))
        finally:
            request.app[SOCKETS].discard(ws)
            if pump:
                pump.cancel()
    return ws


def _read(text: str) -> Subscribe | None:
    try:
        return Subscribe.model_validate_json(text)
    except ValidationError:
        return None


async def _pump(ws: web.WebSocketResponse, hub: Hub, listener: Listener, wanted: Subscribe) -> None:
    """Send until the client goes. Waiting for a slow one happens here, where nobody else waits."""
    seq = wanted.since
    try:
        while True:
            for frame in listener.take():
                if wanted.job in {None, frame.head.get("job")}:
                    await _send(ws, frame)
            while events := await hub.after(seq, wanted.job):
                plain = adapter(tuple[JobEvent, ...]).dump_python(events, mode="json")
                await ws.send_str(json.dumps({"type": "events", "events": plain}))
                seq = events[-1].seq
            await listener.wait()
    except ConnectionError:
        return
    except SfumatoError as error:
        await ws.send_str(json.dumps({"type": "error", "message": error.message}))


async def _send(ws: web.WebSocketResponse, frame: Frame) -> None:
    if frame.blob:
        head = json.dumps(frame.head).encode()
        await ws.send_bytes(struct.pack(">I", len(head)) + head + frame.blob)
    else:
        await ws.send_str(json.dumps({"type": "frame", "frame": frame.head}))


async def close_sockets(app: web.Application) -> None:
    """Tell every client that the server goes."""
    sockets = app[SOCKETS]
    for ws in tuple(sockets):
        await ws.close(code=WSCloseCode.GOING_AWAY, message=b"The server stops.")
