"""A node's inputs as digests: links resolved, lists taken apart into one call per element."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.errors import BadInput, SfumatoError
from engine.graph import Given, GraphNode
from engine.keys import value_digest
from engine.node import InputSpec
from engine.trace import Result
from engine.workflow import Link


@dataclass(frozen=True, slots=True)
class Bound:
    """The inputs of one call by name. `args` in signature order; `lazy` those that were asked for; `files` file contents."""

    args: dict[str, Result]
    lazy: dict[str, Result] = field(default_factory=dict)
    files: tuple[tuple[str, str], ...] = ()

    def digests(self) -> Iterator[tuple[str, str]]:
        """Yield (name, digest) for the cache key; a list's digest spells out its members'."""
        for name, result in self.args.items():
            yield name, flat(result)
        yield from self.files


@dataclass(frozen=True, slots=True)
class Calls:
    """The calls that one node stands for; `mapped` if a list was taken apart (then its outputs are lists)."""

    elements: tuple[Bound, ...]
    mapped: bool

    def gather(self, outputs: list[tuple[Result, ...]], count: int) -> tuple[Result, ...]:
        """Return the node's `count` outputs from those of its calls; lists of lists become one list."""
        if not self.mapped:
            return outputs[0]
        return tuple(tuple(d for call in outputs for d in as_list(call[i])) for i in range(count))


def bind(
    node: GraphNode,
    result_of: Callable[[Link], Result],
    *,
    demanded: Collection[str],
    file_digest: Callable[[str, str], str],
) -> Calls:
    """Resolve a node's inputs. BadInput if lists of different lengths meet, or a file is not there."""
    args: dict[str, Result] = {}
    lazy: dict[str, Result] = {}
    for spec in node.spec.inputs:
        value = node.inputs.get(spec.name)
        is_late = spec.lazy and isinstance(value, (Link, Given))
        if is_late and spec.name not in demanded:
            continue
        result = _resolve(spec, value, result_of)
        (lazy if is_late else args)[spec.name] = as_list(result) if spec.list else result
    many = _lengths(node, {**args, **lazy})
    if not many:
        return Calls((_with_files(node, args, lazy, file_digest),), False)
    length = max(many.values()) if 0 not in many.values() else 0
    for name, count in many.items():
        if count not in (1, length):
            names = ", ".join(f"{n} has {c}" for n, c in many.items())
            raise BadInput(f"Lists of different lengths meet here: {names}. Make them equally long.", field=name)
    elements = (
        _with_files(node, _pick(node, args, i), _pick(node, lazy, i), file_digest) for i in range(length)
    )
    return Calls(tuple(elements), True)


def flat(result: Result) -> str:
    """Return one text for a result; digests in a list are preceded by their length, so that no two lists are alike."""
    return result if isinstance(result, str) else "l:" + "".join(f"{len(d)}:{d}" for d in result)


def as_list(result: Result) -> tuple[str, ...]:
    """Return a result as a list."""
    return (result,) if isinstance(result, str) else result


def _resolve(spec: InputSpec, value: Any, result_of: Callable[[Link], Result]) -> Result:
    if isinstance(value, Link):
        return result_of(value)
    if isinstance(value, Given):
        return value.result
    if spec.list and isinstance(value, (list, tuple)):
        return tuple(value_digest(v) for v in value)
    return value_digest(value)


def _lengths(node: GraphNode, args: Mapping[str, Result]) -> dict[str, int]:
    """Return the lengths of the lists that must be taken apart."""
    takes_list = {i.name for i in node.spec.inputs if i.list}
    return {n: len(r) for n, r in args.items() if isinstance(r, tuple) and n not in takes_list}


def _pick(node: GraphNode, args: dict[str, Result], index: int) -> dict[str, Result]:
    takes_list = {i.name for i in node.spec.inputs if i.list}
    return {
        n: r if isinstance(r, str) or n in takes_list else r[0] if len(r) == 1 else r[index] for n, r in args.items()
    }


def _with_files(
    node: GraphNode, args: dict[str, Result], lazy: dict[str, Result], file_digest: Callable[[str, str], str]
) -> Bound:
    """Add the content digests of files that the call names."""
    files = []
    for spec in node.spec.inputs:
        name = args.get(spec.name)
        if spec.file and isinstance(name, str) and name.startswith("s:") and name != "s:":
            try:
                files.append((f"{spec.name}/content", file_digest(spec.file, name[2:])))
            except SfumatoError as error:
                error.field = error.field or spec.name
                raise
    return Bound(args, lazy, tuple(files))
