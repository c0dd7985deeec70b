"""How soon after the start of the process the server answers, and how soon its worker is ready for a job."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from engine.settings import ROOT

TOKEN = "bench-start-bench-start"
STARTS = 3
PATIENCE_S = 180.0
PAUSE_S = 0.01


@dataclass(frozen=True)
class Server:
    """A server under measurement, started at `began` on the monotonic clock."""

    process: subprocess.Popen[str]
    url: str
    began: float

    def get(self, path: str) -> Any:
        """Return an answer's JSON, or None while the server says that it is not ready."""
        return self._ask("GET", path)

    def post(self, path: str) -> Any:
        """Send a request without a body and return the answer's JSON."""
        return self._ask("POST", path)

    def _ask(self, method: str, path: str) -> Any:
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {TOKEN}"}, method=method)
        try:
            with urllib.request.urlopen(request) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                if error.code != 503:
                    raise
        return None

    def seconds_until(self, done: Callable[[], bool]) -> float:
        """Return how long after the start `done` came true."""
        while not done():
            if time.monotonic() - self.began > PATIENCE_S:
                raise TimeoutError(f"the server was not ready after {PATIENCE_S:.0f} s")
            time.sleep(PAUSE_S)
        return time.monotonic() - self.began

    def has_catalogue(self) -> bool:
        """Say whether the node types are there."""
        return self.get("/api/nodes") is not None

    def has_worker(self) -> bool:
        """Say whether a job would run at once."""
        return any(worker["state"] == "ready" for worker in self.get("/api/system")["workers"])

    def cpu_seconds(self) -> float | None:
        """Return the processor time spent so far: what `catalogue_s` would be on an idle machine."""
        stat = Path(f"/proc/{self.process.pid}/stat")
        ticks = stat.read_text().rpartition(")")[2].split()[11:13] if stat.exists() else None  # utime, stime
        return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK") if ticks else None

    def peak_bytes(self) -> int | None:
        """Return the largest memory the process had, where the system tells."""
        status = Path(f"/proc/{self.process.pid}/status")
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
        return int(found[1]) * 1024 if found else None


def run() -> dict[str, Any]:
    """Start on an empty data folder, then again on the same one; the second start has the catalogue on the disk."""
    with tempfile.TemporaryDirectory() as folder:
        with started(Path(folder)) as server:
            first = server.seconds_until(server.has_catalogue)
            server.seconds_until(server.has_worker)
        catalogue, spent, worker, peaks = [], [], [], []
        for _ in range(STARTS):
            with started(Path(folder)) as server:
                catalogue.append(server.seconds_until(server.has_catalogue))
                spent.append(server.cpu_seconds() or 0)
                worker.append(server.seconds_until(server.has_worker))
                peaks.append(server.peak_bytes())
    return {
        "catalogue_s": median(catalogue),
        "catalogue_cpu_s": median(spent),
        "worker_ready_s": median(worker),
        "first_catalogue_s": first,
        "api_peak_mb": max((peak or 0) / 1e6 for peak in peaks),
        "starts": STARTS,
    }


@contextmanager
def started(folder: Path) -> Iterator[Server]:
    """Run `main.py serve` as people do, in the present environment, and stop it at the end."""
    command = [sys.executable, "main.py", "serve", "--port", "0", "--token", TOKEN]
    command += ["--data-dir", str(folder / "data"), "--output-dir", str(folder / "output")]
    began = time.monotonic()
    environment = {**os.environ, "SFUMATO_NO_BOOTSTRAP": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            yield Server(process, _address(line), began)
        finally:
            process.terminate()


def _address(line: str) -> str:
    found = re.search(r"http://[^/\s]+", line)
    if found is None:
        raise RuntimeError(f"the server said {line!r} in place of its address")
    return found[0]
