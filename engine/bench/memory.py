"""What Stable Diffusion 1.5 takes: in a budget smaller than itself, three checkpoints in one and a half, and loading.

Every task runs in a process of its own; its peak is read from outside, over what it had when all was imported: all of
its memory, that of mapped files included.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

from engine.diffusion.bench import FILE
from engine.jobs.execute import STORE_SHARE
from engine.settings import ROOT

BUDGET = 1_200_000_000  # what a user gives as --budget
NETWORKS = BUDGET - BUDGET // STORE_SHARE
HALF_MORE = 2_600_000_000  # one and a half U-Nets
LOOK_S = 0.005
SIDE, ROUNDS, AMPLE = 32, 2, 8 << 30


def run(scratch: str = "") -> dict[str, Any]:
    """Measure; see docs/memory.md."""
    from engine.diffusion.bench import random_sd  # torch

    root = Path(scratch or Path(tempfile.gettempdir()) / "sfumato-bench")
    random_sd.write_file(root / "checkpoints" / FILE)
    small = measured("picture", root, budget=NETWORKS, side=SIDE)
    ample = measured("picture", root, budget=AMPLE, side=SIDE)
    names = [FILE, *(another(root, number) for number in (1, 2))]
    return {
        "budget_mb": BUDGET / 1e6,
        "in_budget": small,
        "unlimited": ample,
        "slower": small["step_s"] / ample["step_s"],
        "three_in_one_and_a_half": measured("alternate", root, budget=HALF_MORE, files=names, rounds=ROUNDS),
        "load_ours": measured("load", root, whose="ours"),
        "load_diffusers": measured("load", root, whose="diffusers"),
    }


def another(root: Path, number: int) -> str:
    """Make a checkpoint that differs in its last byte, and so in its digest."""
    name = f"sd15-random-{number}.safetensors"
    path = root / "checkpoints" / name
    if not path.exists():
        shutil.copyfile(root / "checkpoints" / FILE, path)
        with path.open("r+b") as file:
            file.seek(-2, os.SEEK_END)
            file.write(bytes([number, 0]))
    return name


def measured(task: str, root: Path, **options: Any) -> dict[str, Any]:
    """Do a task in a process; add its peak over idle in MB."""
    plain = json.dumps({"task": task, "root": str(root), **options})
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-W", "ignore", "-m", "engine.diffusion.bench.memory_child", plain]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        if process.stdout.readline().strip() != "idle":
            raise RuntimeError(f"the process for {task} did not start")
        idle = _status(process.pid, "VmRSS")
        with watched(process.pid) as peaks:
            process.stdin.write("\n")
            process.stdin.flush()
            line = process.stdout.readline()  # then it waits for its input to end
    if not line:
        raise RuntimeError(f"the process for {task} ended with {process.returncode}")
    return {**json.loads(line), "peak_over_idle_mb": (max(peaks) - idle) / 1e6}


@contextmanager
def watched(process: int) -> Iterator[list[int]]:
    """Give the peaks of a process, read again and again: it sets its own back when it measures what work takes."""
    peaks, over = [_status(process, "VmHWM")], Event()

    def look() -> None:
        while not over.wait(LOOK_S):
            peaks.append(_status(process, "VmHWM"))

    thread = Thread(target=look, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        over.set()
        thread.join()
        peaks.append(_status(process, "VmHWM"))


def _status(process: int, name: str) -> int:
    status = Path(f"/proc/{process}/status")
    found = re.search(rf"^{name}:\s+(\d+) kB", status.read_text(), re.MULTILINE) if status.exists() else None
    return int(found[1]) * 1024 if found else 0
