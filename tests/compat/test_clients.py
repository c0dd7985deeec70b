"""Other people's clients, unmodified, drive a job to its picture. Each is installed into a scratch environment first.

Without network, or a package index that has them, these tests are skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.compat import packs
from engine.settings import ROOT, Settings
from tests.compat.v1_lab import PACKS, node

pytestmark = pytest.mark.slow

PROMPT = {
    "1": {**node("TestImage", grey=0.35), "_meta": {"title": "Grey"}},
    "2": {**node("SaveImage", images=["1", 0], filename_prefix="client"), "_meta": {"title": "Save"}},
}
SIMPLIFIED = """
import sys
from comfy_api_simplified import ComfyApiWrapper, ComfyWorkflowWrapper

api = ComfyApiWrapper(sys.argv[1] + "/")
workflow = ComfyWorkflowWrapper(sys.argv[2])
workflow.set_node_param("Grey", "grey", 0.7)
print(api.upload_image(sys.argv[3], subfolder="mine"))
for name, data in api.queue_and_wait_images(workflow, "Save").items():
    print(name, data[:8] == b"\\x89PNG\\r\\n\\x1a\\n")
"""
UTILS = """
import asyncio, json, sys
from comfyui_utils.comfy import Callbacks, ComfyAPI

class Told(Callbacks):
    async def queue_position(self, position): print("position", position)
    async def in_progress(self, node_id, progress, total): pass
    async def completed(self, outputs, cached): print("outputs", json.dumps(outputs))

async def main():
    api = ComfyAPI(sys.argv[1].removeprefix("http://"))
    prompt = json.load(open(sys.argv[2]))
    prompt["1"]["inputs"]["grey"] = 0.9
    await api.submit(prompt, Told())

asyncio.run(main())
"""


@dataclass
class Server:
    url: str
    port: int
    folder: Path

    @property
    def prompt(self) -> Path:
        return self.folder / "prompt.json"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("clients")
    shutil.copytree(PACKS / "semantics", folder / "packs" / "semantics")
    settings = Settings(data_dir=folder / "data", output_dir=folder / "out", custom_nodes=(folder / "packs",))
    packs.trust(settings, "semantics")
    (folder / "prompt.json").write_text(json.dumps(PROMPT))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    names = {"DATA_DIR": settings.data_dir, "OUTPUT_DIR": settings.output_dir, "CUSTOM_NODES": folder / "packs"}
    env = {**os.environ, "SFUMATO_NO_BOOTSTRAP": "1", **{f"SFUMATO_{k}": str(v) for k, v in names.items()}}
    command = [sys.executable, "main.py", "serve", "--port", "0", "--comfyui-port", str(port)]
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait(f"http://127.0.0.1:{port}/object_info/TestImage")
            yield Server(f"http://127.0.0.1:{port}", port, folder)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


def _wait(url: str) -> None:
    for _ in range(120):
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                if b"TestImage" in answer.read():
                    return
        except OSError:
            time.sleep(0.5)
    raise AssertionError("the server did not start")


def environment(folder: Path, *requirements: str) -> Path:
    """Return the folder of programs of an environment with these packages; skip if they cannot be had."""
    place = folder / "venv"
    venv.create(place, with_pip=True)
    install = [str(place / "bin" / "python"), "-m", "pip", "install", "-q", *requirements]
    done = subprocess.run(install, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        pytest.skip(f"{requirements} cannot be installed here: {done.stderr.strip()[-200:]}")
    return place / "bin"


def run(folder: Path, *command: object) -> str:
    env = {**os.environ, "HOME": str(folder), "NO_COLOR": "1"}
    done = subprocess.run(
        [str(c) for c in command], env=env, capture_output=True, text=True, check=False, timeout=120, cwd=folder
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_comfy_cli(server: Server, tmp_path: Path) -> None:
    bin = environment(tmp_path, "comfy-cli==1.23.0")
    where = ("--wait", "--host", "127.0.0.1", "--port", server.port)
    out = run(tmp_path, bin / "comfy", "--skip-prompt", "run", "--workflow", server.prompt, *where)
    assert "/view?filename=client_" in out


def test_comfy_api_simplified(server: Server, tmp_path: Path) -> None:
    bin = environment(tmp_path, "comfy-api-simplified==1.6.0")
    picture = ROOT / "docs" / "picture.png"
    out = run(tmp_path, bin / "python", "-c", SIMPLIFIED, server.url, server.prompt, picture).splitlines()
    assert out[0] == "{'name': 'picture.png', 'subfolder': 'mine', 'type': 'input'}"
    assert out[1].endswith(".png True")


def test_comfyui_utils(server: Server, tmp_path: Path) -> None:
    bin = environment(tmp_path, "comfyui-utils==0.0.1")
    out = run(tmp_path, bin / "python", "-c", UTILS, server.url, server.prompt)
    assert '"images": [{"filename": "client_' in out
