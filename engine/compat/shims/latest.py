"""`comfy_api.latest`: the entry of the declarative protocol, and the small API that its nodes call."""

from __future__ import annotations

from typing import Any

from engine.compat.graph import CURRENT
from engine.compat.shims import v3_io as io
from engine.compat.shims import v3_ui as ui

__all__ = ["ComfyAPI", "ComfyAPISync", "ComfyAPI_latest", "ComfyExtension", "io", "ui"]


class ComfyExtension:
    """A pack: says which nodes it has."""

    async def on_load(self) -> None:
        """Be told that the pack was loaded."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """Return its nodes."""
        return []


class _Execution:
    async def set_progress(self, value: float, max_value: float, node_id: str | None = None, **kwargs: Any) -> None:
        """Tell how far the node is."""
        _tell(value, max_value)


class ComfyAPI:
    """What a running node may call."""

    def __init__(self) -> None:
        self.execution = _Execution()


class _ExecutionSync:
    def set_progress(self, value: float, max_value: float, node_id: str | None = None, **kwargs: Any) -> None:
        """Tell how far the node is."""
        _tell(value, max_value)


class ComfyAPISync:
    """What a running node may call, without `await`."""

    def __init__(self) -> None:
        self.execution = _ExecutionSync()


ComfyAPI_latest = ComfyAPI


def _tell(value: float, total: float) -> None:
    current = CURRENT.get()
    if current is not None:
        current.context.progress(int(value), int(total))
