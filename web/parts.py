"""What the routes work with: the ledger, the worker, files, documents and the catalogue, made once by `web.serve`."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from engine.documents import Documents
from engine.files import FileStore
from engine.jobs.contract import JobRunner, JobStore
from engine.settings import Settings
from web.catalogue import Catalogue
from web.doorbell import Doorbell
from web.guard import Guard
from web.hub import Hub


@dataclass(frozen=True)
class Parts:
    """The services behind the routes."""

    settings: Settings
    jobs: JobStore
    runner: JobRunner
    files: FileStore
    documents: Documents
    catalogue: Catalogue
    hub: Hub
    guard: Guard
    doorbell: Doorbell


PARTS = web.AppKey("parts", Parts)
