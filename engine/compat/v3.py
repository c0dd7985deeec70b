"""A node of the declarative protocol (v3) as a class of v1, so that there is one way to run either."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from engine.compat.v1_values import ExecutionBlocker


def nodes_of(entrypoint: Callable[[], Any]) -> list[Any]:
    """Return the nodes of a pack's `comfy_entrypoint`, after telling it that it was loaded."""

    async def ask() -> list[Any]:
        extension = entrypoint()
        extension = await extension if inspect.isawaitable(extension) else extension
        await extension.on_load()
        return list(await extension.get_node_list())

    return asyncio.run(ask())


def as_v1(node: Any) -> tuple[str, Any, str]:
    """Return a node's name, its class of v1, and its title."""
    schema = node.define_schema()
    hidden = {h.name: h.value for h in schema.hidden}
    body: dict[str, Any] = {
        "INPUT_TYPES": classmethod(lambda cls: _inputs(node.define_schema(), hidden)),
        "RETURN_TYPES": tuple(o.io_type for o in schema.outputs),
        "RETURN_NAMES": tuple(o.display_name or o.io_type for o in schema.outputs),
        "OUTPUT_IS_LIST": tuple(o.is_output_list for o in schema.outputs),
        "OUTPUT_TOOLTIPS": tuple(o.tooltip for o in schema.outputs) if any(o.tooltip for o in schema.outputs) else None,
        "INPUT_IS_LIST": schema.is_input_list,
        "OUTPUT_NODE": schema.is_output_node,
        "NOT_IDEMPOTENT": schema.not_idempotent,
        "CATEGORY": schema.category,
        "DESCRIPTION": schema.description,
        "DEPRECATED": schema.is_deprecated,
        "EXPERIMENTAL": schema.is_experimental,
        "API_NODE": schema.is_api_node,
        "FUNCTION": "run",
        "run": _runner(node, hidden),
    }
    body |= {"VALIDATE_INPUTS": node.validate_inputs} if hasattr(node, "validate_inputs") else {}
    if hasattr(node, "fingerprint_inputs"):
        ask = node.fingerprint_inputs
        body["IS_CHANGED"] = _without_hidden(_nested(schema, ask), hidden) if _grows(schema) else ask
    if hasattr(node, "check_lazy_status"):
        body["check_lazy_status"] = staticmethod(_without_hidden(_nested(schema, node.check_lazy_status), hidden))
    return schema.node_id, type(node.__name__, (), body), schema.display_name or ""


def _inputs(schema: Any, hidden: dict[str, str]) -> dict[str, Any]:
    sections: dict[str, Any] = {"required": {}, "optional": {}}
    for each in (flat for declared in schema.inputs for flat in declared.flat()):
        sections["optional" if each.optional else "required"][each.id] = each.config()
    return {**sections, "hidden": hidden} if hidden else sections


def _runner(node: Any, hidden: dict[str, str]) -> Callable[..., Any]:
    def run(self: Any, **inputs: Any) -> Any:
        told = {name: inputs.pop(name, None) for name in hidden}
        told = {name: value[0] if isinstance(value, list) else value for name, value in told.items()}
        twin: Any = type(
            node.__name__, (node,), {"hidden": type(node.hidden)(**told)}
        )  # what is set on it, stays on it
        result = _nested(node.define_schema(), twin.execute)(**inputs)
        return _awaited(result) if inspect.iscoroutine(result) else _plain(result)

    return run


def _grows(schema: Any) -> bool:
    return any([flat.id for flat in each.flat()] != [each.id] for each in schema.inputs)


def _nested(schema: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that is given flat inputs, `id.name` each, as one that takes what grows as a dict."""

    def call(**inputs: Any) -> Any:
        found: dict[str, Any] = {}
        for each in schema.inputs:
            found |= each.take(inputs)
        return function(**found, **inputs)

    return call


def _without_hidden(function: Callable[..., Any], hidden: dict[str, str]) -> Callable[..., Any]:
    return lambda **inputs: function(**{k: v for k, v in inputs.items() if k not in hidden})


async def _awaited(result: Any) -> Any:
    return _plain(await result)


def _plain(result: Any) -> Any:
    """Return a NodeOutput as the v1 protocol has it."""
    if result is None or isinstance(result, (tuple, dict)):
        return result or {}
    if result.block_execution is not None:
        return ExecutionBlocker(result.block_execution)
    ui = result.ui.as_dict() if hasattr(result.ui, "as_dict") else result.ui or {}
    return {"result": result.args, "ui": ui, **({"expand": result.expand} if result.expand else {})}
