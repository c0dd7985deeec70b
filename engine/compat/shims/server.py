"""`server.PromptServer`: what packs touch at import. Packs add no routes and send no messages of their own here."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
log = logging.getLogger(__name__)


class _Routes:
    """Takes routes and leaves them unused: no code of a pack runs in the process that serves."""

    def _route(self, path: str, **kwargs: Any) -> Callable[[F], F]:
        log.info("The route %s of a pack is not served.", path)
        return lambda handler: handler

    get = post = put = patch = delete = head = view = static = _route


class PromptServer:
    """Stands where ComfyUI's server is."""

    instance: PromptServer

    def __init__(self) -> None:
        self.routes = _Routes()
        self.client_id: str | None = None
        self.last_node_id: str | None = None
        self.prompt_queue = self.app = self.loop = None
        self.on_prompt_handlers: list[Any] = []
        self.supports: list[str] = []

    def send_sync(self, event: str, data: Any, sid: str | None = None) -> None:
        """Do nothing: clients are told what the engine tells."""

    def add_on_prompt_handler(self, handler: Callable[..., Any]) -> None:
        """Note a handler that is never called."""
        self.on_prompt_handlers.append(handler)

    def send_progress_text(self, text: str, node_id: str, sid: str | None = None) -> None:
        """Do nothing."""


PromptServer.instance = PromptServer()
