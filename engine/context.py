"""What a node may touch: progress, cancelled, models, files. A facade, never the application."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from PIL import Image as Pil

from engine.errors import Cancelled, Unavailable
from engine.events import Event, StepPreview, StepProgress
from engine.types import FileRef, Weights

PREVIEW_SECONDS = 0.2  # previews and progress closer together than this are dropped


class Models(Protocol):
    """Loaded networks, kept inside the memory budget."""

    def names(self, kind: str) -> Sequence[str]:
        """Return the names of the weights in folder `kind`."""

    def find(self, kind: str, name: str) -> Weights:
        """Return the weights called `name`; NotFound names the nearest ones."""

    def load(self, weights: Weights, *, family: str = "") -> dict[str, Any]:
        """Return the descriptions that `weights` holds by part: `model`, `clip`, `vae`; BadFile says why not.

        `family` names the model family, against what the file was recognised as.
        """

    def card(self, weights: Weights) -> dict[str, Any]:
        """Return what the file was recognised as, with the reason for every entry."""

    def use(self, described: Any, *, working_bytes: int = 0) -> AbstractContextManager[Any]:
        """Give the network that a Model, Clip or Vae describes, resident until the block ends."""


class Files(Protocol):
    """Files by name or content, never by path."""

    def names(self, kind: str) -> Sequence[str]:
        """Return the file names in folder `kind`."""

    def find(self, kind: str, name: str) -> Path:
        """Return where `name` lies inside folder `kind`; NotFound otherwise, also for names that lead outside."""

    def digest(self, kind: str, name: str) -> str:
        """Return the SHA-256 of that file's content (remembered by size and time)."""

    def read(self, ref: FileRef) -> bytes:
        """Return the content of an upload or result."""

    def save(self, data: bytes, *, prefix: str, suffix: str, media: str, temporary: bool = False) -> FileRef:
        """Write a result under the output folder as `prefix_00001.suffix`; temporary ones are only shown."""


class Nothing:
    """Stands where no models or files were given: every use says so."""

    def __init__(self, what: str) -> None:
        self._what = what

    @classmethod
    def models(cls) -> Any:
        """Return a stand-in for models."""
        return cls("models")

    @classmethod
    def files(cls) -> Any:
        """Return a stand-in for files."""
        return cls("files")

    def __getattr__(self, name: str) -> Any:
        raise Unavailable(f"This context has no {self._what}: give it some, or run the node in the engine.")


@dataclass
class Context:
    """Handed to a node as `ctx`. `Context()` works in a plain script: progress goes nowhere, nothing is cancelled."""

    node: str = ""
    job: str = ""
    workflow: dict[str, Any] | None = None
    models: Models = field(default_factory=Nothing.models)
    files: Files = field(default_factory=Nothing.files)
    emit: Callable[[Event], None] = lambda event: None
    cancelled: Callable[[], bool] = lambda: False
    resume: Callable[[], Any] = lambda: None  # what `checkpoint` kept last, if this very call was broken off before
    checkpoint: Callable[[Any], None] = lambda value: None  # keeps half-done work; it must not be changed afterwards
    memo: Mapping[str, Any] = field(default_factory=dict)  # what expansions of this run have noted
    _started: float = field(default_factory=time.monotonic)  # when counting began ...
    _from: int = 0  # ... at this unit
    _done: int = 0
    _shown: float = 0.0
    _previewed: float = 0.0

    def check(self) -> None:
        """Raise Cancelled if the run was cancelled; call it in every long loop."""
        if self.cancelled():
            raise Cancelled("The run was cancelled.", node=self.node)

    def progress(self, done: int, total: int, note: str = "", *, figures: Mapping[str, float] | None = None) -> None:
        """Report `done` of `total` units; the rate and the time left are derived. Raises Cancelled when due.

        `figures`: numbers to plot while it runs, such as `{"loss": 0.12}`; what is not finite is left out.
        """
        self.check()
        now = time.monotonic()
        if done == 0 or done < self._done:  # a new count begins
            self._started, self._from = now, done
        self._done = done
        if done < total and now - self._shown < PREVIEW_SECONDS:
            return
        self._shown = now
        spent = now - self._started
        rate = (done - self._from) / spent if done > self._from and spent > 0 else None
        left = (total - done) / rate if rate else None
        finite = {name: float(figure) for name, figure in (figures or {}).items() if math.isfinite(figure)}
        self.emit(StepProgress(self.node, done, total, rate, left, note, finite))

    def wants_preview(self) -> bool:
        """Say whether enough time has passed for another preview, so that none is made in vain."""
        return time.monotonic() - self._previewed >= PREVIEW_SECONDS

    def preview(self, rgb: Any) -> None:
        """Show `rgb`, an (H, W, 3) uint8 array, as a small picture of work in progress."""
        if not self.wants_preview():
            return
        self._previewed = time.monotonic()
        buffer = io.BytesIO()
        Pil.fromarray(rgb).save(buffer, "JPEG", quality=80)
        self.emit(StepPreview(self.node, "image/jpeg", buffer.getvalue()))
