"""A worker that does what the test says, and the parts around it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from aiohttp.test_utils import TestClient, TestServer

from engine.documents import Documents
from engine.events import Event
from engine.files import FileStore
from engine.jobs.contract import Action, Attempt, Frame, JobState, JsonObject, Outcome, WorkerState
from engine.jobs.database import open_ledger
from engine.jobs.leases import Leases
from engine.jobs.ledger import Ledger
from engine.node import Range, spec_of
from engine.settings import Settings
from engine.types import Saved
from web.app import make_app
from web.catalogue import Catalogue
from web.doorbell import Doorbell
from web.guard import Guard
from web.hub import Hub
from web.parts import Parts

TOKEN = "a-token-for-the-tests-0123456789"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def number(value: Annotated[int, Range(0, 100)] = 1) -> int:
    """Give a number."""
    return value


def show(value: Annotated[int, Range(0, 100)]) -> Saved:
    """Show a number."""
    return Saved("text", text=str(value))


CATALOGUE: JsonObject = {
    "hash": "0",
    "nodes": [
        spec_of(f, category="test", title=None, id=None, version=1, effect=False).to_json() for f in (number, show)
    ],
}
TOKENS: JsonObject = {"words": [{"text": "boat", "tokens": ["boat"]}], "count": 1, "room": 75, "chunks": 1}
WORKFLOW: JsonObject = {
    "nodes": {
        "n": {"type": "number", "inputs": {"value": 7}},
        "s": {"type": "show", "inputs": {"value": ["n", "int"]}},
    }
}


@dataclass
class FakeRunner:
    """`JobRunner` without a process: the test takes jobs by `lease` and reports on them."""

    ledger: Ledger
    leases: Leases
    answers: dict[str, JsonObject] = field(
        default_factory=lambda: {
            "catalogue": CATALOGUE,
            "models": {"models": {}},
            "tokens": TOKENS,
            "model_picture": {"path": ""},
        }
    )
    asked: list[tuple[str, Future[JsonObject]]] = field(default_factory=list)
    woken: int = 0
    _listeners: list[Callable[[Frame], None]] = field(default_factory=list)

    def workers(self) -> tuple[WorkerState, ...]:
        return (WorkerState("cpu", "ready", 1),)

    def wake(self) -> None:
        self.woken += 1
        self.tell({"kind": "committed", "seq": self.ledger.last_seq()})

    def subscribe(self, listener: Callable[[Frame], None]) -> Action:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def request(self, name: str, payload: JsonObject | None = None) -> Future[JsonObject]:
        reply: Future[JsonObject] = Future()
        self.asked.append((name, reply))
        if name in self.answers:
            reply.set_result(self.answers[name])
        return reply

    def tell(self, head: JsonObject, blob: bytes = b"") -> None:
        for listener in self._listeners:
            listener(Frame(head, blob))

    def start(self) -> Attempt:
        attempt = self.leases.lease("cpu/1/0")
        assert attempt
        self.wake()
        return attempt

    def append(self, attempt: Attempt, *events: Event) -> None:
        assert self.leases.append(attempt, events)
        self.wake()

    def finish(self, attempt: Attempt, **outputs: Any) -> None:
        assert self.leases.finish(attempt, Outcome(JobState.DONE, outputs))
        self.wake()


@dataclass
class Served:
    """The application under test: `client` shows the token, `parts` and `runner` are behind it."""

    client: TestClient[Any, Any]
    parts: Parts
    runner: FakeRunner

    async def json(self, method: str, path: str, *, status: int = 200, **given: Any) -> Any:
        async with self.client.request(method, path, **given) as answer:
            assert answer.status == status, await answer.text()
            return await answer.json() if status != 204 else None

    async def submit(self, **extra: Any) -> Any:
        return await self.json("POST", "/api/jobs", status=201, json={"workflow": WORKFLOW, **extra})


@asynccontextmanager
async def serving(folder: Path, *, token: str | None = TOKEN, kept: JsonObject | None = None) -> AsyncIterator[Served]:
    """Serve from `folder`; `kept` is the catalogue found on the disk."""
    settings = Settings(data_dir=folder / "data", output_dir=folder / "out", token=token)
    database = open_ledger(settings.data_dir)
    runner = FakeRunner(Ledger(database), Leases(database))
    files, documents = FileStore(settings, examples=folder), Documents(settings.data_dir / "workflows.sqlite3")
    guard = Guard(token, secret=b"secret")
    parts = Parts(
        settings=settings,
        jobs=runner.ledger,
        runner=runner,
        files=files,
        documents=documents,
        catalogue=Catalogue(runner, kept),
        hub=Hub(runner.ledger, runner),
        guard=guard,
        doorbell=Doorbell(guard),
    )
    headers = BEARER if token else {}
    async with TestClient(TestServer(make_app(parts)), headers=headers) as client:
        yield Served(client, parts, runner)
    documents.close()
    files.close()
    database.close()
