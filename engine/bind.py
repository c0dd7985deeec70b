"""A node's inputs as digests: links resolved, lists taken apart into one call per element."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from engine.errors import BadInput, SfumatoError
from engine.graph import Given, GraphNode
from engine.keys import is_plain, plain_value, value_digest
from engine.node import InputSpec, NodeSpec
from engine.trace import Result
from engine.workflow import Link

ResultOf = Callable[[Link], Result]
FileDigest = Callable[[str, str], str]
"""(kind, name) -> digest of that file's content; without a name, of all that is in the kind's folders."""

WORDS, WORD = "embeddings", "embedding:"  # the kind of learnt words, and how a prompt names one


@dataclass(frozen=True, slots=True)
class Bound:
    """The inputs of one call by name: `args` in signature order, `lazy` ones asked for, contents of `files`."""

    args: Mapping[str, Result]
    lazy: Mapping[str, Result]
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

    def marked(self, digest: str) -> Calls:
        """Return the calls with one more thing that decides on their results."""
        mark = ("its own state/content", digest)
        return Calls(tuple(replace(e, files=(*e.files, mark)) for e in self.elements), self.mapped)

    def gather(self, outputs: list[tuple[Result, ...]], count: int) -> tuple[Result, ...]:
        """Return the node's `count` outputs from those of its calls; lists of lists become one list."""
        if not self.mapped:
            return outputs[0]
        return tuple(tuple(d for call in outputs for d in as_list(call[i])) for i in range(count))


def bind(node: GraphNode, result_of: ResultOf, *, demanded: Collection[str], file_digest: FileDigest) -> Calls:
    """Resolve a node's inputs. BadInput if lists of different lengths meet, or a file is not there."""
    args: dict[str, Result] = {}
    lazy: dict[str, Result] = {}
    lengths: dict[str, int] = {}  # of the lists that must be taken apart
    for spec in node.spec.inputs:
        value = node.inputs[spec.name]
        late = spec.lazy and isinstance(value, (Link, Given))
        if late and spec.name not in demanded:
            continue
        result = _resolve(spec, value, result_of)
        if isinstance(result, tuple) and not spec.list:
            lengths[spec.name] = len(result)
        (lazy if late else args)[spec.name] = result
    if not lengths:
        return Calls((Bound(args, lazy, _files(node, args, file_digest)),), False)
    elements = []
    for index in range(_common(lengths, node.spec.uneven)):
        own_args, own_lazy = _pick(args, lengths, index), _pick(lazy, lengths, index)
        elements.append(Bound(own_args, own_lazy, _files(node, own_args, file_digest)))
    return Calls(tuple(elements), True)


def flat(result: Result) -> str:
    """Return one text for a result; digests in a list are preceded by their length, so that no two lists are alike."""
    return result if isinstance(result, str) else "l:" + "".join(f"{len(d)}:{d}" for d in result)


def as_list(result: Result) -> tuple[str, ...]:
    """Return a result as a list."""
    return (result,) if isinstance(result, str) else result


def named(spec: NodeSpec, outputs: tuple[Result, ...]) -> dict[str, Result]:
    """Return a node's outputs by name."""
    return dict(zip(spec.position, outputs, strict=False))


def digests_of(outputs: tuple[Result, ...]) -> list[str]:
    """Return every digest in a node's outputs."""
    return [digest for result in outputs for digest in as_list(result)]


def _resolve(spec: InputSpec, value: Any, result_of: ResultOf) -> Result:
    if isinstance(value, Link):
        result = result_of(value)
    elif isinstance(value, Given):
        result = value.result
    elif spec.list and isinstance(value, (list, tuple)):
        return tuple(value_digest(v) for v in value)
    else:
        return value_digest(value)
    return as_list(result) if spec.list else result


def _common(lengths: Mapping[str, int], uneven: bool) -> int:
    """Return the length that lists share; those of one element go with any, where `uneven` is set all do."""
    length = 0 if 0 in lengths.values() else max(lengths.values())
    for name, count in lengths.items():
        if count not in (1, length) and not uneven:
            shown = ", ".join(f"{n} has {c}" for n, c in lengths.items())
            raise BadInput(f"Lists of different lengths meet here: {shown}. Make them equally long.", field=name)
    return length


def _pick(args: Mapping[str, Result], lengths: Mapping[str, int], index: int) -> dict[str, Result]:
    return {name: r[min(index, lengths[name] - 1)] if name in lengths else r for name, r in args.items()}


def _files(node: GraphNode, args: Mapping[str, Result], file_digest: FileDigest) -> tuple[tuple[str, str], ...]:
    """Return the content digests of the files that a call names, and of learnt words where its prompts name any."""
    files = []
    for spec in node.spec.file_inputs:
        for digest in as_list(args.get(spec.name, ())):
            if not is_plain(digest):
                raise BadInput(f"{spec.name} is not the name of a file: it is too long.", field=spec.name)
            name = plain_value(digest)
            if name:
                files.append((f"{spec.name}/content", _digest(spec, name, file_digest)))
    for spec in node.spec.prompt_inputs:
        if any(not is_plain(d) or WORD in str(plain_value(d)) for d in as_list(args.get(spec.name, ()))):
            files.append((f"{spec.name}/content", file_digest(WORDS, "")))
    return tuple(files)


def _digest(spec: InputSpec, name: str, file_digest: FileDigest) -> str:
    try:
        return file_digest(spec.file or "", name)
    except SfumatoError as error:
        error.field = error.field or spec.name
        raise
