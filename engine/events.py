"""What happens during a run, as data. Durable ones reach the ledger; progress and previews are only streamed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Event:
    """Base: `kind` is its name on the wire, `durable` says whether the ledger keeps it."""

    kind: ClassVar[str] = "event"
    durable: ClassVar[bool] = True

    def to_json(self) -> dict[str, Any]:
        """Return the wire form."""
        return {"kind": self.kind, **{k: v for k, v in asdict(self).items() if not isinstance(v, bytes)}}


@dataclass(frozen=True, slots=True)
class RunStarted(Event):
    """A run begins; `steps` is how many nodes are wanted as far as known (lazy ones excluded)."""

    kind: ClassVar[str] = "run_started"
    steps: int


@dataclass(frozen=True, slots=True)
class StepStarted(Event):
    """A node is about to be called. `why` answers "why did this run again?"."""

    kind: ClassVar[str] = "step_started"
    durable: ClassVar[bool] = False
    node: str
    type: str
    why: str


@dataclass(frozen=True, slots=True)
class StepProgress(Event):
    """`done` of `total` units; `rate` in units per second and `left` in seconds where known.

    `figures` are numbers by name as they stand at `done`, such as a loss: the editor draws them as they come.
    """

    kind: ClassVar[str] = "step_progress"
    durable: ClassVar[bool] = False
    node: str
    done: int
    total: int
    rate: float | None = None
    left: float | None = None
    note: str = ""
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StepPreview(Event):
    """A small picture of work in progress; `data` is the encoded file of type `media`."""

    kind: ClassVar[str] = "step_preview"
    durable: ClassVar[bool] = False
    node: str
    media: str
    data: bytes


@dataclass(frozen=True, slots=True)
class StepMessage(Event):
    """What a custom node says to its own clients: `name` and `data`, as JSON. Sfumato's own do not listen."""

    kind: ClassVar[str] = "step_message"
    durable: ClassVar[bool] = False
    node: str
    name: str
    data: Any


@dataclass(frozen=True, slots=True)
class StepCached(Event):
    """A node whose result was there already. `outputs` and `ui` as in StepDone."""

    kind: ClassVar[str] = "step_cached"
    node: str
    type: str
    key: str
    outputs: dict[str, Any] = field(default_factory=dict)
    ui: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class StepDone(Event):
    """A node has finished and its results are durable. `outputs`: output name to digest, or to a list of digests.

    `ui` is what the node shows people (saved files, text), `why` the reason it ran.
    """

    kind: ClassVar[str] = "step_done"
    node: str
    type: str
    key: str
    seconds: float
    why: str
    outputs: dict[str, Any] = field(default_factory=dict)
    ui: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class StepFailed(Event):
    """A node could not give its result. Branches that do not need it go on."""

    kind: ClassVar[str] = "step_failed"
    node: str
    type: str
    problems: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class StepSkipped(Event):
    """A node that was not called because node `because` failed, or gave no value on purpose; then `note` says why."""

    kind: ClassVar[str] = "step_skipped"
    node: str
    type: str
    because: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class RunFinished(Event):
    """The run is over: `state` is done, failed or cancelled."""

    kind: ClassVar[str] = "run_finished"
    state: str
    seconds: float
    ran: int
    cached: int
    failed: int
