"""ComfyUI as people run it: its own server, with its defaults on a CPU, asked over HTTP for the same picture."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from engine.diffusion.bench import NEGATIVE, SCALE
from engine.errors import NotFound, Unavailable

PORT = 8199
PATIENCE_S = 300.0
PAUSE_S = 0.02
ENVIRONMENTS = ("venv", ".venv")


class ComfyUI:
    """A server in the checkout `path`, with the models of `root`; it ends with the block."""

    def __init__(self, path: Path, root: Path) -> None:
        if not (path / "main.py").is_file():
            raise NotFound(f"There is no ComfyUI in {path}: give the folder that holds its main.py.")
        pythons = [path / name / "bin" / "python" for name in ENVIRONMENTS]
        python = next((p for p in pythons if p.exists()), Path(sys.executable))
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        paths = folder / "models.yaml"
        paths.write_text(json.dumps({"bench": {"base_path": str(root), "checkpoints": "checkpoints"}}))
        self._log = (folder / "log.txt").open("w+")
        command = [str(python), "main.py", "--cpu", "--port", str(PORT), "--disable-auto-launch",
                   "--extra-model-paths-config", str(paths), "--output-directory", str(folder / "out")]  # fmt: skip
        self._process = subprocess.Popen(command, cwd=path, stdout=self._log, stderr=subprocess.STDOUT)

    def __enter__(self) -> Self:
        self._wait(lambda: self._ask("/system_stats"))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.terminate()
        self._process.wait()
        self._log.close()
        self._folder.cleanup()

    def picture(self, file: str, steps: int, side: int, seed: int, prompt: str) -> Any:
        """Make one picture and wait until it is saved."""
        job = self._ask("/prompt", {"prompt": graph(file, steps, side, seed, prompt)})["prompt_id"]
        done = self._wait(lambda: self._ask(f"/history/{job}").get(job))
        if done["status"]["status_str"] != "success":
            raise Unavailable(f"ComfyUI failed: {json.dumps(done['status'])[:500]}")
        return done

    def _wait(self, ask: Any) -> Any:
        began = time.monotonic()
        while time.monotonic() - began < PATIENCE_S and self._process.poll() is None:
            try:
                if answer := ask():
                    return answer
            except urllib.error.URLError:
                pass  # not listening yet
            time.sleep(PAUSE_S)
        self._log.seek(0)
        raise Unavailable(f"ComfyUI does not answer. It said: ...{self._log.read()[-800:]}")

    def _ask(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{PORT}{path}", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)


def graph(file: str, steps: int, side: int, seed: int, prompt: str) -> dict[str, Any]:
    """Return text to image in ComfyUI's prompt format."""
    nodes: dict[str, tuple[str, dict[str, Any]]] = {
        "1": ("CheckpointLoaderSimple", {"ckpt_name": file}),
        "2": ("CLIPTextEncode", {"clip": ["1", 1], "text": prompt}),
        "3": ("CLIPTextEncode", {"clip": ["1", 1], "text": NEGATIVE}),
        "4": ("EmptyLatentImage", {"width": side, "height": side, "batch_size": 1}),
        "5": ("KSampler", {
            "model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0], "latent_image": ["4", 0], "seed": seed,
            "steps": steps, "cfg": SCALE, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0,
        }),
        "6": ("VAEDecode", {"samples": ["5", 0], "vae": ["1", 2]}),
        "7": ("SaveImage", {"images": ["6", 0], "filename_prefix": "bench"}),
    }  # fmt: skip
    return {key: {"class_type": kind, "inputs": inputs} for key, (kind, inputs) in nodes.items()}
