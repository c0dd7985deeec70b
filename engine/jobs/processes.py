"""Which processes live, whose data folder this is, and what dead ones left behind."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import sys
from contextlib import suppress
from pathlib import Path

from engine.errors import Conflict

LEFTOVER = re.compile(r"\.tmp-(\d+)")


def owner_name(device: str, pid: int) -> str:
    """Name a worker so that a later process with its number is told apart: device, pid, start time."""
    return f"{device}/{pid}/{_start_time(pid)}"


def pid_of(owner: str) -> int:
    """Return the process number in an owner's name."""
    return int(owner.split("/")[1])


def is_alive(owner: str) -> bool:
    """Say whether the worker of this name may still run (where that cannot be told, it may)."""
    pid = pid_of(owner)
    return _exists(pid) and owner.endswith(f"/{_start_time(pid)}") and _stat(pid)[0] not in "ZX"


def _start_time(pid: int) -> str:
    return _stat(pid)[19]  # in clock ticks since boot


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/<pid>/stat from the process state on; unknown ones on systems without it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ["?"] * 20
    return stat.rpartition(")")[2].split()


def _exists(pid: int) -> bool:
    if sys.platform == "win32":  # signal 0 would end the process there
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def kill(pid: int) -> None:
    """End a worker and the processes it started, at once."""
    with suppress(ProcessLookupError):
        if sys.platform == "win32":
            os.kill(pid, signal.SIGTERM)
        else:
            os.killpg(pid, signal.SIGKILL)  # a worker leads its own group


def sweep(folder: Path) -> int:
    """Remove the half-written files (`*.tmp-<pid>`) of dead processes and return how many there were."""
    found = [(path, LEFTOVER.search(path.name)) for path in folder.rglob("*.tmp-*")]
    dead = [path for path, match in found if match and not _exists(int(match[1]))]
    for path in dead:
        path.unlink(missing_ok=True)
    return len(dead)


class FolderLock:
    """Keeps a second server off the same data folder. The system frees it when the process ends, however it ends."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(folder / "server.lock", timeout=1, isolation_level=None, check_same_thread=False)
        try:
            self._db.execute("BEGIN EXCLUSIVE")  # SQLite's file lock is the portable one at hand
        except sqlite3.OperationalError as error:
            self._db.close()
            raise Conflict("Another server uses this data folder. Stop it, or choose another --data-dir.") from error

    def release(self) -> None:
        """Let another server have the folder."""
        self._db.close()
