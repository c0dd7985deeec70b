"""The whole server as a process: started, asked, stopped; and what it never imports."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import ClientSession, CookieJar

from engine.errors import Unavailable
from engine.settings import ROOT, Settings
from tests.web.fakes import BEARER, CATALOGUE, TOKEN, WORKFLOW
from web.guard import Guard
from web.serve import run, started

SERVE = """
import json, sys
from pathlib import Path
from engine import registry
from engine.jobs import contract
from engine.settings import Settings
from web import serve

serve.WorkerOptions = lambda folder, settings: contract.WorkerOptions(folder, executor="tests.web.executor:make")
folder = Path(sys.argv[1])
settings = Settings(port=0, token=sys.argv[2], data_dir=folder / "data", output_dir=folder / "out")
kept = {**json.loads(sys.argv[3]), "hash": registry.source_hash(settings)}
settings.data_dir.mkdir(exist_ok=True)
registry.catalogue_path(settings).write_text(json.dumps(kept))
serve.serve(settings)
print(json.dumps(sorted(sys.modules)))
"""


@dataclass
class Running:
    """A server process and the link it printed."""

    process: subprocess.Popen[str]
    link: str
    url: str

    def stop(self) -> list[str]:
        """Stop it and return the modules it had loaded."""
        self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=20)
        assert self.process.returncode == 0, err
        modules: list[str] = json.loads(out)
        return modules


@contextmanager
def running(folder: Path) -> Iterator[Running]:
    command = [sys.executable, "-c", SERVE, str(folder), TOKEN, json.dumps(CATALOGUE)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            link = re.search(r"http://\S+", process.stdout.readline())
            assert link, process.stderr and process.stderr.read()
            yield Running(process, link[0], link[0].partition("/?")[0])
        finally:
            process.kill()


async def test_a_job_through_the_real_server_and_worker(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        assert json.loads((tmp_path / "data" / "server.json").read_text())["url"] == server.url
        async with ClientSession(server.url, cookie_jar=CookieJar(unsafe=True)) as browser:
            async with browser.get(server.link) as page:  # the link a person opens
                assert page.status == 200
            own = {"Origin": server.url}
            async with browser.get("/api/nodes") as nodes:  # answered from the disk, whatever the worker does
                assert [node["id"] for node in (await nodes.json())["nodes"]] == ["number", "show"]
            async with browser.ws_connect("/ws", headers=own) as ws:
                seq = (await ws.receive_json(timeout=20))["seq"]
                await ws.send_json({"type": "subscribe", "since": seq})
                async with browser.post("/api/jobs", json={"workflow": WORKFLOW}, headers=own) as answer:
                    job = (await answer.json())["id"]
                kinds, frames, previews = [], [], 0
                async with asyncio.timeout(60):
                    while "job_done" not in kinds:
                        message = await ws.receive()
                        plain = json.loads(message.data) if isinstance(message.data, str) else {"type": "preview"}
                        kinds += [event["kind"] for event in plain.get("events", []) if event["job"] == job]
                        frames += [plain["frame"]["kind"]] if plain["type"] == "frame" else []
                        previews += plain["type"] == "preview"
            assert kinds == ["job_queued", "job_started", "run_started", "step_done", "run_finished", "job_done"]
            assert "step_progress" in frames
            assert previews > 0
            async with browser.get(f"/api/jobs/{job}/outputs") as answer:
                assert (await answer.json())["outputs"]["s"]["ui"][0]["text"] == "7"
        modules = server.stop()
    assert not (tmp_path / "data" / "server.json").exists()
    assert "aiohttp" in modules
    assert not [m for m in modules if m.split(".")[0] in {"torch", "diffusers", "transformers", "nodes", "cv2"}]


async def test_jobs_and_sessions_outlive_a_killed_server(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        async with ClientSession(server.url, headers=BEARER) as client:
            async with client.post("/api/queue/pause") as answer:
                assert answer.status == 200
            async with client.post("/api/jobs", json={"workflow": WORKFLOW}) as answer:
                job = (await answer.json())["id"]
        server.process.kill()
    with running(tmp_path) as server:
        async with ClientSession(server.url, headers=BEARER) as client:
            async with client.post("/api/queue/resume") as answer:
                assert answer.status == 200
            for _ in range(20):
                async with client.get(f"/api/jobs/{job}/events?since=0") as answer:
                    kinds = [event["kind"] for event in (await answer.json())["events"]]
                if "job_done" in kinds:
                    break
                async with client.get("/api/events?since=10000&wait=1"):
                    pass
        assert kinds[-1] == "job_done"
        server.stop()


async def test_a_taken_port_is_a_sentence(tmp_path: Path) -> None:
    holder = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = holder.sockets[0].getsockname()[1]
    settings = Settings(port=port, data_dir=tmp_path, output_dir=tmp_path)
    with started(settings, Guard.from_settings(settings)) as parts, pytest.raises(Unavailable, match="in use"):
        await run(parts)
    holder.close()
    await holder.wait_closed()
