"""A small laboratory: nodes that note their calls, and an engine around them that can be restarted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch

from engine import graph, workflow
from engine.bind import as_list
from engine.call import Services
from engine.context import Context
from engine.disk import Disk
from engine.errors import BadInput
from engine.events import Event
from engine.node import Expansion, Lazy, Range, node
from engine.registry import Registry
from engine.run import Run, RunResult
from engine.store import Store
from engine.trace import Traces
from engine.types import FileRef, Latent, Saved

Number = Annotated[int, Range(-(10**9), 10**9)]
Small = Annotated[int, Range(0, 5)]


class Ends(NamedTuple):
    low: int
    high: int


@node(category="lab")
def const(ctx: Context, value: Number = 0) -> int:
    """A number."""
    return value


@node(category="lab")
def inc(ctx: Context, value: Number, by: Number = 1) -> int:
    """One more."""
    return value + by


@node(category="lab")
def add(ctx: Context, a: Number, b: Number) -> int:
    """A sum."""
    return a + b


@node(category="lab")
def parity(ctx: Context, value: Number) -> int:
    """0 or 1: most changes of the input change nothing."""
    return value % 2


@node(category="lab")
def ends(ctx: Context, values: list[Number]) -> Ends:
    """Two outputs."""
    return Ends(min(values, default=0), max(values, default=0))


@node(category="lab")
def count(ctx: Context, n: Small = 3) -> list[int]:
    """A list."""
    return list(range(n))


@node(category="lab")
def total(ctx: Context, values: list[Number]) -> int:
    """Takes a list in whole."""
    return sum(values)


@node(category="lab")
def pick(ctx: Context, which: Number, a: Lazy[Number], b: Lazy[Number]) -> int:
    """Only one of two inputs is needed."""
    return a() if which % 2 == 0 else b()


@node(category="lab")
def down(ctx: Context, n: Annotated[int, Range(0, 2000)]) -> int | Expansion:
    """Expands into itself until 0; gives n."""
    if n == 0:
        return 0
    return Expansion(
        {
            "less": {"type": "inc", "inputs": {"value": ["@", "n"], "by": -1}},
            "rest": {"type": "down", "inputs": {"n": ["less", "int"]}},
            "more": {"type": "inc", "inputs": {"value": ["rest", "int"]}},
        },
        {"int": ("more", "int")},
    )


@node(category="lab")
def sevens_fail(ctx: Context, value: Number) -> int:
    """Refuses multiples of seven."""
    if value % 7 == 0:
        raise BadInput(f"{value} is a multiple of seven.", field="value")
    return value


@node(category="lab")
def tensor(ctx: Context, value: Number) -> Latent:
    """A value with a tensor, too large for the database."""
    return Latent(torch.full((1, 4, 8, 8), float(value)))


@node(category="lab")
def double(ctx: Context, latent: Latent) -> Latent:
    """Twice the tensor."""
    return Latent(latent.samples * 2)


@node(category="lab")
def mean(ctx: Context, latent: Latent) -> int:
    """Back to a number."""
    return int(latent.samples.mean())


@node(category="lab", effect=True)
def save(ctx: Context, value: Number) -> Saved:
    """Changes the world."""
    return Saved("text", (FileRef("d" * 64, "a.png", "image/png"),), str(value))


NODES = (
    const, inc, add, parity, ends, count, total, pick, down, sevens_fail, tensor, double, mean, save,
)  # fmt: skip


@dataclass
class Done:
    """A run: its result, what it emitted, and the nodes it called, in order."""

    result: RunResult
    events: list[Event]
    calls: list[str]
    values: dict[str, dict[str, Any]]

    @property
    def value(self) -> Any:
        """The one wanted value."""
        ((value,),) = (tuple(v.values()) for v in self.values.values())
        return value

    def why(self, name: str) -> str:
        return next(e.why for e in self.events if e.kind == "step_done" and e.node == name)  # type: ignore[attr-defined]


@dataclass
class Lab:
    """An engine. `folder` None keeps values in memory only."""

    folder: Path | None = None
    budget: int = 2**26
    disk_budget: int = 2**30
    numeric: str = "cpu"
    file_digest: Callable[[str, str], str] = lambda kind, name: ""
    extra: tuple[Callable[..., Any], ...] = ()
    calls: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.registry = Registry()
        for function in (*NODES, *self.extra):
            self.registry.add(function)
        self.disk = Disk(self.folder, self.disk_budget) if self.folder else None
        self.services = Services(
            functions={name: self._noted(call) for name, call in self.registry.functions.items()},
            specs=self.registry.specs,
            store=Store(self.budget, self.disk),
            traces=Traces(self.disk),
            file_digest=self.file_digest,
            numeric=self.numeric,
        )

    def _noted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(ctx: Context, **inputs: Any) -> Any:
            self.calls.append(ctx.node)
            return function(ctx, **inputs)

        return call

    def restarted(self) -> Lab:
        """Return the engine as it is after a restart."""
        self.close()
        return Lab(self.folder, self.budget, self.disk_budget, self.numeric, self.file_digest, self.extra)

    def close(self) -> None:
        if self.disk:
            self.disk.close()

    def graph(self, plain: Mapping[str, Any], **options: Any) -> graph.Graph:
        return graph.build(workflow.parse(dict(plain)), self.registry.specs, **options)

    def run(
        self, plain: Mapping[str, Any], *, steps: int = 10**9, wanted: tuple[str, ...] = (), **options: Any
    ) -> Done:
        """Run a workflow; it is cancelled after `steps` steps."""
        self.calls.clear()
        left = iter(range(steps))
        events: list[Event] = []
        built = self.graph(plain, wanted=wanted)
        run = Run(built, self.services, emit=events.append, cancelled=lambda: next(left, None) is None, **options)
        result = run.execute()
        values = {n: {o: self.value(r) for o, r in outputs.items()} for n, outputs in result.outputs.items()}
        return Done(result, events, list(self.calls), values)

    def value(self, result: Any) -> Any:
        """Return the value of a result, tensors as lists so that they compare."""
        if isinstance(result, tuple):
            return [self.value(d) for d in as_list(result)]
        value = self.services.store.get(result)
        return value.samples.tolist() if isinstance(value, Latent) else value


def nodes(**given: tuple[Any, ...]) -> dict[str, Any]:
    """Write a workflow's nodes: `name=("type", {inputs})`, with a mode behind if it has one."""
    return {
        name: {"type": type, "inputs": inputs, **({"mode": mode[0]} if mode else {})}
        for name, (type, inputs, *mode) in given.items()
    }
