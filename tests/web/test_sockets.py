"""The socket: nothing durable is missed, and a client that does not read harms nobody."""

from __future__ import annotations

import asyncio
import json
import struct
from typing import Any

import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType

from engine.events import StepCached
from tests.web.fakes import BEARER, Served
from web import hub as hub_module
from web.hub import FRAMES_MAX, Listener
from web.hub import Frame as HubFrame

Socket = ClientWebSocketResponse[Any]


async def hello(ws: Socket) -> int:
    message = await ws.receive_json(timeout=5)
    assert message["type"] == "hello"
    seq: int = message["seq"]
    return seq


async def subscribe(ws: Socket, since: int, **more: Any) -> None:
    await ws.send_json({"type": "subscribe", "since": since, **more})


async def events(ws: Socket, until: int) -> list[int]:
    """Read on until event `until`; frames in between are passed over."""
    found: list[int] = []
    while not found or found[-1] < until:
        message = await ws.receive(timeout=10)
        assert message.type in {WSMsgType.TEXT, WSMsgType.BINARY}, message
        plain = json.loads(message.data) if message.type is WSMsgType.TEXT else {}
        found += [event["seq"] for event in plain.get("events", [])]
    return found


def cached(served: Served, count: int) -> Any:
    """Start a job that reports `count` durable events."""
    served.parts.jobs.enqueue({"nodes": {}})
    attempt = served.runner.start()
    served.runner.append(attempt, *(StepCached(f"n{i}", "t", "k") for i in range(count)))
    return attempt


async def test_what_was_missed_comes_first_then_what_happens(served: Served) -> None:
    cached(served, 3)
    seq = served.parts.jobs.last_seq()
    async with served.client.ws_connect("/ws") as ws:
        await hello(ws)
        await subscribe(ws, 0)
        assert await events(ws, seq) == list(range(1, seq + 1))
        await served.submit()
        assert await events(ws, seq + 1) == [seq + 1]
        await subscribe(ws, seq - 1)
        assert await events(ws, seq + 1) == [seq, seq + 1]


async def test_a_client_that_comes_back_misses_nothing(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "PAGE", 7)
    served.parts.hub._recent = hub_module.deque(maxlen=20)  # so that the ledger is read as well as the memory
    monkeypatch.setattr(hub_module, "RECENT_MAX", 20)
    attempt = cached(served, 1)
    seen: list[int] = []
    for turn in range(8):
        async with served.client.ws_connect("/ws") as ws:
            await hello(ws)
            await subscribe(ws, seen[-1] if seen else 0)
            served.runner.append(attempt, *(StepCached(f"{turn}.{i}", "t", "k") for i in range(9)))
            seen += await events(ws, served.parts.jobs.last_seq() - 4 * (turn % 2))
        served.runner.append(attempt, *(StepCached(f"away {i}", "t", "k") for i in range(turn * 5)))
    async with served.client.ws_connect("/ws") as ws:
        await hello(ws)
        await subscribe(ws, seen[-1])
        seen += await events(ws, served.parts.jobs.last_seq())
    assert seen == list(range(1, served.parts.jobs.last_seq() + 1))


async def test_one_job_only(served: Served) -> None:
    one = (await served.submit())["id"]
    two = (await served.submit())["id"]
    async with served.client.ws_connect("/ws") as ws:
        await hello(ws)
        await subscribe(ws, 0, job=two)
        assert await events(ws, 2) == [2]
        served.runner.tell({"kind": "step_progress", "job": one, "node": "n", "done": 1})
        served.runner.tell({"kind": "step_progress", "job": two, "node": "n", "done": 2})
        assert (await ws.receive_json(timeout=5))["frame"]["done"] == 2


async def test_a_job_that_is_not_there(served: Served) -> None:
    async with served.client.ws_connect("/ws") as ws:
        await hello(ws)
        await subscribe(ws, 0, job="nothing")
        assert "no job 'nothing'" in (await ws.receive_json(timeout=5))["message"]
        await served.submit()
        await subscribe(ws, 0)
        assert await events(ws, 1) == [1]


async def test_progress_and_previews(served: Served) -> None:
    async with served.client.ws_connect("/ws") as ws:
        await subscribe(ws, await hello(ws))
        await asyncio.sleep(0.05)
        head = {"kind": "step_preview", "job": "j", "node": "s", "media": "image/jpeg"}
        started = {"kind": "step_started", "job": "j", "node": "s", "type": "show", "why": "first run"}
        served.runner.tell(started)
        served.runner.tell(head, b"\xff\xd8picture")
        assert await ws.receive_json(timeout=5) == {"type": "frame", "frame": started}
        data = await ws.receive_bytes(timeout=5)
        (size,) = struct.unpack(">I", data[:4])
        assert json.loads(data[4 : 4 + size]) == head
        assert data[4 + size :] == b"\xff\xd8picture"


async def test_what_is_no_message_is_answered(served: Served) -> None:
    async with served.client.ws_connect("/ws") as ws:
        await hello(ws)
        for text in ("", "{", "[]", '{"type": "subscribe"}', '{"type": "subscribe", "since": -1}', "[" * 50_000):
            await ws.send_str(text)
            assert (await ws.receive_json(timeout=5))["type"] == "error"
        await ws.send_bytes(b"\0")
        assert (await ws.receive_json(timeout=5))["type"] == "error"
        await ws.send_str("x" * 2**17)
        assert (await ws.receive(timeout=5)).type is WSMsgType.CLOSE


async def test_a_stalled_client_harms_nobody(served: Served) -> None:
    stalled = await _stalled(served)
    picture = b"\xff\xd8" + b"0" * 30_000
    async with served.client.ws_connect("/ws") as ws:
        await subscribe(ws, await hello(ws))
        for number in range(400):
            served.runner.tell({"kind": "step_preview", "job": "j", "node": str(number % 3)}, picture)
            await asyncio.sleep(0)
            if number % 100 == 99:
                await served.submit()
        assert await asyncio.wait_for(events(ws, 4), 10) == [1, 2, 3, 4]
    assert len(served.parts.hub._listeners) == 1
    kept = next(iter(served.parts.hub._listeners))
    assert len(kept.take()) <= 3
    stalled.close()


async def _stalled(served: Served) -> asyncio.StreamWriter:
    """Open a socket, subscribe, and never read."""
    url = served.client.make_url("/ws")
    _, writer = await asyncio.open_connection(url.host, url.port, limit=1024)
    lines = [
        "GET /ws HTTP/1.1", f"Host: {url.host}:{url.port}", "Upgrade: websocket", "Connection: Upgrade",
        "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *(f"{name}: {value}" for name, value in BEARER.items()), "", "",
    ]  # fmt: skip
    writer.write("\r\n".join(lines).encode())
    body = b'{"type": "subscribe", "since": 0}'
    writer.write(bytes([0x81, 0x80 | len(body), 0, 0, 0, 0]) + body)
    await writer.drain()
    while not served.parts.hub._listeners:
        await asyncio.sleep(0.01)
    return writer


def test_a_listener_keeps_the_newest_of_each_kind() -> None:
    async def scenario() -> None:
        listener = Listener()
        for number in range(5):
            listener.offer(HubFrame({"kind": "step_progress", "job": "j", "node": "n", "done": number}))
        assert [frame.head["done"] for frame in listener.take()] == [4]
        for number in range(FRAMES_MAX + 10):
            listener.offer(HubFrame({"kind": "step_progress", "job": "j", "node": str(number)}))
        frames = listener.take()
        assert len(frames) == FRAMES_MAX
        assert frames[0].head["node"] == "10"

    asyncio.run(scenario())


async def test_the_hub_outlives_a_ledger_that_cannot_be_read(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.errors import Unavailable

    def fail(*_: Any, **__: Any) -> Any:
        raise Unavailable("The disk is full.")

    monkeypatch.setattr(hub_module, "RETRY_SECONDS", 0.05)
    async with served.client.ws_connect("/ws") as ws:
        await subscribe(ws, await hello(ws))
        with monkeypatch.context() as patch:
            patch.setattr(served.parts.jobs, "events_since", fail)
            await served.submit()
            await asyncio.sleep(0.1)
        assert await events(ws, 1) == [1]


async def test_a_stopping_server_says_goodbye(served: Served) -> None:
    ws = await served.client.ws_connect("/ws")
    await hello(ws)
    await served.client.server.close()
    assert (await ws.receive(timeout=5)).type in {WSMsgType.CLOSE, WSMsgType.CLOSED}
