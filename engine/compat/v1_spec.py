"""A v1 node class read: its inputs and options, its outputs, its attributes; as a NodeSpec and as `/object_info`."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.spec import InputSpec, NodeSpec, OutputSpec

SECTIONS = ("required", "optional", "hidden")
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN"}
UPLOADS = ("image_upload", "video_upload", "audio_upload", "animated_image_upload", "upload", "file_upload", "remote")
UI = "ui"  # the output of an OUTPUT_NODE that holds what it shows
FLAGS = {"DEPRECATED": "deprecated", "EXPERIMENTAL": "experimental", "API_NODE": "api_node"}
OWN_STATE = {"UNIQUE_ID", "DYNPROMPT"}  # hidden inputs that make a result depend on which node it is


@dataclass(frozen=True)
class V1Input:
    """One declared input: its type as the class gives it (a text, or a list of choices) and its options."""

    name: str
    section: str
    type: Any
    options: Mapping[str, Any]

    @property
    def choices(self) -> list[Any] | None:
        """The values of a combo, None for any other input."""
        if isinstance(self.type, (list, tuple)):
            return list(self.type)
        return list(self.options.get("options", ())) if self.type == "COMBO" else None

    @property
    def socket(self) -> str:
        """The type of the socket here."""
        return socket_of(self.type)

    @property
    def lazy(self) -> bool:
        """Whether it is only computed on request."""
        return bool(self.options.get("lazy") or self.options.get("rawLink"))

    def config(self) -> list[Any]:
        """Return `[type, options]` as `/object_info` shows it; without options, only the type."""
        kind = list(self.type) if isinstance(self.type, (list, tuple)) else str(self.type)
        return [kind, dict(self.options)] if self.options else [kind]


@dataclass
class V1Class:
    """A node class of a pack, read once; `inputs` are read anew whenever a prompt is checked, as lists are live."""

    name: str
    cls: Any
    pack: str
    code: str
    title: str = ""
    inputs: tuple[V1Input, ...] = ()
    hidden: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.read()

    def read(self) -> None:
        """Ask the class for its inputs."""
        types = self.cls.INPUT_TYPES()
        self.inputs = tuple(
            V1Input(name, section, *_config(given))
            for section in SECTIONS[:2]
            for name, given in (types.get(section) or {}).items()
        )
        self.hidden = {name: _kind(given) for name, given in (types.get("hidden") or {}).items()}

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return an attribute of the class."""
        return getattr(self.cls, name, default)

    @property
    def returns(self) -> tuple[Any, ...]:
        """The declared output types."""
        return tuple(self.attribute("RETURN_TYPES", ()))

    @property
    def is_output(self) -> bool:
        """Whether a prompt is run for it."""
        return bool(self.attribute("OUTPUT_NODE", False))

    @property
    def takes_lists(self) -> bool:
        """Whether all inputs arrive as lists."""
        return bool(self.attribute("INPUT_IS_LIST", False))

    @property
    def lists(self) -> tuple[bool, ...]:
        """For each output, whether it is a list."""
        given = tuple(self.attribute("OUTPUT_IS_LIST", ()) or ())
        return tuple(bool(x) for x in given) + (False,) * (len(self.returns) - len(given))

    @property
    def has_own_state(self) -> bool:
        """Whether its results depend on which node it is."""
        return bool(self.attribute("NOT_IDEMPOTENT", False)) or bool(OWN_STATE & set(map(str, self.hidden.values())))

    def checked_by_class(self) -> Callable[[str], bool]:
        """Return which inputs VALIDATE_INPUTS takes care of: bounds and choices do not hold for those."""
        validate = self.attribute("VALIDATE_INPUTS")
        names, every = parameters(validate) if validate else (set(), False)
        return lambda name: every or name in names

    # Into ours -----------------------------------------------------------------------------------------------------

    def spec(self) -> NodeSpec:
        """Return the class as a node of ours."""
        own = self.checked_by_class()
        return NodeSpec(
            id=self.name,
            title=self.title or self.name,
            category=str(self.attribute("CATEGORY", "sd")),
            version=1,
            doc=str(self.attribute("DESCRIPTION", "") or f"{self.name} of {self.pack}."),
            inputs=tuple(_input(i, self.takes_lists, checked=own(i.name)) for i in self.inputs),
            outputs=(*self._outputs(), *([OutputSpec(UI, "SAVED")] if self.is_output else [])),
            output=self.is_output,
            pack=self.pack,
            code=self.code,
            open=True,
            uneven=True,
        )

    def _outputs(self) -> Iterator[OutputSpec]:
        taken = {UI} if self.is_output else set[str]()
        for name, kind, is_list in zip(self.names(), self.returns, self.lists, strict=True):
            free = next(n for n in numbered(str(name)) if n not in taken)
            taken.add(free)
            yield OutputSpec(free, socket_of(kind), is_list)

    def names(self) -> list[str]:
        """Return the names of the outputs, their types where there are none."""
        types = [_shown(t) for t in self.returns]
        given = [str(n) for n in self.attribute("RETURN_NAMES", ()) or ()]
        return given + types[len(given) :] if len(given) <= len(types) else given[: len(types)]

    # Into theirs ---------------------------------------------------------------------------------------------------

    def info(self) -> dict[str, Any]:
        """Return the class's entry in `/object_info`."""
        sections: dict[str, dict[str, Any]] = {"required": {}}
        for each in self.inputs:
            sections.setdefault(each.section, {})[each.name] = plain(each.config())
        if self.hidden:
            sections["hidden"] = {name: plain(kind) for name, kind in self.hidden.items()}
        entry = {
            "input": sections,
            "input_order": {section: list(names) for section, names in sections.items()},
            "output": [plain(list(t) if isinstance(t, (list, tuple)) else str(t)) for t in self.returns],
            "output_is_list": list(self.lists),
            "output_name": self.names(),
            "name": self.name,
            "display_name": self.title or self.name,
            "description": str(self.attribute("DESCRIPTION", "") or ""),
            "python_module": f"custom_nodes.{self.pack}",
            "category": str(self.attribute("CATEGORY", "sd")),
            "output_node": self.is_output,
        }
        tooltips = self.attribute("OUTPUT_TOOLTIPS")
        entry |= {"output_tooltips": list(tooltips)} if tooltips else {}
        return entry | {key: True for name, key in FLAGS.items() if self.attribute(name)}


def parameters(function: Any) -> tuple[set[str], bool]:
    """Return the names that a function takes by keyword, and whether it takes any others (`**kwargs`)."""
    given = inspect.signature(function).parameters.values()
    return {p.name for p in given if p.kind != p.VAR_KEYWORD}, any(p.kind == p.VAR_KEYWORD for p in given)


def socket_of(kind: Any) -> str:
    """Return the socket type here of a type there; wildcards are ANY."""
    if isinstance(kind, (list, tuple)):
        return "STRING" if all(isinstance(choice, str) for choice in kind) else "ANY"
    if kind == "COMBO":
        return "STRING"
    if is_wildcard(kind):
        return "ANY"
    return "|".join(part.strip() for part in str(kind).split(","))


def is_wildcard(kind: Any) -> bool:
    """Say whether a type matches every other: `*`, or a text that calls itself unequal to nothing."""
    differs = kind != "a type that no pack has"
    return str(kind) == "*" or not differs


def matches(received: Any, wanted: Any) -> bool:
    """Say whether an output of one type may go into an input of another, as ComfyUI decides it."""
    differs = received != wanted  # a pack's own text class may answer this as it likes
    if not differs or is_wildcard(wanted) or is_wildcard(received):
        return True
    if not isinstance(received, str) or not isinstance(wanted, str):
        return {_shown(received), _shown(wanted)} <= {"COMBO", "STRING"}
    return bool({p.strip() for p in received.split(",")} & {p.strip() for p in wanted.split(",")})


def numbered(name: str) -> Iterator[str]:
    """Give `name`, `name_2`, `name_3` ..."""
    yield name
    number = 2
    while True:
        yield f"{name}_{number}"
        number += 1


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it; what it cannot becomes text."""
    return json.loads(json.dumps(value, default=str))


def _config(given: Any) -> tuple[Any, dict[str, Any]]:
    """Split `(type,)` or `(type, options)`; a bare type occurs too."""
    if not isinstance(given, (list, tuple)) or not given:
        return given, {}
    return given[0], dict(given[1]) if len(given) > 1 and isinstance(given[1], Mapping) else {}


def _kind(given: Any) -> Any:
    return given[0] if isinstance(given, (list, tuple)) and given else given


def _shown(kind: Any) -> str:
    return "COMBO" if isinstance(kind, (list, tuple)) else str(kind)


def _input(given: V1Input, is_list: bool, *, checked: bool) -> InputSpec:
    """Read an input. Bounds and choices hold unless the class checks the value itself, or the choices are files."""
    options, choices = given.options, given.choices
    low, high = options.get("min"), options.get("max")
    bounded = not checked and _is_number(low) and _is_number(high)
    texts = choices is not None and all(isinstance(c, str) for c in choices)
    fixed = texts and not checked and not any(options.get(name) for name in UPLOADS)
    default = options.get("default", choices[0] if choices else None)
    kept = isinstance(default, (bool, int, float, str)) and (given.socket in WIDGETS or choices is not None)
    return InputSpec(
        name=given.name,
        type=given.socket,
        required=given.section == "required" and not kept,
        default=default if kept else None,
        low=float(low) if bounded and low is not None else None,
        high=float(high) if bounded and high is not None else None,
        choices=tuple(choices or ()) if fixed else None,
        multiline=bool(options.get("multiline", False)),
        lazy=given.lazy,
        list=is_list,
        help=str(options.get("tooltip", "")),
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
