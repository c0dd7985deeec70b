"""Every error the product can raise: a code, a node, a field and a sentence to act on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: what (`code`, `message`) and where (`node`, `field`)."""

    code: str
    message: str
    node: str | None = None
    field: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the wire form, without empty places."""
        return {k: v for k, v in asdict(self).items() if v is not None}

    def __str__(self) -> str:
        where = f"node {self.node}" if self.node else ""
        where += f", input {self.field}" if self.field else ""
        return f"[{self.code}] {where}{': ' if where else ''}{self.message}"


class SfumatoError(Exception):
    """Base of all errors that are shown to people. `message` says what came and what to do."""

    code = "error"
    status = 400  # the HTTP answer it becomes

    def __init__(self, message: str, *, node: str | None = None, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.node = node
        self.field = field

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All that is wrong; most errors carry one problem."""
        return (Problem(self.code, self.message, self.node, self.field),)

    def at(self, node: str) -> SfumatoError:
        """Name the node it happened on, unless one is named already."""
        self.node = self.node or node
        return self


class WorkflowInvalid(SfumatoError):
    """A workflow that cannot run, with every reason at once."""

    code = "invalid_workflow"

    def __init__(self, problems: Iterable[Problem]) -> None:
        found = tuple(problems)
        super().__init__("; ".join(str(p) for p in found))
        self._problems = found

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All that is wrong."""
        return self._problems

    def at(self, node: str) -> SfumatoError:
        """Name `node` on the problems that name none."""
        self._problems = tuple(p if p.node else replace(p, node=node) for p in self._problems)
        return self


class BadInput(SfumatoError):
    """An input value that a node cannot use."""

    code = "bad_input"


class BadFile(SfumatoError):
    """A file that is corrupt, hostile or of another kind than needed."""

    code = "bad_file"


class NotFound(SfumatoError):
    """A name or id that nothing answers to."""

    code = "not_found"
    status = 404


class Conflict(SfumatoError):
    """A change that collides with another: an old revision, a reused key."""

    code = "conflict"
    status = 409


class Denied(SfumatoError):
    """A request that may not be made: no token, a foreign origin."""

    code = "denied"
    status = 401


class TooLarge(SfumatoError):
    """A request, file or picture over its limit."""

    code = "too_large"
    status = 413


class Unavailable(SfumatoError):
    """Something that is not ready now and may be later."""

    code = "unavailable"
    status = 503


class NodeFailed(SfumatoError):
    """A node that raised something unforeseen; the cause is kept for the log."""

    code = "node_failed"
    status = 500


class NotFinite(SfumatoError):
    """NaN or infinity where a picture or latent was due."""

    code = "not_finite"


class OutOfMemory(SfumatoError):
    """More memory was needed than there is."""

    code = "out_of_memory"


class Cancelled(SfumatoError):
    """The run was cancelled; what had finished is kept."""

    code = "cancelled"
