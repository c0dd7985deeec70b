"""What the engine and the editor know of a node, as plain data; the function itself lives in the worker."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache, cached_property
from typing import Any

from engine.errors import BadInput
from engine.types import Value

STRING_MAX = 100_000
PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "BOOLEAN": (bool,), "INT": (int,), "FLOAT": (float, int), "STRING": (str,), "JSON": (dict, list, str, int, float),
}  # fmt: skip


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
    """All that the engine and the editor know of a node, as plain data; the function itself lives in the worker.

    `open`: it takes links under names that it does not declare; `uneven`: of lists of different lengths that it is
    mapped over, the shorter ones repeat their last value.
    """

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
    open: bool = False
    uneven: bool = False

    def input(self, name: str) -> InputSpec | None:
        """Return the input called `name`, or None."""
        return self._inputs.get(name)

    def taking(self, names: Iterable[str]) -> NodeSpec:
        """Return the spec of an open node with inputs for these names too."""
        more = tuple(InputSpec(name, "ANY", required=False) for name in names if name not in self._inputs)
        return replace(self, inputs=self.inputs + more) if self.open and more else self

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
    def prompt_inputs(self) -> tuple[InputSpec, ...]:
        """The texts of a node that reads with a text encoder: they may name learnt words."""
        if not any("CLIP" in i.types for i in self.inputs):
            return ()
        return tuple(i for i in self.inputs if "STRING" in i.types and not i.file)

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


def _sparse(value: Any, kind: type) -> dict[str, Any]:
    """Return a dataclass as a dict without the fields that hold their defaults."""
    defaults = {f.name: f.default_factory() if callable(f.default_factory) else f.default for f in fields(kind)}
    return {k: v for k, v in asdict(value).items() if k not in defaults or v != defaults[k]}


def _shown(value: Any) -> str:
    huge = isinstance(value, int) and value.bit_length() > 1000  # has no repr
    text = "beyond all bounds" if huge else repr(value)
    return f"{type(value).__name__} {text[:60]}{'...' if len(text) > 60 else ''}"
