"""Makes `.venv` with the pinned requirements and starts the program again inside it. Standard library only.

A stamp in `.venv` holds the hash of the requirements, so that a later start costs one small read. An install that was
interrupted goes on where it stopped; a second process waits for the first.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
import queue
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
import venv
from collections.abc import Iterator
from pathlib import Path

from engine.cli.screen import Screen

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".venv"
MIN_PYTHON = (3, 11)
REQUIREMENTS = {"run": "requirements.txt", "test": "requirements-test.txt"}
LOCK = "sfumato-install.lock"
WAIT_SECONDS = 3600.0
TICK_SECONDS = 0.5
PACKAGE = re.compile(r"\s*(?:(?:Collecting|Requirement already satisfied:) ([\w.-]+)|Processing \S*?([\w.]+)-\d)")
CANNOT_INSTALL = 4  # exit code


class InstallFailed(Exception):
    """The environment could not be made; the message is for people."""


def ensure(kind: str = "run") -> None:
    """Return if this interpreter has the pinned packages, else make `.venv` with them and start again there.

    `kind` is `run` or `test`. `SFUMATO_NO_BOOTSTRAP=1` takes the present environment as it is.
    """
    if os.environ.get("SFUMATO_NO_BOOTSTRAP", "") not in ("", "0"):
        return
    inside = Path(sys.prefix).resolve() == HOME.resolve()
    if is_stamped(kind):
        if not inside:
            restart()
        return
    if satisfied(pins(kind)):
        if inside:
            stamp(kind)
        return
    try:
        install(kind, Screen())
    except InstallFailed as problem:
        print(problem, file=sys.stderr)
        raise SystemExit(CANNOT_INSTALL) from problem
    restart()


def check_python() -> None:
    """End the program with a sentence if this Python is too old for it."""
    if sys.version_info < MIN_PYTHON:
        have, need = (".".join(map(str, v[:2])) for v in (sys.version_info, MIN_PYTHON))
        print(f"Sfumato needs Python {need} or newer; this is {have} ({sys.executable}).", file=sys.stderr)
        raise SystemExit(CANNOT_INSTALL)


def restart() -> None:
    """Run the same command line with the interpreter of `.venv`; does not return."""
    command = [str(python()), *sys.argv]
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name == "posix":
        os.execv(command[0], command)
    with contextlib.suppress(KeyboardInterrupt):
        raise SystemExit(subprocess.call(command))
    raise SystemExit(130)


def python() -> Path:
    """Return where the interpreter of `.venv` lies."""
    return HOME / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


# What is there ---------------------------------------------------------------------------------------------------


def pins(kind: str) -> dict[str, str]:
    """Return package name -> pinned version, files named by `-r` included."""
    return dict(_pins(ROOT / REQUIREMENTS[kind]))


def _pins(path: Path) -> Iterator[tuple[str, str]]:
    for line in path.read_text("utf-8").splitlines():
        text = line.partition("#")[0].strip()
        if text.startswith("-r "):
            yield from _pins(path.parent / text[3:].strip())
        elif text:
            name, _, version = text.partition(";")[0].partition("==")
            yield name.strip(), version.strip()


def satisfied(wanted: dict[str, str]) -> bool:
    """Say whether this interpreter has every package in the wanted version; a local part (`+cpu`) is ignored."""
    try:
        return all(importlib.metadata.version(n).partition("+")[0] == v for n, v in wanted.items())
    except importlib.metadata.PackageNotFoundError:
        return False


def fingerprint(kind: str) -> str:
    """Return the hash of the pins."""
    return hashlib.sha256(repr(sorted(pins(kind).items())).encode()).hexdigest()


def is_stamped(kind: str) -> bool:
    """Say whether `.venv` holds a finished install of these requirements."""
    with contextlib.suppress(OSError):
        return _stamp(kind).read_text("utf-8") == fingerprint(kind) and python().exists()
    return False


def stamp(kind: str) -> None:
    """Note that `.venv` now holds these requirements; those of `test` include those of `run`."""
    for each in {kind, "run"}:
        _stamp(each).write_text(fingerprint(each), "utf-8")


def _stamp(kind: str) -> Path:
    return HOME / f"sfumato-{kind}.stamp"


# Installing -------------------------------------------------------------------------------------------------------


def install(kind: str, screen: Screen) -> None:
    """Make `.venv` and install the requirements into it; InstallFailed says why it could not be done."""
    started = time.monotonic()
    with locked(screen):
        if is_stamped(kind):
            return
        screen.line(f"Installing Sfumato's packages into {HOME} (once; needs the network)")
        make_environment(screen)
        forget_unfinished()
        run_pip(kind, screen)
        stamp(kind)
    screen.line(f"Installed in {time.monotonic() - started:.0f} s")


@contextlib.contextmanager
def locked(screen: Screen) -> Iterator[None]:
    """Hold the install lock. SQLite's file lock works on every system and ends with its process."""
    HOME.mkdir(exist_ok=True)
    with contextlib.closing(sqlite3.connect(HOME / LOCK, timeout=0, isolation_level=None)) as lock:
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            screen.line("Another process is installing; waiting for it")
            lock.execute(f"PRAGMA busy_timeout = {WAIT_SECONDS * 1000:.0f}")
            lock.execute("BEGIN EXCLUSIVE")
        yield


def make_environment(screen: Screen) -> None:
    """Create `.venv`, or create it again if its pip does not start."""
    if python().exists() and _quiet([str(python()), "-m", "pip", "--version"]) == 0:
        return
    for child in HOME.iterdir():
        if not child.name.startswith(LOCK):
            shutil.rmtree(child) if child.is_dir() and not child.is_symlink() else child.unlink()
    screen.line("Making the virtual environment")
    try:
        venv.EnvBuilder(with_pip=True, symlinks=os.name != "nt").create(HOME)
    except subprocess.CalledProcessError as problem:
        raise InstallFailed(
            "Python's venv module could not install pip. On Debian and Ubuntu: apt install python3-venv; then again."
        ) from problem


def forget_unfinished() -> None:
    """Remove the records of packages whose copying was cut short, so that pip installs them again.

    pip writes INSTALLER after a package's files, and RECORD, which lists it, last.
    """
    for record in site_packages().glob("*.dist-info"):
        listed = record / "RECORD"
        if not listed.is_file() or f"{record.name}/INSTALLER" not in listed.read_text("utf-8"):
            shutil.rmtree(record)


def site_packages() -> Path:
    """Return where `.venv` keeps its packages; its Python may be another version than this one."""
    return next(HOME.glob("Lib/site-packages" if os.name == "nt" else "lib/python*/site-packages"))


def run_pip(kind: str, screen: Screen) -> None:
    """Install the pins with pip, its output condensed to one line per package."""
    wanted = pins(kind)
    command = [
        str(python()), "-m", "pip", "install", "--progress-bar", "off", "--disable-pip-version-check", "--no-color",
        "--no-input", "-r", str(ROOT / REQUIREMENTS[kind]),
    ]  # fmt: skip
    said: list[str] = []
    progress = Progress(wanted)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as pip:
        try:
            for line in _lines(pip):
                said += [line] if line and not line.startswith("WARNING") else []
                screen.update(*progress.read(line, len(list(site_packages().glob("*.dist-info")))))
        except KeyboardInterrupt:
            pip.terminate()
            screen.line("Stopped. The same command goes on from here.")
            raise SystemExit(130) from None
    screen.update("", "")
    if pip.returncode:
        tail = "\n".join(f"  {line}" for line in said[-15:])
        raise InstallFailed(f"pip could not install the packages; its last words:\n{tail}\nTry the command again.")


def _lines(process: subprocess.Popen[str]) -> Iterator[str]:
    """Yield a process's lines, and an empty one whenever nothing came for a moment."""
    lines: queue.Queue[str | None] = queue.Queue()
    output = process.stdout
    assert output is not None

    def read() -> None:
        for line in output:
            lines.put(line.rstrip())
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=TICK_SECONDS)
        except queue.Empty:
            line = ""
        if line is None:
            return
        yield line


class Progress:
    """Reads what pip prints and says how far it is."""

    def __init__(self, wanted: dict[str, str]) -> None:
        self._wanted = wanted
        self._seen = 0
        self._installing = False
        self._last = ""
        self._started = time.monotonic()

    def read(self, line: str, installed: int) -> tuple[str, str]:
        """Return (a lasting line or "", a passing line); `installed` packages are in place by now."""
        lasting = ""
        total = len(self._wanted)
        if found := PACKAGE.match(line):
            name = (found[1] or found[2]).replace("_", "-").lower()
            self._seen = min(self._seen + 1, total)
            self._last = f"{name} {self._wanted.get(name, '')}".strip()
            lasting = f"  [{self._seen}/{total}] {self._last}"
        elif size := re.match(r"\s*Downloading \S+ \((.+)\)", line):
            self._last = f"{self._last.partition(',')[0]}, downloading {size[1]}"
        elif line.startswith("Installing collected packages"):
            self._installing, lasting = True, "  unpacking"
        spent = f"{time.monotonic() - self._started:.0f} s"
        if self._installing:
            return lasting, f"  unpacked {min(installed, total)} of {total} packages, {spent}"
        return lasting, f"  [{self._seen}/{total}] {self._last}, {spent}"


def _quiet(command: list[str]) -> int:
    return subprocess.call(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
