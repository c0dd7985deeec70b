"""One call of a node: values for its parameters, the guard around it, and what it gave."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from textwrap import shorten
from typing import Any

from engine import keys
from engine.bind import Bound, as_list
from engine.codec import tensors_of
from engine.context import Context, Files, Models, Nothing
from engine.errors import BadInput, NodeFailed, OutOfMemory, SfumatoError
from engine.graph import Given, GraphNode
from engine.node import InputSpec, Lazy, NodeSpec, OutputSpec, holds
from engine.store import Store
from engine.trace import Result, Traces
from engine.types import Blocked, Saved
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
    # Of nodes that know more about when their result changes: (context, inputs) -> a digest, None = in every run
    marks: Mapping[str, Callable[[Context, Mapping[str, Any]], str | None]] = field(default_factory=dict)


class Suspend(BaseException):
    """The step must wait for `sources`, whose results are `gone` or not there yet.

    A BaseException, so that no node swallows the one that its lazy input raises.
    """

    def __init__(self, sources: Iterable[str], *, gone: bool = False) -> None:
        self.sources = list(sources)
        self.gone = gone


@dataclass
class Values:
    """The values behind one call's digests. Where one is gone, the step is suspended until its node has run again."""

    node: GraphNode
    bound: Bound
    store: Store
    asked: list[str] = field(default_factory=list)
    suspended: Suspend | None = None
    _tensors: list[tuple[Any, int | None]] = field(default_factory=list)  # tensors handed out, and their versions then

    def arguments(self) -> dict[str, Any]:
        """Return what the function is called with; asking a Lazy for what is not there suspends the step."""
        given: dict[str, Any] = {}
        for spec in self.node.spec.inputs:
            name = spec.name
            if name not in self.bound.args:
                given[name] = Lazy(partial(self._ask, spec))
            else:
                value = self._value(spec, self.bound.args[name])
                given[name] = Lazy(partial(_same, value)) if spec.lazy else value
        return given

    def changed(self) -> bool:
        """Say whether a tensor that was handed out has been changed in place since."""
        return any(_version(tensor) != version for tensor, version in self._tensors)

    def _ask(self, spec: InputSpec) -> Any:
        if spec.name not in self.asked:
            self.asked.append(spec.name)
        try:
            if spec.name not in self.bound.lazy:
                raise Suspend([source_of(self.node.inputs[spec.name])])
            return self._value(spec, self.bound.lazy[spec.name])
        except Suspend as suspended:
            self.suspended = suspended
            raise

    def _value(self, spec: InputSpec, result: Result) -> Any:
        raw = self.node.inputs[spec.name]
        if not isinstance(raw, (Link, Given)):
            return raw
        if isinstance(result, tuple):
            return [self._stored(spec, digest) for digest in result]
        return self._stored(spec, result)

    def _stored(self, spec: InputSpec, digest: str) -> Any:
        """Return a linked value, a number as text where text is wanted; it must keep the input's type and bounds."""
        try:
            value = self.store.get(digest)
        except KeyError:
            raise Suspend([source_of(self.node.inputs[spec.name])], gone=True) from None
        if not keys.is_plain(digest):
            self._tensors += [(t, _version(t)) for t in tensors_of(value)]
        if isinstance(value, (bool, int, float)) and spec.types == {"STRING"}:
            value = str(value)
        return spec.check(value)


def _same(value: Any) -> Any:
    return value


def _version(tensor: Any) -> int | None:
    """Return torch's count of in-place changes; arrays (read-only) and inference tensors have none."""
    try:
        version: int = tensor._version
    except (AttributeError, RuntimeError):
        return None
    return version


def source_of(value: Link | Given) -> str:
    """Return the node that an input's value comes from."""
    return value.source if isinstance(value, Given) else value.node


def guarded(services: Services, node: GraphNode, values: Values, call: Callable[[], Any]) -> Any:
    """Call the node. Whatever it raises becomes an error with a sentence; a changed input is an error too."""
    try:
        value = call()
    except SfumatoError:
        raise
    except MemoryError as error:
        raise OutOfMemory(f"{node.spec.title} ran out of memory: make the picture or the batch smaller.") from error
    except Exception as error:
        log.exception("node %s (%s) failed", node.id, node.spec.id)
        raise NodeFailed(f"{node.spec.title} failed unexpectedly: {type(error).__name__}: {error}") from error
    finally:
        if values.changed():
            services.store.forget_all()
    if values.suspended is not None:  # the node has swallowed it
        raise values.suspended
    if values.changed():
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
    if output.list and not isinstance(value, Blocked):
        if not isinstance(value, (list, tuple)):
            raise NodeFailed(f"{node.spec.title} gave a {type(value).__name__} for {output.name}, which is a list.")
        return tuple(_put(node, output, v, store) for v in value)
    return _put(node, output, value, store)


def _put(node: GraphNode, output: OutputSpec, value: Any, store: Store) -> str:
    if value is not None and not isinstance(value, Blocked) and not holds(output.types, value):
        raise NodeFailed(f"{node.spec.title} gave a {type(value).__name__} for {output.name}, which is {output.type}.")
    try:
        return store.put(value)
    except BadInput as error:
        raise NodeFailed(f"{node.spec.title}, output {output.name}: {error.message}") from error


def blocked_by(node: GraphNode, bound: Bound) -> tuple[str, str] | None:
    """Return which node gave a call no value on purpose, and why, if one did."""
    for name, result in (*bound.args.items(), *bound.lazy.items()):
        for digest in as_list(result):
            if keys.is_blocked(digest):
                return source_of(node.inputs[name]), keys.plain_value(digest).message
    return None


def shown_as(saved: Saved) -> dict[str, Any]:
    """Return what people are shown, as JSON."""
    shown = {"ui": saved.ui, "text": saved.text, "files": [asdict(f) for f in saved.files]}
    return {**shown, "extra": saved.extra} if saved.extra else shown


def facts_of(node: GraphNode, bound: Bound, services: Services) -> dict[str, str]:
    """Return all that decides on a step's result, by name."""
    code = keys.code_digest(node.spec, services.numeric)
    return {"@type": node.spec.id, "@code": code, **dict(bound.digests())}


def reason(node: GraphNode, now: Mapping[str, str], before: Mapping[str, str] | None) -> str:
    """Say why a step runs: what has changed between the facts of its last run and those of this one."""
    if before is None or now["@type"] != before["@type"]:
        return "first run"
    if now["@code"] != before["@code"]:
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
        old, new = keys.plain_value(before or ""), keys.plain_value(now)
        return f"{name} changed from {shorten(repr(old), 60)} to {shorten(repr(new), 60)}"
    except KeyError:
        return f"{name.removesuffix('/content')} changed"
