"""One measurement of a method, with its bar and what the same gives without the method."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.bozzetto.bed import Pixels


@dataclass(frozen=True)
class Figure:
    """The card's metric and bar; `control`: the same without the method, which must lie `margin` below the value.

    `row` tells several figures of a method apart. With `most` the bar is an upper one. `why` is what a figure that
    falls short is put down to.
    """

    metric: str
    value: float
    bar: float
    control: float | None
    n: int
    row: str = ""
    margin: float | None = None
    most: bool = False
    why: str = ""

    @property
    def apart(self) -> float | None:
        """By how much the value is better than the control."""
        if self.control is None:
            return None
        return self.control - self.value if self.most else self.value - self.control

    @property
    def met(self) -> bool:
        """Whether bar and margin hold; what could not be measured does not."""
        enough = self.value <= self.bar if self.most else self.value >= self.bar
        return bool(enough and (self.margin is None or (self.apart is not None and self.apart >= self.margin)))

    def as_json(self) -> dict[str, Any]:
        """Return the wire form; what could not be measured is null."""
        plain: dict[str, Any] = {
            "metric": self.metric, "value": _number(self.value), "bar": self.bar, "met": self.met,
            "control": _number(self.control), "n": self.n,
        }  # fmt: skip
        extra = {"margin": _number(self.apart), "margin_bar": self.margin, "at_most": self.most or None,
                 "why": None if self.met else self.why or None}  # fmt: skip
        return plain | {k: v for k, v in extra.items() if v is not None}


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), 4)


@dataclass(frozen=True)
class Measured:
    """A method's figures, and pictures that show it, by what they are."""

    figures: tuple[Figure, ...]
    pictures: Mapping[str, Pixels]


def mean(values: Iterable[Any]) -> float:
    """Return the mean of what could be measured, NaN of nothing."""
    kept = [float(v) for v in values if not math.isnan(v)]
    return float(np.mean(kept)) if kept else math.nan
