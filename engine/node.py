"""`@node`: inputs, outputs, bounds, widgets and help, all read from a function's signature and docstring."""

from __future__ import annotations

import inspect
import math
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache, cached_property
from typing import Annotated, Any, Generic, Literal, TypeVar, Union, get_args, get_origin

from engine.errors import BadInput
from engine.types import Saved, Value

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

SEED_MAX = 2**53 - 1  # the largest integer that JSON readers in browsers keep exact
STRING_MAX = 100_000
SCALARS: dict[type, str] = {bool: "BOOLEAN", int: "INT", float: "FLOAT", str: "STRING", dict: "JSON"}
PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "BOOLEAN": (bool,), "INT": (int,), "FLOAT": (float, int), "STRING": (str,), "JSON": (dict, list, str, int, float),
}  # fmt: skip


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
    `outputs` maps each of the node's outputs to a link into `nodes`.
    """

    nodes: dict[str, Any]
    outputs: dict[str, tuple[str, str]]


# What the engine knows of a node -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class InputSpec:
    """One input: its socket types (`A|B`), whether it must be given, its bounds and its widget."""

    name: str
    type: str
    required: bool = True
    default: Any = None
    low: float | None = None
    high: float | None = None
    step: float | None = None
    choices: tuple[str, ...] | None = None
    multiline: bool = False
    max_length: int | None = None
    file: str | None = None
    widget: str | None = None
    widget_options: dict[str, Any] = field(default_factory=dict)
    lazy: bool = False
    list: bool = False
    help: str = ""

    @cached_property
    def types(self) -> frozenset[str]:
        """The socket types it takes."""
        return frozenset(self.type.split("|"))

    def check(self, value: Any) -> Any:
        """Return `value` as the function wants it, or raise BadInput with the bounds in its sentence."""
        if value is None and not self.required:
            return None
        if not holds(self.types, value):
            raise self._bad(f"needs {self.type}, got {_shown(value)}")
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return self._check_number(value)
        if isinstance(value, str):
            self._check_text(value)
        return value

    def _check_number(self, value: float) -> float:
        if isinstance(value, float) and not math.isfinite(value):
            raise self._bad("needs a finite number")
        if self.low is not None and self.high is not None and not self.low <= value <= self.high:
            raise self._bad(f"needs a value from {self.low:g} to {self.high:g}, got {_shown(value)}")
        if isinstance(value, int) and self.types == {"INT"} and self.step and (value - (self.low or 0)) % self.step:
            raise self._bad(f"needs a multiple of {self.step:g}, got {value}")
        return float(value) if self.types == {"FLOAT"} else value

    def _check_text(self, value: str) -> None:
        if len(value) > (self.max_length or STRING_MAX):
            raise self._bad(f"is limited to {self.max_length or STRING_MAX} characters, got {len(value)}")
        if self.choices is not None and value not in self.choices:
            near = ", ".join(self.choices[:12]) + (", ..." if len(self.choices) > 12 else "")
            raise self._bad(f"does not know {value!r}; choose one of: {near or '(nothing to choose)'}")

    def _bad(self, sentence: str) -> BadInput:
        return BadInput(f"{self.name} {sentence}.", field=self.name)


def holds(types: frozenset[str], value: Any) -> bool:
    """Say whether a value belongs to one of these socket types. A boolean is no number; an integer is a FLOAT too."""
    if "ANY" in types:
        return True
    if isinstance(value, bool):
        return not types.isdisjoint({"BOOLEAN", "JSON"})
    if isinstance(value, Value):
        return value.socket in types
    return isinstance(value, _python_types(types))


@cache
def _python_types(types: frozenset[str]) -> tuple[type, ...]:
    return tuple(kind for name in types for kind in PYTHON_TYPES.get(name, ()))


@dataclass(frozen=True)
class OutputSpec:
    """One output: its name and socket type; `list` outputs are taken apart and mapped over downstream."""

    name: str
    type: str
    list: bool = False

    @cached_property
    def types(self) -> frozenset[str]:
        """The socket types it may give."""
        return frozenset(self.type.split("|"))


@dataclass(frozen=True)
class NodeSpec:
    """All that the engine and the editor know of a node, as plain data; the function itself lives in the worker."""

    id: str
    title: str
    category: str
    version: int
    doc: str
    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]
    effect: bool = False
    output: bool = False
    pack: str = ""
    code: str = ""

    def input(self, name: str) -> InputSpec | None:
        """Return the input called `name`, or None."""
        return self._inputs.get(name)

    def output_named(self, name: str) -> OutputSpec | None:
        """Return the output called `name`, or None."""
        index = self.position.get(name)
        return None if index is None else self.outputs[index]

    @cached_property
    def position(self) -> dict[str, int]:
        """The place of each output among the outputs, by name."""
        return {output.name: index for index, output in enumerate(self.outputs)}

    @cached_property
    def file_inputs(self) -> tuple[InputSpec, ...]:
        """The inputs that name a file."""
        return tuple(i for i in self.inputs if i.file)

    @cached_property
    def _inputs(self) -> dict[str, InputSpec]:
        return {i.name: i for i in self.inputs}

    def to_json(self) -> dict[str, Any]:
        """Return the catalogue's form, defaults left out of the inputs."""
        plain = asdict(self)
        plain["inputs"] = [_sparse(i, InputSpec) for i in self.inputs]
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> NodeSpec:
        """Read the catalogue's form back."""
        inputs = tuple(
            InputSpec(**{**i, "choices": tuple(i["choices"]) if i.get("choices") is not None else None})
            for i in plain["inputs"]
        )
        outputs = tuple(OutputSpec(**o) for o in plain["outputs"])
        return cls(**{**plain, "inputs": inputs, "outputs": outputs})


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


def _sparse(value: Any, kind: type) -> dict[str, Any]:
    """Return a dataclass as a dict without the fields that hold their defaults."""
    defaults = {f.name: f.default_factory() if callable(f.default_factory) else f.default for f in fields(kind)}
    return {k: v for k, v in asdict(value).items() if k not in defaults or v != defaults[k]}


def _shown(value: Any) -> str:
    huge = isinstance(value, int) and value.bit_length() > 1000  # has no repr
    text = "beyond all bounds" if huge else repr(value)
    return f"{type(value).__name__} {text[:60]}{'...' if len(text) > 60 else ''}"
