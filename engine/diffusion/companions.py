"""Networks beside a denoising network, and what ControlNets and T2I-Adapters add to its features at each call.

A condition carries `extra["controls"]`: a tuple of `{"control": Control, "rows": (B,)}`, where `rows` says which of the
control's pictures belongs to each row of the batch. Nothing is installed: residuals travel with the call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.codec import digest_of
from engine.diffusion.levels import Levels
from engine.errors import BadInput
from engine.types import Conditioning, ControlNet, Gligen, Record

CONTROLS = "controls"  # in `Cond.extra`
EDGE = 1e-6  # of a level, by which windows may miss it


@dataclass(frozen=True)
class Control(Record):
    """A picture that steers sampling, and the network that reads it; what a condition carries as `extra["controls"]`.

    `hint`: (n, H, W, 3) in 0..1, `mask`: (1, H, W), 1 = act, or None; `digest` stands for both where controls are
    compared. It acts in the part `start`..`end` of sampling. `shallow`: the share of the strength at the finest layer;
    it rises evenly in ratio to the deepest. `scales`: factors on a T2I-Adapter's levels, none = 1 each.
    """

    net: ControlNet = field(hash=False)
    hint: Tensor = field(compare=False)
    digest: str
    strength: float = 1.0
    start: float = 0.0
    end: float = 1.0
    shallow: float = 1.0
    scales: tuple[float, ...] = ()
    mask: Tensor | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Grounding(Record):
    """The layers that read boxes, and until which part of sampling; what a condition carries beside them.

    `pixels`: boxes are in pixels of the result; else in fractions of it.
    """

    net: Gligen = field(hash=False)
    end: float = 1.0
    pixels: bool = False


@dataclass(frozen=True)
class Call:
    """A call of a U-Net, as networks beside it see it, on the U-Net's device and in its number format.

    `x`: (B, C, h, w), the latent without further channels; `timesteps`: (B,); `tokens`: (B, T, D); `added`: SDXL's
    pooled text and sizes, or None.
    """

    x: Tensor
    timesteps: Tensor
    tokens: Tensor
    added: Mapping[str, Tensor] | None = None


@dataclass(frozen=True)
class Residuals:
    """What is added to a U-Net's features, none = ().

    `skips`: to what each encoder layer hands to the decoder, the middle block's last; `levels`: to what each level of
    the encoder hands on, before it is handed to the decoder too.
    """

    skips: tuple[Tensor, ...] = ()
    levels: tuple[Tensor, ...] = ()

    def __add__(self, other: Residuals) -> Residuals:
        return Residuals(_sum(self.skips, other.skips), _sum(self.levels, other.levels))


class ControlNetwork(Protocol):
    """What a `Control` names: `families.controlnet.ControlNetwork` and `families.t2i_adapter.Adapter`."""

    def misfit(self, config: Any) -> str:
        """Say what about a U-Net's config does not fit; empty if all does."""

    def prepared(self, hint: Tensor, size: tuple[int, int]) -> Any:
        """Return what can be made of hints (n, H, W, 3) once for all calls on a latent of `size` (h, w)."""

    def residuals(self, prepared: Any, rows: Tensor, call: Call) -> Residuals:
        """Return what to add at a call, at strength 1."""


class Companions:
    """Networks beside one in use: opened when first needed, and in use like it until the block ends.

    `use` opens a description, as `Models.use` does. What a control's pictures become is kept as long.
    """

    def __init__(self, use: Callable[[Any], AbstractContextManager[Any]]) -> None:
        self._use, self._stack = use, ExitStack()
        self._open: dict[Any, Any] = {}
        self._prepared: dict[Any, Any] = {}

    def __enter__(self) -> Companions:
        return self

    def __exit__(self, *error: Any) -> bool | None:
        self._open.clear()
        self._prepared.clear()
        return self._stack.__exit__(*error)

    def network(self, described: Any, dtype: torch.dtype) -> Any:
        """Return the network of a description, computing in `dtype`."""
        told = described.with_options(dtype=str(dtype).removeprefix("torch."))
        key = described.weights, str(told.options)
        if key not in self._open:
            self._open[key] = self._stack.enter_context(self._use(told))
        return self._open[key]

    def prepared(self, control: Control, network: ControlNetwork, size: tuple[int, int]) -> Any:
        """Return what a network makes of a control's pictures, made once."""
        if (control, size) not in self._prepared:
            self._prepared[control, size] = network.prepared(control.hint, size)
        return self._prepared[control, size]


def controlled(conditioning: Conditioning, control: Control) -> Conditioning:
    """Return the conditions with one more control, whose pictures are those of the batch in turn, or one for all."""
    each = {"control": control, "rows": torch.arange(len(control.hint))}
    extras = ({**c.extra, CONTROLS: (*c.extra.get(CONTROLS, ()), each)} for c in conditioning.conds)
    return Conditioning(tuple(replace(c, extra=e) for c, e in zip(conditioning.conds, extras, strict=True)))


def make_control(net: Any, hint: Tensor, mask: Tensor | None = None, **options: Any) -> Control:
    """Return a control of pictures (n, H, W, 3), with its digest."""
    return Control(net, hint, digest_of((hint, mask)), mask=mask, **options)


def residuals(
    controls: Sequence[Mapping[str, Any]], call: Call, levels: Levels, beside: Companions, config: Any
) -> Any:
    """Return the sum of what controls add at a call of the U-Net of `config`; None if none of them acts.

    BadInput names a control that was made for another model, or whose pictures are not as many as the batch.
    """
    total: Residuals | None = None
    for each in controls:
        control: Control = each["control"]
        strengths = control.strength * within(control.start, control.end, call.timesteps, levels)  # (B,)
        if not bool(strengths.any()):
            continue
        network: ControlNetwork = beside.network(control.net, call.x.dtype)
        _check(control, each["rows"], network.misfit(config), len(call.x))
        prepared = beside.prepared(control, network, (call.x.shape[2], call.x.shape[3]))
        found = _weighed(network.residuals(prepared, each["rows"], call), control, strengths)
        total = found if total is None else total + found
    return total


def within(start: float, end: float, timesteps: Tensor, levels: Levels) -> Tensor:
    """Return 1 for each timestep (B,) of a table that lies in the part start..end of sampling, else 0."""
    level = timesteps + 1
    after = level <= (1 - start) * levels.count + EDGE
    return (after & (level > (1 - end) * levels.count + EDGE)).to(torch.float32)


def kept(module: nn.Module) -> Tensor:
    """Return a parameter that is where, and in the number format in which, the module computes."""
    return next(p for p in module.parameters() if p.ndim == 1)  # none of these stays in its file


def fitted(pixels: Tensor, height: int, width: int) -> Tensor:
    """Cut pictures (n, H, W, 3) around their centre to a shape and scale them, (n, 3, height, width).

    Each pixel is the nearest one, so that the colours of maps stay what they mean.
    """
    _, h, w, _ = pixels.shape
    rows, columns = min(h, round(w * height / width)), min(w, round(h * width / height))
    top, left = (h - rows) // 2, (w - columns) // 2
    cut = pixels[:, top : top + max(1, rows), left : left + max(1, columns)].movedim(-1, 1)
    return cut if cut.shape[2:] == (height, width) else F.interpolate(cut, size=(height, width), mode="nearest-exact")


def _weighed(found: Residuals, control: Control, strengths: Tensor) -> Residuals:
    """Multiply residuals by strengths (B,), by each layer's share and by the mask."""
    last = max(1, len(found.skips) - 1)
    shares = [control.shallow ** ((last - i) / last) for i in range(len(found.skips))]
    scales = (*control.scales, *(1.0,) * len(found.levels))
    return Residuals(
        tuple(_weight(r, strengths * share, control.mask) for r, share in zip(found.skips, shares, strict=True)),
        tuple(_weight(r, strengths * scale, control.mask) for r, scale in zip(found.levels, scales, strict=False)),
    )


def _weight(residual: Tensor, strengths: Tensor, mask: Tensor | None) -> Tensor:
    weighed = residual * strengths.to(residual)[:, None, None, None]  # (B, C, h, w)
    if mask is None:
        return weighed
    small = F.interpolate(mask[:, None], size=residual.shape[2:], mode="bilinear", antialias=True)  # (1, 1, h, w)
    return weighed * small.to(residual)


def _check(control: Control, rows: Tensor, misfit: str, batch: int) -> None:
    name = control.net.weights.name
    if misfit:
        raise BadInput(
            f"{name} steers another kind of model: {misfit}. Take one made for this model.", field="positive"
        )
    if len(rows) != batch:
        raise BadInput(f"{name} was given {len(rows)} pictures for a batch of {batch}; give one, or {batch}.")


def _sum(a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(x + y for x, y in zip(a, b, strict=True)) if a and b else a or b
