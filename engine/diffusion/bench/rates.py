"""What the machine can do, in operations per second of a large product and convolution, and what a network asks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

TRIES = 12
SIDE = 2048
CONVOLUTION = "convolution"


@dataclass(frozen=True)
class Flops:
    """Operations of a network call: in convolutions, and in matrix products with attention."""

    convolution: float
    product: float

    @property
    def total(self) -> float:
        """All operations."""
        return self.convolution + self.product


@dataclass(frozen=True)
class Rates:
    """Operations per second in one number format."""

    convolution: float
    product: float

    @classmethod
    def measured(cls, dtype: torch.dtype) -> Rates:
        """Measure, each the best of several tries: a 2048 matrix product and a 3x3 convolution, 640 wide at 32x32."""
        a = torch.randn(SIDE, SIDE, dtype=dtype)
        x = torch.randn(2, 640, 32, 32, dtype=dtype).to(memory_format=torch.channels_last)
        w = torch.randn(640, 640, 3, 3, dtype=dtype).to(memory_format=torch.channels_last)
        return cls(
            2 * 2 * 32 * 32 * 640 * 640 * 9 / _best(lambda: F.conv2d(x, w, padding=1)),
            2 * SIDE**3 / _best(lambda: a @ a),
        )

    def seconds(self, flops: Flops) -> float:
        """Return how long the operations take at these rates."""
        return flops.convolution / self.convolution + flops.product / self.product

    def to_json(self) -> dict[str, float]:
        """Return the rates in operations per second."""
        return {f"{name}_gflops": rate / 1e9 for name, rate in asdict(self).items()}


def flops_of(call: Callable[[], Any]) -> Flops:
    """Count the operations of a call (a multiply-add is two)."""
    with FlopCounterMode(display=False) as counter:
        call()
    counts = counter.get_flop_counts().get("Global", {})
    convolution = sum(n for op, n in counts.items() if CONVOLUTION in str(op))
    return Flops(convolution, sum(counts.values()) - convolution)


def _best(call: Callable[[], Any]) -> float:
    times = []
    for _ in range(TRIES):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times)
