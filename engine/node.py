"""`@node`: inputs, outputs, bounds, widgets and help, all read from a function's signature and docstring."""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Generic, Literal, TypeVar, Union, get_args, get_origin

from engine.spec import PYTHON_TYPES, STRING_MAX, InputSpec, NodeSpec, OutputSpec, holds
from engine.types import Saved, Value

__all__ = [
    "PYTHON_TYPES", "SEED_MAX", "STRING_MAX", "Choice", "Expansion", "File", "InputSpec", "Lazy", "NodeSpec",
    "OutputSpec", "Range", "Seed", "Text", "Widget", "holds", "node", "spec_of", "split_doc",
]  # fmt: skip

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

SEED_MAX = 2**53 - 1  # the largest integer that JSON readers in browsers keep exact
SCALARS: dict[type, str] = {bool: "BOOLEAN", int: "INT", float: "FLOAT", str: "STRING", dict: "JSON"}


# What an annotation can say ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Range:
    """Bounds of a number, both included; `step` is the widget's increment and, for integers, the grid."""

    low: float
    high: float
    step: float | None = None


@dataclass(frozen=True)
class Text:
    """A text of many lines, at most `max_length` characters long."""

    multiline: bool = True
    max_length: int = STRING_MAX


@dataclass(frozen=True)
class Choice:
    """One of the names that `source` gives when the catalogue is made."""

    source: Callable[[], Sequence[str]]


@dataclass(frozen=True)
class File:
    """The name of a file in folder `kind` (`input`, `loras`, ...). Its content is part of the cache key."""

    kind: str


@dataclass(frozen=True)
class Widget:
    """An editor widget other than the default, by name, with its options."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


Seed = Annotated[int, Range(0, SEED_MAX), Widget("seed")]


class Lazy(Generic[T]):
    """An input that is only computed when asked for: call it to get the value."""

    def __init__(self, get: Callable[[], T]) -> None:
        self._get = get

    def __call__(self) -> T:
        """Return the value; the engine computes it first if it is not there yet."""
        return self._get()


@dataclass(frozen=True)
class Expansion(Value):
    """A graph that a node returns in place of values; the engine runs it and takes `outputs` from it.

    `nodes` is as in a workflow file. A link `["@", name]` means the expanding node's own input `name`.
    `outputs` maps each of the node's outputs to a link into `nodes`. Further names that links to `@` may use: `given`
    are values, `outer` outputs of nodes of the graph around. `memo`, by id in `nodes`, is told to the nodes of the run
    (`ctx.memo`, by full id).
    """

    nodes: dict[str, Any]
    outputs: dict[str, tuple[str, str]]
    given: dict[str, Any] = field(default_factory=dict)
    outer: dict[str, tuple[str, str]] = field(default_factory=dict)
    memo: dict[str, Any] = field(default_factory=dict)


def node(
    *,
    category: str,
    title: str | None = None,
    id: str | None = None,
    version: int = 1,
    effect: bool = False,
) -> Callable[[F], F]:
    """Declare a function to be a node.

    `effect` marks a node that changes the world (saves a file): it runs once per job, cached or not. The first
    parameter may be `ctx: Context`. Numbers must be bounded with Range. `Annotated`, `Literal`, `Lazy[...]`,
    `list[...]`, `X | None` and unions of value types are understood; several outputs are a NamedTuple.
    """

    def declare(function: F) -> F:
        function.__dict__["__node__"] = spec_of(
            function, category=category, title=title, id=id, version=version, effect=effect
        )
        return function

    return declare


def spec_of(
    function: Callable[..., Any], *, category: str, title: str | None, id: str | None, version: int, effect: bool
) -> NodeSpec:
    """Read a NodeSpec from a function's signature and docstring; TypeError if it declares what no socket can carry."""
    hints = typing.get_type_hints(function, include_extras=True)
    doc, helps = split_doc(inspect.getdoc(function) or "")
    if not doc:
        raise TypeError(f"node {function.__name__} needs a docstring: it is the help people read")
    parameters = [p for p in inspect.signature(function).parameters.values() if p.name != "ctx"]
    inputs = tuple(_input(p, hints[p.name], helps.get(p.name, "")) for p in parameters)
    outputs = _outputs(hints.get("return", type(None)))
    name = id or function.__name__
    return NodeSpec(
        id=name,
        title=title or name.replace("_", " ").capitalize(),
        category=category,
        version=version,
        doc=doc,
        inputs=inputs,
        outputs=outputs,
        effect=effect,
        output=any(o.type == Saved.socket for o in outputs),
    )


def split_doc(doc: str) -> tuple[str, dict[str, str]]:
    """Split a docstring into its text and the help of each input (its `Args:` section)."""
    text, _, args = doc.partition("\nArgs:\n")
    args, _, rest = args.partition("\n\n")
    helps: dict[str, str] = {}
    name = ""
    for line in inspect.cleandoc(args).splitlines():
        match = re.match(r"(\w+): (.*)", line)
        if match:
            name, helps[match[1]] = match[1], match[2]
        elif name:
            helps[name] += " " + line.strip()
    return (text.strip() + ("\n\n" + inspect.cleandoc(rest) if rest.strip() else "")).strip(), helps


# Reading annotations -------------------------------------------------------------------------------------------------


def _input(parameter: inspect.Parameter, hint: Any, help: str) -> InputSpec:
    has_default = parameter.default is not inspect.Parameter.empty
    hint, optional, extras = _peel(hint)
    lazy = get_origin(hint) is Lazy
    if lazy:
        hint, optional_inside, inner = _peel(get_args(hint)[0])
        optional, extras = optional or optional_inside, (*extras, *inner)
    is_list = get_origin(hint) is list
    if is_list:
        hint, _, inner = _peel(get_args(hint)[0])
        extras = (*extras, *inner)
    spec = InputSpec(
        name=parameter.name,
        type=_socket(hint),
        required=not has_default and not optional,
        default=parameter.default if has_default else None,
        choices=tuple(get_args(hint)) if get_origin(hint) is Literal else None,
        lazy=lazy,
        list=is_list,
        help=help,
    )
    for extra in extras:
        spec = _refine(spec, extra)
    if spec.types & {"INT", "FLOAT"} and spec.low is None and spec.types <= {"INT", "FLOAT"}:
        raise TypeError(f"input {spec.name}: numbers need bounds, e.g. Annotated[int, Range(0, 100)]")
    return spec


def _refine(spec: InputSpec, extra: Any) -> InputSpec:
    """Add what one annotation says."""
    match extra:
        case Range(low, high, step):
            return replace(spec, low=low, high=high, step=step)
        case Text(multiline, max_length):
            return replace(spec, multiline=multiline, max_length=max_length)
        case Choice(source):
            return replace(spec, choices=tuple(source()))
        case File(kind):
            return replace(spec, file=kind)
        case Widget(name, options):
            return replace(spec, widget=name, widget_options=dict(options))
    raise TypeError(f"input {spec.name}: {extra!r} is not an annotation a node can have")


def _outputs(hint: Any) -> tuple[OutputSpec, ...]:
    members = [m for m in _members(hint) if m not in (type(None), Expansion)]
    if not members:
        return ()
    if len(members) == 1 and isinstance(members[0], type) and issubclass(members[0], tuple):
        hints = typing.get_type_hints(members[0], include_extras=True)
        return tuple(_output(name, hints[name]) for name in hints)
    hint = members[0] if len(members) == 1 else Union[tuple(members)]
    return (_output("", hint),)


def _output(name: str, hint: Any) -> OutputSpec:
    hint, _ = _unwrap(hint)
    is_list = get_origin(hint) is list
    socket = _socket(get_args(hint)[0] if is_list else hint)
    return OutputSpec(name or socket.split("|")[0].lower(), socket, is_list)


def _socket(hint: Any) -> str:
    if get_origin(hint) is Literal:
        if not all(isinstance(choice, str) for choice in get_args(hint)):
            raise TypeError(f"{hint!r}: choices are texts")
        return "STRING"
    return "|".join(sorted({_socket_of(m) for m in _members(_unwrap(hint)[0])}))


def _socket_of(hint: Any) -> str:
    hint = _unwrap(hint)[0]
    if hint is Any:
        return "ANY"
    plain = get_origin(hint) or hint  # dict[str, Any] is JSON like dict
    if plain in SCALARS:
        return SCALARS[plain]
    if isinstance(hint, type) and issubclass(hint, Value):
        return hint.socket
    raise TypeError(f"{hint!r} cannot travel along a link: use a value type, int, float, str, bool or dict")


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _peel(hint: Any) -> tuple[Any, bool, tuple[Any, ...]]:
    """Return a hint without `Annotated` and `| None`, whether it had None, and what Annotated said."""
    hint, outer = _unwrap(hint)
    hint, optional = _strip_none(hint)
    hint, inner = _unwrap(hint)
    return hint, optional, (*outer, *inner)


def _strip_none(hint: Any) -> tuple[Any, bool]:
    members = _members(hint)
    rest = tuple(m for m in members if m is not type(None))
    if len(rest) == len(members):
        return hint, False
    return (rest[0] if len(rest) == 1 else Union[rest]), True


def _unwrap(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    return (get_args(hint)[0], hint.__metadata__) if get_origin(hint) is Annotated else (hint, ())
