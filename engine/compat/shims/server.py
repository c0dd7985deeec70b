"""`server.PromptServer`: routes of packs, their messages, and what they make of prompts before these are checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any

from engine.compat.graph import CURRENT
from engine.compat.pack_routes import Routes
from engine.errors import NodeFailed
from engine.events import StepMessage
from engine.registry import tried


class BinaryEventTypes:
    """Kinds of binary messages; packs name them and send none of their own."""

    PREVIEW_IMAGE, UNENCODED_PREVIEW_IMAGE, TEXT, PREVIEW_IMAGE_WITH_METADATA = 1, 2, 3, 4


class PromptServer:
    """Stands where ComfyUI's server is."""

    instance: PromptServer

    def __init__(self) -> None:
        self.routes = Routes()
        self.client_id: str | None = None
        self.last_node_id: str | None = None
        self.prompt_queue = self.loop = None
        self.app = SimpleNamespace(router=self.routes, add_routes=lambda routes: None)
        self.on_prompt_handlers: list[Callable[[dict[str, Any]], dict[str, Any]]] = []
        self.supports: list[str] = []

    def send_sync(self, event: str, data: Any, sid: str | None = None) -> None:
        """Tell the client of the prompt that runs; outside of one there is nobody to tell."""
        current = CURRENT.get()
        if current is not None:
            current.context.emit(StepMessage(current.context.node, event, data))

    def add_on_prompt_handler(self, handler: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Let a function change what was posted before it is checked."""
        self.on_prompt_handlers.append(handler)

    def rewritten(self, posted: Mapping[str, Any]) -> dict[str, Any]:
        """Return what handlers make of a posted body; NodeFailed with what one raised."""
        bodies = [dict(posted)]
        for handler in self.on_prompt_handlers:
            error = tried(partial(_hand_on, handler, bodies))
            if error is not None:
                raise NodeFailed(f"A pack failed on the prompt: {type(error).__name__}: {error}.") from error
        return bodies[-1]

    def send_progress_text(self, text: str, node_id: str, sid: str | None = None) -> None:
        """Tell the client a text about a node."""
        self.send_sync("progress_text", {"nodeId": node_id, "text": text})


def _hand_on(handler: Callable[[dict[str, Any]], dict[str, Any]], bodies: list[dict[str, Any]]) -> None:
    bodies.append(handler(bodies[-1]))


PromptServer.instance = PromptServer()
