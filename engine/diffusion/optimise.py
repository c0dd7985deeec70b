"""Learning by gradient descent: one loop for embeddings, patches, decoders and whatever else a graph optimises.

What a step sees follows from its number alone, so work that was broken off and resumed gives what it would have given
uninterrupted, bit for bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from engine.errors import Cancelled, NotFinite
from engine.types import Plot

CHECKPOINT_SECONDS = 30.0
CURVE_POINTS = 20

Parameters = Mapping[str, Tensor]
Loss = Callable[[Parameters, int], Tensor]
"""(parameters, step) -> the loss to descend, one number with a gradient."""
Measure = Callable[[Parameters], float]
"""parameters -> the loss on looks that never change, for a curve without the noise of the steps."""


class Desk(Protocol):
    """Who is told of the work and keeps it half-done; a node's context is one."""

    @property
    def resume(self) -> Callable[[], Any]:
        """Gives what was kept last of this very work, or None."""

    @property
    def checkpoint(self) -> Callable[[Any], None]:
        """Keeps half-done work."""

    def progress(self, done: int, total: int, note: str = "", *, figures: Mapping[str, float] | None = None) -> None:
        """Take note of `done` of `total` steps; raises Cancelled when the work shall stop."""


@dataclass(frozen=True)
class Learnt:
    """What was learnt, and the measured loss by step."""

    parameters: dict[str, Tensor]
    curve: tuple[tuple[float, float], ...]

    @property
    def plot(self) -> Plot:
        """The loss as a curve to look at."""
        return Plot({"loss": self.curve}, "step", "squared error")


def optimise(start: Parameters, loss: Loss, desk: Desk, *, steps: int, rate: float, measure: Measure) -> Learnt:
    """Descend `loss` from `start` by Adam (Kingma and Ba 2014, arXiv 1412.6980), `steps` times.

    `start` itself is not changed. Cancelling keeps what was reached; so does every half a minute.
    """
    work = _Work(start, rate)
    work.restore(desk.resume())
    with half_done(desk, work.state) as keep:
        while work.step < steps:
            work.note(measure, max(1, steps // CURVE_POINTS))
            desk.progress(work.step, steps, figures={"loss": work.curve[-1][1]})
            work.advance(loss)
            keep()
    work.note(measure, 1)
    desk.progress(steps, steps, figures={"loss": work.curve[-1][1]})
    return Learnt({name: p.detach() for name, p in work.parameters.items()}, tuple(work.curve))


@contextmanager
def half_done(desk: Desk, state: Callable[[], Any]) -> Iterator[Callable[[], None]]:
    """Keep half-done work, `state()`, when the block is cancelled, and at times when what it gives is called."""
    kept = time.monotonic()

    def keep() -> None:
        nonlocal kept
        if time.monotonic() - kept > CHECKPOINT_SECONDS:
            desk.checkpoint(state())
            kept = time.monotonic()

    try:
        yield keep
    except Cancelled:
        desk.checkpoint(state())
        raise


class _Work:
    """Parameters, the optimiser's moments, and how far it is."""

    def __init__(self, start: Parameters, rate: float) -> None:
        self.parameters = {name: p.detach().clone().requires_grad_(True) for name, p in start.items()}
        self.optimiser = torch.optim.Adam(self.parameters.values(), lr=rate)
        self.step = 0
        self.curve: list[tuple[float, float]] = []

    def advance(self, loss: Loss) -> None:
        with torch.enable_grad():
            value = loss(self.parameters, self.step)
        if not math.isfinite(float(value.detach())):
            raise NotFinite(f"The loss is not finite at step {self.step}: lower the rate.", field="rate")
        self.optimiser.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.step += 1

    def note(self, measure: Measure, every: int) -> None:
        """Put a point on the curve if one is due."""
        if self.step % every == 0 and (not self.curve or self.curve[-1][0] < self.step):
            with torch.no_grad():
                self.curve.append((float(self.step), measure(self.parameters)))

    def state(self) -> dict[str, Any]:
        """Return copies of all that is needed to go on."""
        moments = {name: dict(self.optimiser.state[p]) for name, p in self.parameters.items()}
        return {
            "step": self.step,
            "curve": tuple(self.curve),
            "parameters": {name: p.detach().clone() for name, p in self.parameters.items()},
            "moments": {name: {k: v.clone() for k, v in each.items()} for name, each in moments.items()},
        }

    def restore(self, state: Any) -> None:
        if state is None:
            return
        self.step, self.curve = state["step"], list(state["curve"])
        for name, p in self.parameters.items():
            p.data.copy_(state["parameters"][name])
            self.optimiser.state[p] = {k: v.clone() for k, v in state["moments"][name].items()}
