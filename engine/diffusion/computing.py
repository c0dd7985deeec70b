"""How a network's calls are carried out: by which kernel of attention, replayed as one graph, or compiled.

None of it changes what is computed, but for the rounding of other kernels. Graphs, and the kernels of GPUs, are tested
with a fake device; what they gain has not been measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from engine.diffusion import residency
from engine.diffusion.backends import Backend, Kernel
from engine.diffusion.wrapped import Wrapped
from engine.types import Cond, Overlay

KERNEL, GRAPH, COMPILED = "kernel", "graph", "compiled"  # options of a Model


# Attention -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AttentionKernel(Overlay):
    """Attention by one of torch's kernels; BadInput, when called, if the device has none of that name."""

    kernel: Kernel

    def over(self, network: Any) -> Any:
        """Return the network with that kernel."""
        return ByKernel(network, Backend(residency.device_of(network.module)), self.kernel)


@dataclass(frozen=True, eq=False)
class ByKernel(Wrapped):
    """A network whose attention is computed by `kernel`."""

    backend: Backend
    kernel: Kernel

    def __call__(self, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """Predict."""
        with self.backend.attention(self.kernel):
            out: Tensor = self.network(x, c_noise, cond)
        return out


# Graphs --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Graph(Overlay):
    """Calls recorded once per shape and replayed, where the device can."""

    def over(self, network: Any) -> Any:
        """Return the network with nothing recorded yet."""
        return Graphed(network, Backend(residency.device_of(network.module)))


@dataclass(frozen=True)
class Recorded:
    """A call as the device recorded it: it reads `inputs` and gives what `replay` returns."""

    inputs: tuple[Tensor, ...]
    replay: Callable[[], Tensor]


@dataclass(frozen=True, eq=False)
class Graphed(Wrapped):
    """A network whose calls are replayed. What hooks see, or is streamed, is called as ever.

    A recording holds the addresses of weights, so it counts for these weights alone; it lives as long as this object,
    which is as long as the network is in use.
    """

    backend: Backend
    recorded: dict[Hashable, Recorded] = field(default_factory=dict)

    def __call__(self, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """Predict."""
        leaves, spec = tree_flatten((x, c_noise, cond.tokens, cond.pooled, cond.extra))
        tensors = tuple(leaf for leaf in leaves if isinstance(leaf, Tensor))
        weights = residency.addresses(self.network.module)
        if not self.backend.records or weights is None or not _plain(leaves):
            out: Tensor = self.network(x, c_noise, cond)
            return out
        others = tuple(leaf for leaf in leaves if not isinstance(leaf, Tensor))
        key = (tuple((t.shape, t.dtype) for t in tensors), others, str(spec), weights)
        if key not in self.recorded:
            self.recorded.clear()  # one at a time: each keeps its activations
            self.recorded[key] = self._record(leaves, spec)
        recorded = self.recorded[key]
        for buffer, tensor in zip(recorded.inputs, tensors, strict=True):
            buffer.copy_(tensor)
        return recorded.replay().to(x.device, x.dtype, copy=True)

    def _record(self, leaves: list[Any], spec: TreeSpec) -> Recorded:
        device = self.backend.device
        held = [leaf.to(device, copy=True) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        x, c_noise, tokens, pooled, extra = tree_unflatten(held, spec)
        cond = Cond(tokens, pooled, extra=extra)
        replay = self.backend.record(lambda: self.network(x, c_noise, cond))
        return Recorded(tuple(leaf for leaf in held if isinstance(leaf, Tensor)), replay)


def _plain(leaves: list[Any]) -> bool:
    """Say whether a call's arguments are tensors and plain values: what a recording can be looked up by."""
    return all(leaf is None or isinstance(leaf, Tensor | str | int | float) for leaf in leaves)


# Compiling -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Compiled(Overlay):
    """The repeated blocks of a network through torch.compile, which takes its time at the first call of a shape."""

    def over(self, network: Any) -> Any:
        """Return the network with its blocks compiled while it is called."""
        return ByBlocks(network)


@dataclass(frozen=True, eq=False)
class ByBlocks(Wrapped):
    """A network whose repeated blocks (diffusers names them by class) are compiled; equal blocks share their code."""

    def __call__(self, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """Predict."""
        names = getattr(self.network.module, "_repeated_blocks", ())
        blocks = [m for m in self.network.module.modules() if type(m).__name__ in names]
        try:
            for block in blocks:
                block._compiled_call_impl = compiled(type(block)).__get__(block)
            out: Tensor = self.network(x, c_noise, cond)
        finally:
            for block in blocks:
                block._compiled_call_impl = None
        return out


_compiled: dict[type[Any], Callable[..., Any]] = {}


def compiled(kind: type[torch.nn.Module]) -> Callable[..., Any]:
    """Return the compiled call of a class of modules, made once per process."""
    if kind not in _compiled:
        _compiled[kind] = torch.compile(kind._call_impl)
    return _compiled[kind]


@dataclass(frozen=True)
class Payback:
    """Seconds of a call as ever, of a compiled one, and of compiling."""

    plain_s: float
    compiled_s: float
    compile_s: float

    @property
    def calls(self) -> int | None:
        """After how many calls compiling has paid for itself; None: never."""
        gain = self.plain_s - self.compiled_s
        return None if gain <= 0 else max(1, round(self.compile_s / gain))

    def __str__(self) -> str:
        first = f"Compiling took {self.compile_s:.1f} s; a call takes {self.compiled_s:.3f} s instead of "
        pays = "it does not pay" if self.calls is None else f"it pays after {self.calls} calls"
        return f"{first}{self.plain_s:.3f} s: {pays}."


def payback(network: Any, call: Callable[[Any], Tensor], *, tries: int = 3) -> Payback:
    """Measure what compiling a network's blocks takes and gains; `call` calls the network that it is given."""

    def seconds(network: Any) -> float:
        began = time.perf_counter()
        call(network)
        return time.perf_counter() - began

    blocks = Compiled().over(network)
    call(network)
    first = seconds(blocks)
    plain = min(seconds(network) for _ in range(tries))
    later = min(seconds(blocks) for _ in range(tries))
    return Payback(plain, later, first - later)
