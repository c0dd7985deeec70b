"""`comfy_execution`: graphs that nodes return, and which node is running."""

from __future__ import annotations

from dataclasses import dataclass

from engine.compat.graph import (
    CURRENT,
    DynamicPrompt,
    ExecutionBlocker,
    GraphBuilder,
    Node,
    add_graph_prefix,
    is_link,
)

__all__ = [
    "DynamicPrompt", "ExecutionBlocker", "ExecutionContext", "GraphBuilder", "Node", "add_graph_prefix",
    "get_executing_context", "is_link",
]  # fmt: skip


@dataclass(frozen=True)
class ExecutionContext:
    """Which node of which prompt is running."""

    prompt_id: str
    node_id: str
    list_index: int | None = None


def get_executing_context() -> ExecutionContext | None:
    """Return which node is running, None outside of one."""
    current = CURRENT.get()
    return None if current is None else ExecutionContext(current.context.job, current.unique_id)
