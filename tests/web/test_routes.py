"""Every route, walked: closed without a token, described, JSON only, one error shape."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import ClientSession

from engine.pictures import encode
from tests.web.fakes import TOKENS, Served
from web import compat, pages
from web.app import ROUTES
from web.guard import JSON_BYTES, UPLOAD_PATHS
from web.pages import ASK_AGAIN, FOREVER, STATIC
from web.routing import Route

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")


def url(route: Route) -> str:
    return re.sub(r"{\w+}", "x", route.path)


async def test_nothing_answers_without_a_token(served: Served) -> None:
    others = {"/static/app.js", "/nothing", "/favicon.ico", "/api", "/ws/", "/%2e%2e/etc/passwd"}
    paths = {url(route) for route in ROUTES} | others
    async with ClientSession(served.client.make_url("/")) as stranger:
        for path in paths:
            for method in METHODS:
                async with stranger.request(method, path) as answer:
                    assert answer.status == 401, f"{method} {path}"
                    assert method == "HEAD" or _is_error(await answer.json())


async def test_every_route_is_described(served: Served) -> None:
    document = await served.json("GET", "/api/openapi.json")
    described = {(method.upper(), path) for path, place in document["paths"].items() for method in place}
    registered = {
        (route.method, route.resource.canonical)
        for route in served.client.app.router.routes()
        if route.resource and route.method != "HEAD" and route.resource.canonical not in {"/", "/static"}
    }
    comfyui = {(method, f"{api}{path}") for method, path, _ in compat.routes() for api in ("", "/api")}
    assert described == registered - (comfyui - described), "ComfyUI's are described in docs/comfyui.md"
    names = [operation["operationId"] for place in document["paths"].values() for operation in place.values()]
    assert len(set(names)) == len(names)
    assert all(route.summary.endswith(".") or ";" in route.summary for route in ROUTES)


async def test_the_description_holds_together(served: Served) -> None:
    document = await served.json("GET", "/api/openapi.json")
    references = set(re.findall(r"'\$ref': '#/components/schemas/([^']+)'", str(document)))
    assert references <= document["components"]["schemas"].keys()
    submit = document["paths"]["/api/jobs"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert document["components"]["schemas"][submit["$ref"].rpartition("/")[2]]["required"] == ["workflow"]
    listing = document["paths"]["/api/jobs"]["get"]["parameters"]
    assert {p["name"] for p in listing} == {"list", "client", "limit", "cursor"}


async def test_every_change_is_json_only(served: Served) -> None:
    for route in ROUTES:
        if route.method == "GET":
            continue
        answer = await served.client.request(
            route.method, url(route), data=b"a=1", headers={"Content-Type": "application/x-www-form-urlencoded"}
        )
        assert answer.status == 415, route.path
        assert _is_error(await answer.json())


async def test_no_change_by_get(served: Served) -> None:
    reading = [route for route in ROUTES if route.method == "GET" and not route.raw]
    for route in reading:
        await served.client.get(url(route))
    assert served.parts.jobs.last_seq() == 0
    assert served.runner.woken == 0


async def test_unknown_paths_and_methods_have_the_error_shape(served: Served) -> None:
    assert _is_error(await served.json("GET", "/api/nothing", status=404))
    assert _is_error(await served.json("PATCH", "/api/jobs", status=405))


async def test_bodies_that_are_not_what_is_asked_for(served: Served) -> None:
    async def post(body: bytes) -> tuple[int, Any]:
        answer = await served.client.post("/api/jobs", data=body, headers={"Content-Type": "application/json"})
        return answer.status, (await answer.json())["error"]

    assert (await post(b"{"))[1]["code"] == "bad_input"
    assert (await post(b""))[0] == 400
    assert (await post(b"\xff\xfe"))[0] == 400
    assert (await post(b'{"workflow": NaN}'))[0] == 400
    assert (await post(b'{"workflow": {"nodes": {"\\ud800": 1}}}'))[0] == 400
    status, error = await post(b'{"workflo": {}, "priority": "high", "inputs": []}')
    assert status == 400
    assert {p["field"] for p in error["problems"]} == {"workflow", "workflo", "priority", "inputs"}


async def test_bodies_over_the_limits(served: Served) -> None:
    async def post(body: bytes) -> tuple[int, str]:
        headers = {"Content-Type": "application/json"}
        answer = await served.client.post("/api/jobs", data=io.BytesIO(body), headers=headers)
        return answer.status, (await answer.json())["error"]["code"]

    def nested(depth: int) -> bytes:
        value = b"[" * depth + b"1" + b"]" * depth
        return b'{"workflow": {"nodes": {"a": {"type": "number", "inputs": {"value": %s}}}}}' % value

    assert await post(nested(50)) == (400, "invalid_workflow")
    assert await post(nested(70)) == (413, "too_large")
    assert await post(nested(100_000)) in {(413, "too_large"), (400, "bad_input")}
    assert await post(b'{"workflow": "%s"}' % (b"x" * JSON_BYTES)) == (413, "too_large")
    nodes = b",".join(b'"n%d":{"type":"number"}' % i for i in range(5_001))
    assert await post(b'{"workflow": {"nodes": {%s}}}' % nodes) == (400, "invalid_workflow")


async def test_a_chunked_body_is_counted_too(served: Served) -> None:
    async def chunks() -> Any:
        for _ in range(5):
            yield b" " * 2**20

    answer = await served.client.post("/api/jobs", data=chunks(), headers={"Content-Type": "application/json"})
    assert answer.status == 413
    assert _is_error(await answer.json())


async def test_the_unforeseen_is_one_sentence(served: Served, monkeypatch: Any, caplog: Any) -> None:
    def fail() -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(served.parts.jobs, "status", fail)
    error = (await served.json("GET", "/api/queue", status=500))["error"]
    assert error["code"] == "internal"
    assert "secret" not in error["message"]
    assert "secret detail" in caplog.text
    assert re.search(r"reference (\w+)", error["message"])[1] in caplog.text  # type: ignore[index]


async def test_answers_carry_the_headers(served: Served) -> None:
    for path in ("/", "/api/jobs", "/api/nothing"):
        headers = (await served.client.get(path)).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["Server"] == "Sfumato"


async def test_files_that_are_named_by_their_content_are_kept_and_the_page_is_asked_for_again(served: Served) -> None:
    asset = next((STATIC / "assets").glob("*.js")).name
    for path, kept in ((f"/static/assets/{asset}", FOREVER), ("/static/icon.svg", ASK_AGAIN), ("/", ASK_AGAIN)):
        async with served.client.get(path) as answer:
            assert answer.headers["Cache-Control"] == kept, path
            tag = answer.headers["ETag"]
        async with served.client.get(path, headers={"If-None-Match": tag}) as answer:
            assert answer.status == 304, path
    async with served.client.get("/static/assets/gone.js") as answer:
        assert (answer.status, answer.headers["Cache-Control"]) == (404, "no-store")


async def test_the_system_tells_which_editor_it_gives_out(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (await served.json("GET", "/api/system"))["build"]
    monkeypatch.setattr(pages, "STATIC", tmp_path)
    assert (await served.json("GET", "/api/system"))["build"] == ""
    (tmp_path / "index.html").write_text("another")
    assert (await served.json("GET", "/api/system"))["build"] not in {"", before}


async def test_system_and_models(served: Served) -> None:
    system = await served.json("GET", "/api/system")
    assert system["workers"][0]["state"] == "ready"
    assert system["versions"]["torch"]
    assert await served.json("GET", "/api/models") == {"models": {}}


async def test_weights_show_the_picture_beside_them_and_no_other_file(served: Served, tmp_path: Path) -> None:
    picture, secret = tmp_path / "a.png", tmp_path / "b.png"
    picture.write_bytes(encode(np.zeros((2, 2, 3), np.uint8)))
    secret.write_text("no picture")
    asked = "/api/models/picture?kind=loras&name=a.safetensors"
    for path, status in ((picture, 200), (secret, 404), (tmp_path, 404), ("", 404)):
        served.runner.answers["model_picture"] = {"path": str(path)}
        answer = await served.client.get(asked)
        assert (answer.status, answer.content_type) == (status, "image/png" if status == 200 else "application/json")
    await served.json("GET", "/api/models/picture?kind=loras", status=400)


async def test_words_come_from_the_tokenizer_of_the_weights_that_are_named(served: Served) -> None:
    asked = {"kind": "checkpoints", "name": "a.safetensors", "text": "boat"}
    assert await served.json("POST", "/api/tokens", json=asked) == TOKENS
    assert served.runner.asked[-1][0] == "tokens"
    await served.json("POST", "/api/tokens", status=400, json={"text": "boat"})


def test_uploads_are_the_only_exception() -> None:
    assert {"/api/files", "/api/import"} == UPLOAD_PATHS


def _is_error(plain: Any) -> bool:
    return plain.keys() == {"error"} and plain["error"].keys() == {"code", "message", "problems"}
