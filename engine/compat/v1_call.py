"""One v1 class as a function of ours: hidden and lazy inputs, the instance, the call, and what it gives."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import json
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from engine.call import Suspend
from engine.codec import digest_of
from engine.compat import v1_ui
from engine.compat.graph import CURRENT, Current, DynamicPrompt, Unfolding, is_expansion, shown
from engine.compat.v1_models import facade
from engine.compat.v1_spec import V1Class
from engine.compat.v1_values import ExecutionBlocker, from_v1, packed, to_v1
from engine.context import Context
from engine.errors import BadInput, NodeFailed
from engine.graph import Given
from engine.node import Lazy
from engine.registry import tried
from engine.spec import NodeSpec
from engine.types import Blocked
from engine.workflow import Link

INSTANCES_MAX = 256
REST = "comfyui"  # what a workflow keeps of the prompt it came from: `prompt`, `extra_data`


@dataclass
class Caller:
    """Calls a class; its instances are kept by node, as classes keep things on themselves."""

    node: V1Class
    spec: NodeSpec
    specs: Mapping[str, NodeSpec]
    instances: OrderedDict[str, Any] = field(default_factory=OrderedDict)

    def __call__(self, context: Context, /, **inputs: Any) -> Any:
        """Call the class as ComfyUI would; a coroutine goes on in a Future."""
        current = Current(context, shown(context.node))
        before = CURRENT.set(current)
        try:
            given, seen = self._given(current, inputs)
            self._ask(current, inputs, given, seen)
            result = self._run(getattr(self._instance(current), self.node.attribute("FUNCTION")), given)
            if not isinstance(result, Future):
                return self._kept(current, result, seen)
            return _then(result, lambda raw: self._kept(current, raw, seen))
        finally:
            CURRENT.reset(before)

    def mark(self, context: Context, inputs: Mapping[str, Any]) -> str | None:
        """Return what decides on the result besides the inputs: IS_CHANGED, the node itself; None for ever new."""
        current = Current(context, shown(context.node))
        parts: list[Any] = [context.node] if self.node.has_own_state else []
        if "DYNPROMPT" in self.node.hidden.values():
            parts.append(_prompt(context))
        ask = self.node.attribute("IS_CHANGED") or self.node.attribute("fingerprint_inputs")
        if ask is not None:
            answer: list[Any] = []
            error = tried(lambda: answer.append(self._run(ask, self._constants(current, inputs, ask), wait=True)))
            if error is not None or (isinstance(answer[0], float) and math.isnan(answer[0])):
                return None
            parts.append(_written(answer[0]))
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()

    # Inputs ----------------------------------------------------------------------------------------------------------

    def _given(self, current: Current, inputs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[int, str]]:
        """Return what the class is called with, and the types of the objects in it by id."""
        seen: dict[int, str] = {}
        given: dict[str, Any] = {}
        optional = {i.name for i in self.node.inputs if i.section == "optional"}
        raw = {i.name for i in self.node.inputs if i.options.get("rawLink")}
        for name, value in inputs.items():
            if name in raw:
                given[name] = _as_written(current, name)
            elif isinstance(value, Lazy):
                given[name] = [None] if self.node.takes_lists else None
            elif value is not None or name not in optional:
                given[name] = self._value(value, seen)
        for name, kind in self.node.hidden.items():
            if str(kind) in HIDDEN:
                value = HIDDEN[str(kind)](current)
                given[name] = [value] if self.node.takes_lists else value
        return given, seen

    def _value(self, value: Any, seen: dict[int, str]) -> Any:
        if self.node.takes_lists and isinstance(value, list):
            return [self._one(v, seen) for v in value]
        return self._one(value, seen)

    def _one(self, value: Any, seen: dict[int, str]) -> Any:
        raw = to_v1(value, facade)
        if raw is not value and getattr(value, "socket", "ANY") != "ANY":
            seen[id(raw)] = value.socket
        return raw

    def _constants(self, current: Current, inputs: Mapping[str, Any], ask: Any) -> dict[str, Any]:
        """Return what IS_CHANGED is told: the values that were written, None for what comes from elsewhere."""
        found = {n: None if isinstance(v, (Link, Given)) else v for n, v in inputs.items() if v is not None}
        found |= {n: HIDDEN[str(k)](current) for n, k in self.node.hidden.items() if str(k) in HIDDEN}
        names = inspect.signature(ask).parameters.values()
        if not any(p.kind == p.VAR_KEYWORD for p in names):
            found = {p.name: found[p.name] for p in names if p.name in found}
        return {n: [v] for n, v in found.items()} if self.node.takes_lists else found

    # Lazy inputs -----------------------------------------------------------------------------------------------------

    def _ask(self, current: Current, inputs: Mapping[str, Any], given: dict[str, Any], seen: dict[int, str]) -> None:
        """Compute the lazy inputs that the class names; all that it names at once are waited for together."""
        raw = {i.name for i in self.node.inputs if i.options.get("rawLink")}
        waiting = {name: value for name, value in inputs.items() if isinstance(value, Lazy) and name not in raw}
        check = getattr(self._instance(current), "check_lazy_status", None)
        while waiting:
            names = waiting if check is None else self._run(check, given, wait=True) or []
            sources: list[str] = []
            wanted = [name for name in names if name in waiting]
            for name in wanted:
                try:
                    given[name] = self._value(waiting[name](), seen)
                    del waiting[name]
                except Suspend as suspend:
                    sources += suspend.sources
            if sources:
                raise Suspend(sources)
            if not wanted:
                return

    # The call --------------------------------------------------------------------------------------------------------

    def _instance(self, current: Current) -> Any:
        key = current.context.node
        if key not in self.instances:
            self.instances[key] = self.node.cls()
            while len(self.instances) > INSTANCES_MAX:
                self.instances.popitem(last=False)
        return self.instances[key]

    def _run(self, function: Callable[..., Any], given: Mapping[str, Any], *, wait: bool = False) -> Any:
        """Call a method without gradients. A coroutine runs on the loop of this process; `wait` for its end."""
        with without_gradients():
            result = function(**given)
        if not inspect.iscoroutine(result):
            return result
        future = asyncio.run_coroutine_threadsafe(result, loop())
        return future.result() if wait else future

    # What it gives ---------------------------------------------------------------------------------------------------

    def _kept(self, current: Current, result: Any, seen: Mapping[int, str]) -> Any:
        """Return a result as our outputs: one for each of the spec, as a tuple with names."""
        outputs = self.spec.outputs
        plain = result if isinstance(result, dict) else {"result": result}
        values = plain.get("result", ())
        if isinstance(values, ExecutionBlocker):
            values = (values,) * len(self.node.returns)
        values = tuple(values) if isinstance(values, (list, tuple)) else (values,) if values is not None else ()
        if not values and plain.keys() & {"ui", "expand"}:
            values = (None,) * len(self.node.returns)
        values += tuple(map(self._missing, range(len(values), len(self.node.returns))))
        values = values[: len(self.node.returns)]
        ui = v1_ui.saved(current.context, plain.get("ui") or {}) if self.node.is_output else None
        shown_too = (ui,) if ui is not None else ()
        if is_expansion(plain):
            dynamic = DynamicPrompt(_prompt(current.context), current.context.memo)
            unfolding = Unfolding(plain["expand"], current, dynamic, self.specs)
            return unfolding.expansion((*values, *shown_too), outputs)
        kept = [self._output(v, o.type, o.list, seen) for v, o in zip(values, outputs, strict=False)]
        return Outputs((*kept, *shown_too))

    def _missing(self, slot: int) -> ExecutionBlocker:
        """Return what stands for an output that the class declares and did not give; who needs it is told."""
        name = self.spec.outputs[slot].name
        return ExecutionBlocker(f"{self.spec.title} declares an output {name} and did not give it.")

    def _output(self, value: Any, kind: str, is_list: bool, seen: Mapping[int, str]) -> Any:
        if not is_list:
            return from_v1(value, kind, seen)
        if isinstance(value, ExecutionBlocker):
            return Blocked(value.message or "")
        if not isinstance(value, (list, tuple)):
            raise NodeFailed(f"{self.spec.title} gave a {type(value).__name__} for an output that is a list.")
        return [from_v1(v, kind, seen) for v in value]


class Outputs(tuple[Any, ...]):
    """Values for several outputs, or for one, or for none."""

    _fields = ()


# Hidden inputs --------------------------------------------------------------------------------------------------------


def _rest(context: Context) -> dict[str, Any]:
    return dict((context.workflow or {}).get(REST) or {})


def _prompt(context: Context) -> dict[str, Any]:
    return dict(_rest(context).get("prompt") or {})


def _extra(context: Context, *path: str) -> Any:
    found: Any = _rest(context).get("extra_data") or {}
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found


HIDDEN: dict[str, Callable[[Current], Any]] = {
    "UNIQUE_ID": lambda current: current.unique_id,
    "PROMPT": lambda current: _prompt(current.context),
    "EXTRA_PNGINFO": lambda current: _extra(current.context, "extra_pnginfo"),
    "DYNPROMPT": lambda current: DynamicPrompt(_prompt(current.context), current.context.memo),
    "AUTH_TOKEN_COMFY_ORG": lambda current: _extra(current.context, "auth_token_comfy_org"),
    "API_KEY_COMFY_ORG": lambda current: _extra(current.context, "api_key_comfy_org"),
}


def _as_written(current: Current, name: str) -> Any:
    """Return an input as it stands in the prompt, a link included."""
    dynamic = DynamicPrompt(_prompt(current.context), current.context.memo)
    if not dynamic.has_node(current.unique_id):
        raise BadInput(f"{name} needs the prompt that it stands in; post the workflow as a ComfyUI prompt.", field=name)
    return dynamic.get_node(current.unique_id)["inputs"].get(name)


def _written(value: Any) -> str:
    """Return the answer of IS_CHANGED as a digest; what cannot be written down is told by its text."""
    with suppress(BadInput):
        return digest_of(packed(value)) if not _is_live(value) else repr(value)
    return repr(value)


def _is_live(value: Any) -> bool:
    return not isinstance(value, (str, bytes, bool, int, float, list, tuple, dict, type(None)))


# Coroutines -----------------------------------------------------------------------------------------------------------


@cache
def loop() -> asyncio.AbstractEventLoop:
    """Return the event loop of this process, on a thread of its own."""
    made = asyncio.new_event_loop()
    threading.Thread(target=made.run_forever, name="async nodes", daemon=True).start()
    return made


def _then(future: Future[Any], finish: Callable[[Any], Any]) -> Future[Any]:
    """Return a Future of what `finish` makes of a result."""
    made: Future[Any] = Future()

    def done(ended: Future[Any]) -> None:
        if not made.set_running_or_notify_cancel():
            return  # the run was cancelled meanwhile
        error = tried(lambda: made.set_result(finish(ended.result())))
        if error is not None:
            made.set_exception(error)

    made.add_done_callback(lambda ended: future.cancel() if ended.cancelled() else None)
    future.add_done_callback(done)
    return made


def without_gradients() -> Any:
    """Return a context in which torch keeps no gradients."""
    import torch

    return torch.no_grad()  # not inference_mode: networks that are loaded meanwhile are used by others too
