"""ComfyUI's HTTP and WebSocket dialect on the application, with a worker that does what the test says."""

from __future__ import annotations

import io
import json
import re
import struct
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientWebSocketResponse, FormData, WSMsgType
from aiohttp.test_utils import TestClient, TestServer
from PIL import Image

from engine.compat import dialect_table, requests
from engine.events import RunFinished, RunStarted, StepCached, StepDone, StepFailed, StepSkipped
from engine.jobs.contract import Outcome
from engine.jobs.ledger import JobState
from tests.compat.v1_lab import V1Lab, node
from tests.web.fakes import CATALOGUE, TOKEN, Served, serving
from web import compat
from web.app import make_comfyui_app

PROMPT = {"1": node("TestNumber", value=3), "2": node("TestShow", value=["1", 0])}


class Engine:
    """As much of a worker's engine as the requests need."""

    def __init__(self, lab: V1Lab) -> None:
        self.registry, self.files, self.models, self.library = lab.registry, lab.files, self, self

    def kinds(self) -> list[str]:
        return ["checkpoints", "embeddings"]

    def metadata(self, kind: str, name: str) -> dict[str, str]:
        return {kind: name}

    def names(self, kind: str) -> list[str]:
        return ["word.safetensors"] if kind == "embeddings" else []


@pytest.fixture
async def served(lab: V1Lab, tmp_path: Path) -> AsyncIterator[Served]:
    engine = Engine(lab)
    answers = {"comfyui_check": requests.check, "comfyui_info": requests.info, "comfyui_metadata": requests.metadata}

    def request(name: str, payload: Any = None) -> Future[Any]:
        reply: Future[Any] = Future()
        if name in answers:
            reply.set_result(json.loads(json.dumps(answers[name](engine, payload or {}))))
        else:
            reply.set_result(requests.models(engine) if name == "comfyui_models" else CATALOGUE)
        return reply

    async with serving(tmp_path / "served", kept=CATALOGUE) as found:
        found.runner.request = request  # type: ignore[method-assign]
        async with TestClient(TestServer(make_comfyui_app(found.parts))) as client:
            found.client = client
            yield found


async def post(served: Served, path: str, body: Any, *, status: int = 200) -> Any:
    async with served.client.post(path, json=body) as answer:
        text = await answer.text()
        assert answer.status == status, text
        return json.loads(text) if text else None


@asynccontextmanager
async def listening(served: Served, client: str) -> AsyncIterator[ClientWebSocketResponse]:
    async with served.client.ws_connect(f"/ws?clientId={client}") as ws:
        first = await ws.receive_json(timeout=10)
        assert first["data"]["sid"] == client
        yield ws


async def until(ws: ClientWebSocketResponse, is_last: Callable[[Any], bool]) -> list[Any]:
    """Return messages up to the one wanted; binary ones as bytes."""
    found: list[Any] = []
    while not found or not is_last(found[-1]):
        message = await ws.receive(timeout=10)
        found.append(message.data if message.type is WSMsgType.BINARY else json.loads(message.data))
    return found


async def until_end(ws: ClientWebSocketResponse) -> list[Any]:
    """Return messages until the prompt has ended."""
    return await until(ws, lambda m: isinstance(m, dict) and m["type"] == "executing" and m["data"]["node"] is None)


@pytest.mark.parametrize("api", ["", "/api"])
async def test_a_prompt_from_post_to_history(served: Served, api: str) -> None:
    async with listening(served, "me") as ws:
        await ws.send_json({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
        body = {"prompt": PROMPT, "client_id": "me", "extra_data": {"extra_pnginfo": {"workflow": {"id": "w"}}}}
        queued = await post(served, f"{api}/prompt", body)
        assert queued["node_errors"] == {}
        name = queued["prompt_id"]
        pending = (await (await served.client.get(f"{api}/queue")).json())["queue_pending"]
        assert [(item[1], item[2], item[4]) for item in pending] == [(name, PROMPT, ["2"])]
        attempt = served.runner.start()
        ui = ({"ui": "text", "text": "3", "files": [], "extra": {"text": ["3"]}},)
        served.runner.append(attempt, RunStarted(2), StepCached("1", "TestNumber", "k"))
        told = await until(ws, lambda m: isinstance(m, dict) and m["data"].get("nodes") == ["1"])
        served.runner.tell({"kind": "step_started", "job": name, "node": "2", "type": "TestShow", "why": "first run"})
        served.runner.tell({"kind": "step_progress", "job": name, "node": "2", "done": 1, "total": 2})
        served.runner.tell({"kind": "step_preview", "job": name, "node": "2", "media": "image/jpeg"}, b"\xff\xd8")
        told += await until(ws, lambda m: isinstance(m, bytes))
        served.runner.append(attempt, StepDone("2", "TestShow", "k", 0.1, "", {}, ui))
        served.runner.append(attempt, RunFinished("done", 1.0, 1, 1, 0))
        served.runner.finish(attempt)
        told += await until_end(ws)
    kinds = [m["type"] for m in told if not isinstance(m, bytes)]
    assert kinds[0] == "feature_flags"
    order = [k for k in kinds if k not in ("status", "progress_state", "feature_flags")]
    ended = ["executed", "execution_success", "executing"]
    assert order[:3] == ["execution_start", "execution_cached", "execution_cached"]
    assert order[-3:] == ended
    executed = next(m for m in told if not isinstance(m, bytes) and m["type"] == "executed")
    assert executed["data"] == {"node": "2", "display_node": "2", "output": {"text": ["3"]}, "prompt_id": name}
    history = await (await served.client.get(f"{api}/history/{name}")).json()
    assert history[name]["outputs"] == {"2": {"text": ["3"]}}
    assert history[name]["status"]["status_str"] == "success"
    assert [m[0] for m in history[name]["status"]["messages"]] == [
        "execution_start",
        "execution_cached",
        "execution_success",
    ]
    item = await (await served.client.get(f"/jobs/{name}")).json()
    assert (item["status"], item["workflow_id"], item["outputs_count"]) == ("completed", "w", 1)


def test_previews_are_binary_with_metadata_for_those_who_take_it() -> None:
    from web.compat_socket import Client, preview

    plain = preview(Client("a"), "job", "5/0/0.1", "image/png", b"png")
    assert plain == struct.pack(">II", 1, 2) + b"png"
    rich = preview(Client("a", metadata=True), "job", "5/0/0.1", "image/jpeg", b"jpg")
    kind, length = struct.unpack(">II", rich[:8])
    head = json.loads(rich[8 : 8 + length])
    assert (kind, rich[8 + length :]) == (4, b"jpg")
    assert (head["node_id"], head["display_node_id"], head["parent_node_id"]) == ("5.0.0.1", "5", "5")
    assert (head["prompt_id"], head["image_type"]) == ("job", "image/jpeg")


async def test_a_failed_prompt_is_told_with_what_came_of_the_rest(served: Served) -> None:
    async with listening(served, "me") as ws:
        name = (await post(served, "/prompt", {"prompt": PROMPT, "client_id": "me"}))["prompt_id"]
        attempt = served.runner.start()
        problem = {"code": "node_failed", "message": "Show failed unexpectedly: ValueError: no", "node": "2"}
        skipped = StepSkipped("3", "TestAdd", "1", "not today")
        served.runner.append(attempt, StepDone("1", "TestNumber", "k", 0.1, ""), skipped)
        served.runner.append(attempt, StepFailed("2", "TestShow", (problem,)))
        served.runner.leases.finish(attempt, Outcome(JobState.FAILED, {}, (problem,)))
        served.runner.wake()
        told = [m for m in await until_end(ws) if m["type"] == "execution_error"]
    assert [m["data"]["exception_type"] for m in told] == ["ExecutionBlocked", "ValueError"]
    assert told[1]["data"]["exception_message"] == "no"
    assert (told[1]["data"]["node_id"], told[1]["data"]["node_type"]) == ("2", "TestShow")
    assert told[1]["data"]["executed"] == ["1"]
    status = (await (await served.client.get(f"/history/{name}")).json())[name]["status"]
    assert (status["status_str"], status["completed"]) == ("error", False)


async def test_refusals_have_their_shapes(served: Served) -> None:
    assert (await post(served, "/prompt", {}, status=400))["error"]["type"] == "no_prompt"
    bad = await post(served, "/prompt", {"prompt": {"1": node("TestShow")}}, status=400)
    assert bad["error"]["details"] == "Required input is missing: value"
    assert bad["node_errors"]["1"]["errors"][0]["extra_info"] == {"input_name": "value"}
    for body in (b"{", b"[]", b"\xff"):
        async with served.client.post("/prompt", data=body, headers={"Content-Type": "application/json"}) as answer:
            assert answer.status == 400
            assert "error" in await answer.json()


async def test_some_good_outputs_are_queued_with_the_errors_of_the_others(served: Served) -> None:
    prompt = {**PROMPT, "3": node("TestNumber", value=999), "4": node("TestShow", value=["3", 0])}
    answer = await post(served, "/prompt", {"prompt": prompt})
    assert list(answer["node_errors"]) == ["3"]
    assert served.parts.jobs.get(answer["prompt_id"]).wanted == ("2",)


async def test_order_in_the_queue(served: Served) -> None:
    async def queue(**more: Any) -> str:
        return str((await post(served, "/prompt", {"prompt": PROMPT, **more}))["prompt_id"])

    names = [
        await queue(),
        await queue(number=5),
        await queue(front=True),
        await queue(number=-1),
        await queue(front=True),
    ]
    waiting = [job.id for job in served.parts.jobs.queue().jobs]
    assert waiting == [names[4], names[3], names[2], names[0], names[1]]


async def test_an_id_that_a_client_chooses_is_kept_and_only_once(served: Served) -> None:
    body = {"prompt": PROMPT, "prompt_id": "6f9619ff-8b86-d011-b42d-00c04fc964ff"}
    assert (await post(served, "/prompt", body))["prompt_id"] == body["prompt_id"]
    await post(served, "/prompt", body, status=409)
    await post(served, "/prompt", {**body, "prompt_id": "a\nb"}, status=400)


async def test_queue_history_and_interruption(served: Served) -> None:
    names = [(await post(served, "/prompt", {"prompt": PROMPT}))["prompt_id"] for _ in range(3)]
    await post(served, "/queue", {"delete": [names[1]]})
    attempt = served.runner.start()
    await post(served, "/interrupt", {"prompt_id": names[2]})
    assert not served.parts.jobs.get(names[0]).stopping
    await post(served, "/interrupt", {})
    assert served.parts.jobs.get(names[0]).stopping
    served.runner.leases.finish(attempt, Outcome(JobState.CANCELLED))
    await post(served, "/queue", {"clear": True})
    history = await (await served.client.get("/history?max_items=5")).json()
    assert list(history) == [names[0]]
    assert history[names[0]]["status"]["messages"][-1][0] == "execution_interrupted"
    await post(served, "/history", {"delete": [names[0]]})
    assert await (await served.client.get("/history")).json() == {}
    assert await (await served.client.get("/history/nowhere")).json() == {}
    await post(served, "/history", {"delete": [1]}, status=400)


async def test_jobs_as_later_versions_list_them(served: Served) -> None:
    names = [(await post(served, "/prompt", {"prompt": PROMPT}))["prompt_id"] for _ in range(3)]
    page = await (await served.client.get("/api/jobs?status=pending&limit=2&sort_order=asc")).json()
    assert [job["id"] for job in page["jobs"]] == names[:2]
    assert page["pagination"] == {"offset": 0, "limit": 2, "total": 3, "has_more": True}
    assert (await served.client.get("/api/jobs?status=odd")).status == 400
    assert await post(served, f"/api/jobs/{names[0]}/cancel", {}) == {"cancelled": True}
    assert await post(served, f"/api/jobs/{names[0]}/cancel", {}) == {"cancelled": False}
    assert await post(served, "/api/jobs/cancel", {"job_ids": names}) == {"cancelled": names[1:]}
    assert (await served.client.get("/api/jobs/nowhere")).status == 404


# Files -------------------------------------------------------------------------------------------------------------


def picture(color: tuple[int, ...], mode: str = "RGB") -> bytes:
    out = io.BytesIO()
    Image.new(mode, (4, 4), color).save(out, "PNG")
    return out.getvalue()


async def upload(served: Served, data: bytes, path: str = "/upload/image", *, status: int = 200, **fields: str) -> Any:
    form = FormData(fields)
    form.add_field("image", data, filename=fields.pop("as_name", "cat.png"), content_type="image/png")
    async with served.client.post(path, data=form) as answer:
        assert answer.status == status, await answer.text()
        return await answer.json()


async def test_uploads_keep_what_is_there(served: Served) -> None:
    red, blue = picture((255, 0, 0)), picture((0, 0, 255))
    assert await upload(served, red) == {"name": "cat.png", "subfolder": "", "type": "input"}
    assert (await upload(served, red))["name"] == "cat.png"
    assert (await upload(served, blue))["name"] == "cat (1).png"
    assert (await upload(served, blue, overwrite="true"))["name"] == "cat.png"
    there = await upload(served, red, "/api/upload/image", subfolder="a/b", type="temp")
    assert there == {"name": "cat.png", "subfolder": "a/b", "type": "temp"}
    async with served.client.get("/view", params={"filename": "cat.png", "subfolder": "a/b", "type": "temp"}) as answer:
        assert await answer.read() == red
        assert answer.headers["Content-Type"] == "image/png"
    async with served.client.get("/view", params={"filename": "cat.png [input]"}) as answer:
        assert await answer.read() == blue


@pytest.mark.parametrize("fields", [{"subfolder": "../out"}, {"type": "secret"}, {"subfolder": "/etc/../.."}])
async def test_uploads_stay_in_their_folder(served: Served, fields: dict[str, str]) -> None:
    await upload(served, picture((1, 2, 3)), status=400, **fields)


async def test_a_mask_is_put_on_the_picture_it_was_painted_on(served: Served) -> None:
    await upload(served, picture((255, 0, 0)))
    ref = json.dumps({"filename": "cat.png", "type": "input"})
    mask = picture((9, 9, 9, 40), "RGBA")
    stored = await upload(served, mask, "/upload/mask", original_ref=ref, subfolder="painted")
    async with served.client.get("/view", params={"filename": stored["name"], **stored}) as answer:
        with Image.open(io.BytesIO(await answer.read())) as made:
            assert made.getpixel((0, 0)) == (255, 0, 0, 40)
    await upload(served, mask, "/upload/mask", status=400, original_ref="{}")


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({}, 404), ({"filename": "none.png"}, 404), ({"filename": "../x.png"}, 400), ({"filename": "/etc/passwd"}, 400),
        ({"filename": "x.png", "subfolder": "../.."}, 403), ({"filename": "x.png", "type": "home"}, 400),
    ],
)  # fmt: skip
async def test_view_answers_only_for_its_folders(served: Served, query: dict[str, str], status: int) -> None:
    async with served.client.get("/view", params=query) as answer:
        assert answer.status == status
        assert "error" in await answer.json()


async def test_view_of_a_channel_and_of_something_smaller(served: Served) -> None:
    await upload(served, picture((10, 20, 30, 40), "RGBA"))
    for query, mode, pixel in (({"channel": "rgb"}, "RGB", (10, 20, 30)), ({"channel": "a"}, "RGBA", (0, 0, 0, 40))):
        async with served.client.get("/view", params={"filename": "cat.png", "type": "input", **query}) as answer:
            with Image.open(io.BytesIO(await answer.read())) as made:
                assert (made.mode, made.getpixel((0, 0))) == (mode, pixel)
    params = {"filename": "cat.png", "type": "input", "preview": "jpeg;50", "channel": "rgb"}
    async with served.client.get("/view", params=params) as answer:
        assert answer.headers["Content-Type"] == "image/jpeg"


async def test_what_cannot_be_shown_is_only_downloaded(served: Served) -> None:
    (served.parts.settings.output_dir / "page.html").write_text("<script>alert(1)</script>")
    async with served.client.get("/view", params={"filename": "page.html"}) as answer:
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Content-Disposition"].startswith("attachment")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


# What there is -----------------------------------------------------------------------------------------------------


async def test_small_routes(served: Served) -> None:
    async def get(path: str) -> Any:
        async with served.client.get(path) as answer:
            assert answer.status == 200
            return await answer.json()

    assert await get("/embeddings") == ["word"]
    assert await get("/api/models") == ["checkpoints", "embeddings"]
    assert await get("/experiment/models") == [{"name": k, "folders": []} for k in ("checkpoints", "embeddings")]
    assert await get("/experiment/models/embeddings") == [{"name": "word.safetensors", "pathIndex": 0}]
    assert await get("/view_metadata/embeddings?filename=word.safetensors") == {"embeddings": "word.safetensors"}
    for path in ("/workflow_templates", "/i18n", "/global_subgraphs", "/node_replacements"):
        assert await get(path) == {}
    assert await get("/models/embeddings") == ["word.safetensors"]
    assert (await served.client.get("/models/nowhere")).status == 404
    assert (await get("/object_info/TestAdd"))["TestAdd"]["output_name"] == ["sum"]
    assert await get("/object_info/Nowhere") == {}
    assert {"KSampler", "TestAdd"} <= (await get("/object_info")).keys()
    assert (await get("/system_stats"))["system"]["comfyui_version"]
    assert (await get("/features"))["supports_preview_metadata"] is True
    assert await get("/prompt") == {"exec_info": {"queue_remaining": 0}}
    assert await post(served, "/free", {"unload_models": True}) is None


# The door ----------------------------------------------------------------------------------------------------------


async def test_a_page_of_another_site_may_not_post(served: Served) -> None:
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        async with served.client.post("/prompt", json={"prompt": PROMPT}, headers=headers) as answer:
            assert answer.status == 403
        form = FormData()
        form.add_field("image", b"x", filename="a.png")
        async with served.client.post("/upload/image", data=form, headers=headers) as answer:
            assert answer.status == 403


async def test_a_script_may_post_json_as_a_form_and_a_browser_may_not(served: Served) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    body = json.dumps({"prompt": PROMPT}).encode()
    async with served.client.post("/prompt", data=body, headers=form) as answer:
        assert answer.status == 200
    own = {**form, "Origin": str(served.client.make_url("/").origin())}
    async with served.client.post("/prompt", data=body, headers=own) as answer:
        assert answer.status == 415


async def test_our_own_port_asks_for_the_token_and_keeps_its_own_routes(tmp_path: Path) -> None:
    async with serving(tmp_path, kept=CATALOGUE) as found:
        bare = {"Authorization": ""}
        for path in ("/history", "/api/history", "/ws?clientId=x", "/view?filename=x"):
            async with found.client.get(path, headers=bare) as answer:
                assert answer.status == 401
        queue = await found.json("GET", "/api/queue")
        assert (queue["queue_running"], queue["paused"]) == ([], False)
        assert "jobs" in await found.json("GET", "/api/jobs")
        assert "cursor" in await found.json("GET", "/api/jobs"), "ours, not ComfyUI's"
        assert (await found.json("GET", "/history")) == {}
        async with found.client.ws_connect("/ws?clientId=me") as ws:
            assert (await ws.receive_json(timeout=10))["type"] == "status"
        async with found.client.ws_connect("/ws") as ws:
            assert (await ws.receive_json(timeout=10))["type"] == "hello"
        assert TOKEN


async def test_a_second_socket_of_a_client_takes_the_place_of_the_first(served: Served) -> None:
    async with listening(served, "me") as first, listening(served, "me") as second:
        assert (await first.receive(timeout=10)).type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED)
        name = (await post(served, "/prompt", {"prompt": PROMPT, "client_id": "me"}))["prompt_id"]
        attempt = served.runner.start()
        served.runner.finish(attempt)
        assert (await until_end(second))[-1]["data"]["prompt_id"] == name


async def test_a_client_that_comes_back_hears_what_it_missed(served: Served) -> None:
    await post(served, "/prompt", {"prompt": PROMPT, "client_id": "me"})
    attempt = served.runner.start()
    ui = ({"ui": "text", "text": "3", "files": []},)
    served.runner.append(attempt, StepDone("2", "TestShow", "k", 0.1, "", {}, ui))
    while served.parts.hub.seq < served.parts.jobs.last_seq():
        await served.json("GET", "/prompt")
    async with listening(served, "me") as ws:
        told = await until(ws, lambda m: m["type"] == "executed")
        served.runner.finish(attempt)
        told += await until_end(ws)
    kinds = [m["type"] for m in told if m["type"] not in ("status", "progress_state")]
    assert kinds == ["execution_start", "execution_cached", "executed", "execution_success", "executing"]


async def test_history_and_outputs_outlive_a_restart(lab: V1Lab, tmp_path: Path) -> None:
    folder = tmp_path / "twice"
    ui = ({"ui": "text", "text": "3", "files": [], "extra": {"text": ["3"]}},)
    async with serving(folder, kept=CATALOGUE) as first:
        rest = {"prompt": PROMPT, "extra_data": {}, "number": 4}
        job = first.parts.jobs.enqueue({"nodes": {}, "comfyui": rest}, wanted=["2"], client="me", id="an-id")
        attempt = first.runner.start()
        first.runner.append(attempt, StepDone("2", "TestShow", "k", 0.1, "", {}, ui))
        first.runner.finish(attempt)
    async with serving(folder, kept=CATALOGUE) as second:
        item = (await second.json("GET", f"/history/{job.id}"))[job.id]
    assert item["outputs"] == {"2": {"text": ["3"]}}
    assert item["prompt"] == [4, "an-id", PROMPT, {"client_id": "me"}, ["2"]]


async def test_packs_are_listed_and_trusted_through_the_api(tmp_path: Path) -> None:
    async with serving(tmp_path, kept=CATALOGUE) as found:
        place = tmp_path / "packs" / "some"
        place.mkdir(parents=True)
        (place / "__init__.py").write_text("NODE_CLASS_MAPPINGS = {}\n")
        object.__setattr__(found.parts.settings, "custom_nodes", (tmp_path / "packs",))
        (pack,) = (await found.json("GET", "/api/packs"))["packs"]
        assert (pack["name"], pack["trusted"]) == ("some", False)
        await found.json("POST", "/api/packs/some/trust", status=400, json={"digest": "0" * 64})
        (pack,) = (await found.json("POST", "/api/packs/some/trust", json={"digest": pack["digest"]}))["packs"]
        assert pack["trusted"]
        (pack,) = (await found.json("POST", "/api/packs/some/distrust"))["packs"]
        assert not pack["trusted"]
        await found.json("POST", "/api/packs/none/distrust", status=404)


def test_the_table_of_routes_is_what_is_served() -> None:
    served = {(method, re.sub(r"{\w+}", "{}", path.removeprefix("/api"))) for method, path, _ in compat.routes()}
    told = {
        (method, re.sub(r"{\w+}", "{}", path.removeprefix("/api")))
        for (method, path), state in ((tuple(name.split()), state) for name, state in dialect_table.ROUTES.items())
        if not state.startswith("missing")
    }
    assert told == served
    states = {state.partition(":")[0] for table in dialect_table.TABLES.values() for state in table.values()}
    assert states == {"works", "partial", "missing"}
