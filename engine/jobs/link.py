"""One worker process as the server holds it: started, listened to, restarted, ended."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import asdict
from itertools import count
from pathlib import Path
from threading import Event as Flag
from threading import RLock, Thread
from typing import Any, BinaryIO, cast

from engine.errors import Problem, SfumatoError, Unavailable
from engine.jobs.contract import Frame, JsonObject, LeaseStore, WorkerOptions, WorkerState
from engine.jobs.frames import FrameWriter, read_frame
from engine.jobs.processes import kill, owner_name

ROOT = Path(__file__).resolve().parents[2]
BACKOFF_S = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # after so many starts in a row that did not get ready
LOG_TAIL = 2000  # bytes of the worker's log that are kept as evidence
SECRET = re.compile("TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_?KEY")
SERVER_STOPPED = "the server stopped"


class RequestFailed(SfumatoError):
    """What a worker answered instead of a result: its own problems and status."""

    def __init__(self, problems: tuple[Problem, ...], status: int) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.code = problems[0].code
        self.status = status
        self._problems = problems

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All that is wrong."""
        return self._problems


class WorkerLink:
    """Keeps one worker process running: hands its frames to `on_frame`, reports its death to the ledger."""

    def __init__(self, options: WorkerOptions, leases: LeaseStore, on_frame: Callable[[Frame], None]) -> None:
        self.state = WorkerState(options.device, "starting")
        self._options = options
        self._leases = leases
        self._on_frame = on_frame
        self._lock = RLock()
        self._closing = Flag()
        self._writer: FrameWriter | None = None  # None while there is no process
        self._replies: dict[int, Future[JsonObject]] = {}
        self._unsent: list[JsonObject] = []
        self._ids = count()
        self._killed_for = ""
        self._ready = False
        self._node: str | None = None
        self._thread = Thread(target=self._keep, name=f"worker {options.device}", daemon=True)

    @property
    def owner(self) -> str | None:
        """The name under which the process holds its lease."""
        pid = self.state.pid
        return owner_name(self._options.device, pid) if pid else None

    def start(self) -> None:
        """Start the process and keep it running."""
        self._thread.start()

    def wake(self) -> None:
        """Have an idle worker look at the queue; a busy one looks when it is done."""
        with self._lock:
            if self._writer and self.state.state == "ready":
                self._writer.send({"kind": "wake"})

    def request(self, name: str, payload: JsonObject) -> Future[JsonObject]:
        """Ask the worker; while it starts, the request waits for it."""
        reply: Future[JsonObject] = Future()
        with self._lock:
            number = next(self._ids)
            head = {"kind": "request", "id": number, "name": name, "payload": payload}
            self._replies[number] = reply
            if self._writer:
                self._writer.send(head)
            else:
                self._unsent.append(head)
        return reply

    def kill(self, why: str) -> None:
        """End the process at once; another is started."""
        with self._lock:
            if self._writer and self.state.pid:
                self._killed_for = why
                kill(self.state.pid)

    def close(self, timeout_s: float = 3.0) -> None:
        """Let the process give its job back and end."""
        self._closing.set()
        with self._lock:
            if self._writer:
                self._writer.close()
        self._thread.join(timeout_s)
        self.kill(SERVER_STOPPED)
        self._thread.join()
        _refuse(self._replies, "The server stops.")

    def _keep(self) -> None:
        failures = 0
        while not self._closing.is_set():
            try:
                self._live()
            except (OSError, Unavailable) as error:  # no memory for a process, no room for its log
                self._show("down", why=str(error))
            failures = 0 if self._ready else failures + 1
            self._closing.wait(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])

    def _live(self) -> None:
        self._ready, self._node, self._killed_for = False, None, ""
        process = self._spawn()
        while frame := read_frame(cast(BinaryIO, process.stdout)):
            self._hear(frame)
        self._bury(process)

    def _spawn(self) -> subprocess.Popen[bytes]:
        options = self._options
        command = [sys.executable, "-m", "engine.jobs.worker", "--data-dir", str(options.data_dir.resolve())]
        command += ["--device", options.device, "--executor", options.executor]
        command += ["--settings", json.dumps(options.settings)]
        self._log.parent.mkdir(parents=True, exist_ok=True)
        pipe = subprocess.PIPE
        with self._lock, self._log.open("wb") as log:
            process = subprocess.Popen(
                command, cwd=ROOT, env=_clean(os.environ), stdin=pipe, stdout=pipe, stderr=log, start_new_session=True
            )
            self._writer = FrameWriter(cast(BinaryIO, process.stdin))
            for head in self._unsent:
                self._writer.send(head)
            self._unsent.clear()
            if self._closing.is_set():
                self._writer.close()
        self._show("starting", pid=process.pid)
        return process

    @property
    def _log(self) -> Path:
        return self._options.data_dir / "logs" / f"worker-{self._options.device.replace(':', '-')}.log"

    def _hear(self, frame: Frame) -> None:
        match frame.head["kind"]:
            case "ready" | "idle":
                self._ready, self._node = True, None
                self._show("ready", pid=self.state.pid)
            case "busy":
                self._show("busy", pid=self.state.pid, job=frame.head["job"])
            case "reply":
                self._settle(frame.head)
            case kind:
                self._node = frame.head["node"] if kind == "step_started" else self._node
                self._on_frame(frame)

    def _show(self, state: str, **known: Any) -> None:
        self.state = WorkerState(self._options.device, state, **known)  # type: ignore[arg-type]
        self._on_frame(Frame({"kind": "worker", **asdict(self.state)}))

    def _settle(self, head: JsonObject) -> None:
        with self._lock:
            reply = self._replies.pop(head["id"])
        if not reply.set_running_or_notify_cancel():
            return
        if "result" in head:
            reply.set_result(head["result"])
        else:
            problems = tuple(Problem(**problem) for problem in head["problems"])
            reply.set_exception(RequestFailed(problems, head["status"]))

    def _bury(self, process: subprocess.Popen[bytes]) -> None:
        """Tell everybody that the process has ended: the ledger, who waits for replies, who looks on."""
        owner = owner_name(self._options.device, process.pid)  # before `wait`: then its start time is gone
        with self._lock:  # from here on its number may become another's: no kill
            writer, self._writer = self._writer, None
            waiting, self._replies = self._replies, {}
        cast(FrameWriter, writer).close()
        cast(BinaryIO, process.stdout).close()
        code = process.wait()
        why = self._killed_for or _reason(code, self._log_tail())
        self._show("down", why=why)
        evidence = {"why": why, "exit": code, "node": self._node, "log": self._log_tail()}
        _refuse(waiting, f"The worker ended before it answered ({why}). Try again.")
        self._leases.lost(owner, evidence, blame=not self._closing.is_set())

    def _log_tail(self) -> str:
        with self._log.open("rb") as log:
            size = log.seek(0, 2)
            log.seek(max(0, size - LOG_TAIL))
            return log.read().decode(errors="replace")


def _refuse(replies: Mapping[int, Future[JsonObject]], message: str) -> None:
    for reply in replies.values():
        if reply.set_running_or_notify_cancel():
            reply.set_exception(Unavailable(message))


def _clean(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without secrets: nodes are other people's code."""
    return {name: value for name, value in env.items() if not SECRET.search(name.upper())}


def _reason(code: int, log: str) -> str:
    """Put an exit code into words; negative is the signal that ended the process."""
    if code >= 0:
        return f"it ended with exit code {code}: {(log.strip() or 'no word').splitlines()[-1]}"
    name = signal.Signals(-code).name
    return f"it was ended by {name}" + (", often for want of memory" if name == "SIGKILL" else "")
