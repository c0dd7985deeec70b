"""One call of a node: values for its parameters, the guard around it, and what it gave."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine import keys
from engine.bind import Bound
from engine.codec import tensors_of
from engine.context import Context, Files, Models, Nothing
from engine.errors import BadInput, NodeFailed, OutOfMemory, SfumatoError
from engine.graph import Given, GraphNode
from engine.node import PYTHON_TYPES, Lazy, NodeSpec, OutputSpec
from engine.store import Store
from engine.trace import Result, Traces
from engine.types import Value
from engine.workflow import Link

log = logging.getLogger(__name__)


@dataclass
class Services:
    """What a run needs besides the graph. `numeric` names all else that may change numbers (device, libraries)."""

    functions: Mapping[str, Callable[..., Any]]
    specs: Mapping[str, NodeSpec]
    store: Store
    traces: Traces
    models: Models = field(default_factory=Nothing.models)
    files: Files = field(default_factory=Nothing.files)
    file_digest: Callable[[str, str], str] = lambda kind, name: ""
    numeric: str = "cpu"


class Suspend(BaseException):
    """The step must wait for `sources`; BaseException, so that no node swallows the one its lazy input raises."""

    def __init__(self, sources: Iterable[str]) -> None:
        self.sources = list(sources)


@dataclass
class Values:
    """The values behind one call's digests. `redo(node)` is called for each that is gone; then the step suspends."""

    node: GraphNode
    bound: Bound
    store: Store
    redo: Callable[[str], None]
    asked: list[str] = field(default_factory=list)

    def eager(self) -> dict[str, Any]:
        """Return the values of inputs that need no asking."""
        return {name: self._value(name, result) for name, result in self.bound.args.items()}

    def lazy(self) -> dict[str, Any]:
        """Return a Lazy for each lazy input; asking for one that is not there suspends the step."""
        given: dict[str, Any] = {}
        for spec in self.node.spec.inputs:
            if spec.name not in self.bound.args:
                given[spec.name] = Lazy(lambda name=spec.name: self._asked(name))  # type: ignore[misc]
            elif spec.lazy:
                given[spec.name] = Lazy(lambda value=self._value(spec.name, self.bound.args[spec.name]): value)  # type: ignore[misc]
        return given

    def _asked(self, name: str) -> Any:
        if name not in self.asked:
            self.asked.append(name)
        if name not in self.bound.lazy:
            source = self._source(name)
            raise Suspend([source] if source else [])
        return self._value(name, self.bound.lazy[name])

    def _value(self, name: str, result: Result) -> Any:
        raw = self.node.inputs[name]
        if not isinstance(raw, (Link, Given)):
            return raw
        try:
            if isinstance(result, tuple):
                return [self.store.get(d) for d in result]
            return self._fitted(name, self.store.get(result))
        except KeyError:
            source = self._source(name)
            if source is None:
                raise NodeFailed("A value it was given is no longer stored; run the job again.", field=name) from None
            self.redo(source)
            raise Suspend([source]) from None

    def _fitted(self, name: str, value: Any) -> Any:
        """Convert a number to text where text is wanted, and check a linked value's bounds."""
        spec = self.node.spec.input(name)
        assert spec is not None
        if isinstance(value, (bool, int, float)) and spec.types == {"STRING"}:
            value = str(value)
        return spec.check(value)

    def _source(self, name: str) -> str | None:
        raw = self.node.inputs[name]
        link = raw.source if isinstance(raw, Given) else raw
        return link.node if isinstance(link, Link) else None


def guarded(services: Services, node: GraphNode, context: Context, arguments: dict[str, Any]) -> Any:
    """Call the node. Whatever it raises becomes an error with a sentence; a changed input is an error too."""
    before = [(t, t._version) for t in tensors_of(list(arguments.values())) if hasattr(t, "_version")]
    try:
        value = services.functions[node.spec.id](context, **arguments)
    except SfumatoError:
        raise
    except MemoryError as error:
        raise OutOfMemory(f"{node.spec.title} ran out of memory: make the picture or the batch smaller.") from error
    except Exception as error:
        log.exception("node %s (%s) failed", node.id, node.spec.id)
        raise NodeFailed(f"{node.spec.title} failed unexpectedly: {type(error).__name__}: {error}") from error
    if any(t._version != version for t, version in before):
        services.store.forget_all()
        raise NodeFailed(f"{node.spec.title} changed one of its inputs in place; it must work on a copy (`.clone()`).")
    return value


def kept(node: GraphNode, value: Any, store: Store) -> tuple[Result, ...]:
    """Store what a node gave, by output; NodeFailed if that is not what it declares."""
    outputs = node.spec.outputs
    if not outputs:
        return ()
    values = tuple(value) if hasattr(value, "_fields") else (value,)
    if len(values) != len(outputs):
        raise NodeFailed(f"{node.spec.title} gave {len(values)} outputs and declares {len(outputs)}.")
    return tuple(_kept(node, output, v, store) for output, v in zip(outputs, values, strict=True))


def _kept(node: GraphNode, output: OutputSpec, value: Any, store: Store) -> Result:
    if output.list:
        if not isinstance(value, (list, tuple)):
            raise NodeFailed(f"{node.spec.title} gave a {type(value).__name__} for {output.name}, which is a list.")
        return tuple(_put(node, output, v, store) for v in value)
    return _put(node, output, value, store)


def _put(node: GraphNode, output: OutputSpec, value: Any, store: Store) -> str:
    if value is not None and not _is_of(value, output.type):
        raise NodeFailed(f"{node.spec.title} gave a {type(value).__name__} for {output.name}, which is {output.type}.")
    try:
        return store.put(value)
    except BadInput as error:
        raise NodeFailed(f"{node.spec.title}, output {output.name}: {error.message}") from error


def _is_of(value: Any, socket: str) -> bool:
    names = socket.split("|")
    if "ANY" in names or isinstance(value, Value) and value.socket in names:
        return True
    return any(isinstance(value, PYTHON_TYPES.get(name, ())) for name in names)


def reason(node: GraphNode, bound: Bound, services: Services, step: str) -> str:
    """Say why a step runs, against its last run, and remember this one."""
    now = dict(bound.digests())
    now["@code"] = f"{node.spec.version} {node.spec.code} {services.numeric}"
    before = services.traces.last_inputs(step)
    services.traces.note_inputs(step, now)
    if before is None:
        return "first run"
    if now["@code"] != before.get("@code"):
        return "its code or a library changed"
    changes = [_change(node, n, before.get(n), now[n]) for n in now if now[n] != before.get(n)]
    changes += [f"{n} was removed" for n in before if n not in now]
    if changes:
        return ", ".join(changes)
    return "runs once in every job" if node.spec.effect else "its result was no longer kept"


def _change(node: GraphNode, name: str, before: str | None, now: str) -> str:
    raw = node.inputs.get(name)
    if isinstance(raw, Link):
        return f"{name} changed (from {raw.node})"
    try:
        return f"{name} changed from {keys.plain_value(before or '')!r} to {keys.plain_value(now)!r}"
    except KeyError:
        return f"{name.removesuffix('/content')} changed"
