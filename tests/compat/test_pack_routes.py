"""What packs say to their own clients: routes, messages, and prompts that they rewrite."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from engine.compat import requests
from engine.compat.pack_routes import Routes
from engine.errors import NodeFailed
from engine.events import StepMessage
from tests.compat.test_dialect import Engine, listening, until
from tests.compat.v1_lab import V1Lab, node
from tests.web.fakes import CATALOGUE, Served, serving
from web.app import make_comfyui_app


@pytest.fixture
def lab(tmp_path: Path) -> Any:
    lab = V1Lab(tmp_path, ("served",))
    yield lab
    lab.close()


@pytest.fixture
async def served(lab: V1Lab, tmp_path: Path) -> AsyncIterator[Served]:
    answers = {"comfyui_check": lambda asked: requests.check(Engine(lab), asked), "comfyui_route": requests.route}

    def request(name: str, payload: Any = None) -> Future[Any]:
        reply: Future[Any] = Future()
        try:  # a handler runs a loop of its own, in the worker's process
            reply.set_result(_apart(lambda: json.loads(json.dumps(answers[name](payload)))))
        except NodeFailed as error:
            reply.set_exception(error)
        return reply

    async with serving(tmp_path / "served", kept=CATALOGUE) as found:
        found.runner.request = request  # type: ignore[method-assign]
        async with TestClient(TestServer(make_comfyui_app(found.parts))) as client:
            found.client = client
            yield found


def _apart(call: Any) -> Any:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


@pytest.mark.parametrize("api", ["", "/api"])
async def test_a_packs_routes_answer(served: Served, api: str) -> None:
    async with served.client.get(f"{api}/served/hello/you?loud=yes") as answer:
        assert (answer.status, await answer.json()) == (200, {"name": "you", "loud": "yes"})
    async with served.client.post(f"{api}/served/echo", json={"text": "aha"}) as answer:
        assert (answer.status, await answer.text(), answer.content_type) == (201, "aha", "text/plain")
        assert "X-Other" not in answer.headers


async def test_other_addresses_and_failing_handlers_are_told(served: Served) -> None:
    async with served.client.get("/served/nothing") as answer:
        assert answer.status == 404
        assert "/served/nothing" in await answer.text()
    async with served.client.get("/served/wrong") as answer:
        assert answer.status >= 400
        assert "ValueError: on purpose" in await answer.text()


async def test_a_pack_may_rewrite_a_prompt(served: Served) -> None:
    body = {"prompt": {"1": node("ServedOldName", text="x")}}
    async with served.client.post("/prompt", json=body) as answer:
        assert (answer.status, (await answer.json())["node_errors"]) == (200, {})


async def test_a_nodes_message_reaches_the_client_of_its_prompt(served: Served, lab: V1Lab) -> None:
    ran = lab.run({"1": node("ServedSpeaks", text="hello")})
    (said,) = [event for event in ran.events if isinstance(event, StepMessage)]
    assert said.to_json() == {"kind": "step_message", "node": "1", "name": "served.said", "data": {"text": "hello"}}
    body = {"prompt": {"1": node("ServedSpeaks", text="hello")}, "client_id": "me"}
    async with listening(served, "me") as ws:
        async with served.client.post("/prompt", json=body) as answer:
            name = (await answer.json())["prompt_id"]
        served.runner.start()
        await until(ws, lambda m: m["type"] == "execution_cached")
        served.runner.tell({**said.to_json(), "job": name})
        told = await until(ws, lambda m: m["type"] == "served.said")
        assert told[-1]["data"] == {"text": "hello"}


def test_addresses_with_patterns() -> None:
    routes = Routes()
    routes.get("/a/{file:.+}.js")(len)
    routes.view("/b")(len)
    assert routes.find("GET", "/a/b/c.js") == (len, {"file": "b/c"})
    assert routes.find("GET", "/a/bcxjs") is None
    assert routes.find("DELETE", "/b") == (len, {})
    assert routes.find("POST", "/a/b.js") is None
    assert list(routes) == [("GET", "/a/{file:.+}.js"), ("*", "/b")]
    with pytest.raises(AttributeError):
        routes.nothing("/c")
