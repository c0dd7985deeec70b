"""The server process: parts made, worker started, address printed, everything put away at the end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from aiohttp import web

from engine.documents import Documents
from engine.errors import Unavailable
from engine.files import FileStore
from engine.jobs.contract import WorkerOptions
from engine.jobs.database import open_ledger
from engine.jobs.embedded import Supervisor
from engine.jobs.leases import Leases
from engine.jobs.ledger import Ledger
from engine.registry import read_catalogue
from engine.settings import Settings
from web.app import make_app, make_comfyui_app
from web.catalogue import Catalogue
from web.doorbell import Doorbell
from web.guard import Guard, write_private
from web.hub import Hub
from web.parts import Parts

BACKLOG = 128
STOP_SECONDS = 5.0


def serve(settings: Settings) -> None:
    """Serve until interrupted; BadInput if that would leave the server open, Conflict if the folder is in use."""
    guard = Guard.from_settings(settings)
    folders = ("data_dir", "models_dir", "output_dir")  # the worker has another working directory
    settings = replace(settings, **{name: getattr(settings, name).resolve() for name in folders})
    if settings.extra_model_paths:
        settings = replace(settings, extra_model_paths=settings.extra_model_paths.resolve())
    with started(settings, guard) as parts, suppress(KeyboardInterrupt):
        asyncio.run(run(parts))


@contextmanager
def started(settings: Settings, guard: Guard) -> Iterator[Parts]:
    """Make the parts and start the worker; put all away when the block ends."""
    database = open_ledger(settings.data_dir)
    ledger, leases = Ledger(database), Leases(database)
    files, documents = FileStore(settings), Documents(settings.data_dir / "workflows.sqlite3")
    files.forget_previews()
    worker = WorkerOptions(settings.data_dir, settings=settings.to_json())
    try:
        with Supervisor(ledger, leases, [worker]) as runner:
            yield Parts(
                settings=settings,
                jobs=ledger,
                runner=runner,
                files=files,
                documents=documents,
                catalogue=Catalogue(runner, read_catalogue(settings)),
                hub=Hub(ledger, runner),
                guard=guard,
                doorbell=Doorbell(guard),
            )
    finally:
        documents.close()
        files.close()
        database.close()


async def run(parts: Parts) -> None:
    """Listen and answer until a signal comes."""
    runner = await _runner(make_app(parts))
    comfyui = await _runner(make_comfyui_app(parts))
    stop = asyncio.Event()
    with suppress(NotImplementedError):  # Windows, where Ctrl+C raises KeyboardInterrupt instead
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        parts.doorbell.address = await _listen(runner, parts)
        if parts.settings.comfyui_port:
            await _open(comfyui, "127.0.0.1", parts.settings.comfyui_port)
        with _announced(parts):
            parts.doorbell.ring()
            await stop.wait()
    finally:
        await comfyui.cleanup()
        await runner.cleanup()


async def _runner(app: web.Application) -> web.AppRunner:
    runner = web.AppRunner(app, access_log=None, auto_decompress=False, shutdown_timeout=STOP_SECONDS)
    await runner.setup()
    return runner


async def _listen(runner: web.AppRunner, parts: Parts) -> str:
    """Open the port and return the server's address."""
    settings = parts.settings
    await _open(runner, settings.host, settings.port)
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)
    return f"http://{f'[{host}]' if ':' in host.strip('[]') and host[0] != '[' else host}:{runner.addresses[0][1]}"


async def _open(runner: web.AppRunner, host: str, port: int) -> None:
    try:
        await web.TCPSite(runner, host, port, backlog=BACKLOG).start()
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise Unavailable(f"Cannot listen on {host}:{port}: {reason}. Choose another --port or --host.") from error


@contextmanager
def _announced(parts: Parts) -> Iterator[None]:
    """Leave address and token where only this user's other programs can read them."""
    path = parts.settings.data_dir / "server.json"
    plain = {"url": parts.doorbell.address, "token": parts.guard.token, "pid": os.getpid()}
    write_private(path, json.dumps(plain).encode())
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
