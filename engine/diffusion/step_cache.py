"""A step cache for U-Nets: where a step changes little, what the inner levels gave in the step before is taken again.

The outermost level is computed at every step. How much its contribution has changed decides (first-block cache of
ParaAttention: the relative change of the first block's residual) whether the levels inside it are computed or their
last output is reused, as DeepCache does at fixed intervals (Ma et al. 2023, arXiv 2312.00858). It is lossy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from engine.diffusion.wrapped import Wrapped
from engine.errors import BadInput
from engine.types import Cond, Overlay

OPTION = "step_cache"
ENTRIES = 8  # conditions and shapes that are remembered: those of a step, or of the pieces of a large picture
SEES_LAYERS = ("attention", "controls")  # extras of a condition that reach into the inner levels


@dataclass(frozen=True)
class StepCache(Overlay):
    """Reuse below a relative change of `threshold`, at most `longest` steps in a row."""

    threshold: float
    longest: int

    def over(self, network: Any) -> Any:
        """Return the network with an empty cache."""
        blocks = [getattr(network.module, name, ()) for name in ("down_blocks", "up_blocks")]
        if any(len(found) < 2 for found in blocks):
            raise BadInput("A step cache is for U-Nets of two levels or more; this model is none.", field="model")
        return Cached(network, self)


@dataclass
class Kept:
    """What the last full step under one condition left: the first level's residual and the inner levels' output."""

    cond: Cond
    shape: tuple[int, ...]
    residual: Tensor | None = None
    inner: Tensor | None = None
    reused: int = 0  # steps in a row


@dataclass(frozen=True, eq=False)
class Cached(Wrapped):
    """A U-Net that skips its inner levels. `calls` counts (full, reused) calls."""

    limits: StepCache
    kept: list[Kept] = field(default_factory=list)
    calls: list[int] = field(default_factory=lambda: [0, 0])

    def __call__(self, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """Predict; calls with hooks or controls inside the network are never taken from the cache."""
        if any(cond.extra.get(name) for name in SEES_LAYERS):
            plain: Tensor = self.network(x, c_noise, cond)
            return plain
        with self._skipping(self._kept(x, cond)):
            out: Tensor = self.network(x, c_noise, cond)
        return out

    def _kept(self, x: Tensor, cond: Cond) -> Kept:
        """Return what was kept of this condition and shape."""
        for each in self.kept:
            if each.shape == tuple(x.shape) and _same(each.cond, cond):
                return each
        self.kept.append(Kept(cond, tuple(x.shape)))
        del self.kept[:-ENTRIES]
        return self.kept[-1]

    @contextmanager
    def _skipping(self, kept: Kept) -> Iterator[None]:
        """Let the inner levels answer from `kept` while the block runs, if the first level says so."""
        module = self.network.module
        inner = [*module.down_blocks[1:], module.mid_block, *module.up_blocks[:-1]]
        reuse = [False]
        hook = module.down_blocks[0].register_forward_hook(partial(self._decide, kept, reuse), with_kwargs=True)
        try:
            for block in inner:
                block.forward = partial(_answer, kept, reuse, block.forward, block, block is inner[-1])
            yield
        finally:
            hook.remove()
            for block in inner:
                vars(block).pop("forward", None)

    def _decide(self, kept: Kept, reuse: list[bool], block: Any, args: Any, kwargs: dict[str, Any], out: Any) -> None:
        x, states = kwargs["hidden_states"], out[1]  # what enters, (B, C, h, w), and what its layers gave
        residual = states[len(block.resnets) - 1] - x
        whole = len(x) == kept.shape[0]  # not a part of the batch, which memory running out leads to
        reuse[0] = (
            whole and kept.residual is not None and kept.inner is not None and kept.reused < self.limits.longest
            and change(residual, kept.residual) < self.limits.threshold
        )  # fmt: skip
        kept.reused = kept.reused + 1 if reuse[0] else 0
        self.calls[reuse[0]] += 1
        if not reuse[0]:
            kept.residual, kept.inner = residual if whole else None, None


def _same(a: Cond, b: Cond) -> bool:
    """Say whether two conditions say the same in words."""
    if a.pooled is None or b.pooled is None:
        return a.pooled is b.pooled and torch.equal(a.tokens, b.tokens)
    return torch.equal(a.tokens, b.tokens) and torch.equal(a.pooled, b.pooled)


def change(a: Tensor, b: Tensor) -> float:
    """Return the mean |a - b| over the mean |b|."""
    return float((a - b).abs().mean() / b.abs().mean().clamp(min=torch.finfo(b.dtype).tiny))


def _answer(
    kept: Kept, reuse: list[bool], compute: Callable[..., Any], block: nn.Module, last: bool, *args: Any, **kwargs: Any
) -> Any:
    """Compute a block of the inner levels, or give what stands for its output."""
    if not reuse[0]:
        out = compute(*args, **kwargs)
        if last and kept.residual is not None:
            kept.inner = out
        return out
    if last:
        return kept.inner
    x = kwargs.get("hidden_states", args[0] if args else None)
    if hasattr(block, "downsamplers") and not hasattr(block, "upsamplers"):
        return x, (x,) * (len(block.resnets) + (block.downsamplers is not None))  # type: ignore[arg-type]
    return x
