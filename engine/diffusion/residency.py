"""Weights that stay in their file until they are used: resident in the form that computes fastest, or streamed.

A held layer's `weight` is the file's own tensor, mapped and in the file's number format: it costs no memory, and
patches read and replace it as they do any parameter. Beside it lies, while there is room, its *ready* form: cast to the
compute format, on the device, and on a CPU packed as oneDNN's kernels want it, which otherwise happens at every call.
A layer without one is streamed: it casts some rows at a time at each call and forgets the file's pages again, so that a
network runs in a fraction of its size. Both give the same numbers. A ready form may also be *stored* narrower than it
multiplies (float8 with a scale per row): half the memory, cast at each call like a streamed one, with that format's
error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.diffusion.pages import forget, lies_in, mapped_files

ONEDNN: Any = torch.ops.mkldnn  # what torch.compile itself uses; there is no public way to packed weights
PACKING: Any = torch._C._nn
HELD_MIN = 1 << 16  # elements; smaller weights are cast at once and for good
SLICE = 8 << 20  # bytes of a streamed weight that are cast at a time; oneDNN reorders as much once more
ALL = slice(None)
READ = (".wo", ".time_embedder.linear_1", "t_embedder.mlp.0")
"""Layers of T5, Wan and Z-Image to whose weight's own format their classes cast what they give them."""


@dataclass(eq=False)
class Held:
    """A layer's weight in its file, and its ready form. `resident`: whether to keep that form once it was made.

    `dtype` is what it multiplies in, `around` what layers take and give: bfloat16 products are summed in float32, so
    that a network whose states stay in float32 loses little by them. `stored`: the format of the ready form, None =
    as it multiplies; rows are divided by `scale` (rows, 1, ...) to fill that format's range.
    """

    source: Tensor
    dtype: torch.dtype
    device: torch.device
    around: torch.dtype
    stored: torch.dtype | None = None
    mapped: bool = False  # lies in a mapped file, whose pages may be let go
    resident: bool = True
    ready: Tensor | None = None
    scale: Tensor | None = None
    grid: tuple[int, ...] = ()  # height and width that a convolution was packed for
    version: int = 0

    def __post_init__(self) -> None:
        self.version = self.source._version

    def __deepcopy__(self, memo: dict[int, Any]) -> Held:
        """Stay one: a copied layer has a weight of its own, which this does not serve."""
        return self

    @property
    def nbytes(self) -> int:
        """Bytes of the ready form."""
        return self.source.numel() * (self.stored or self.dtype).itemsize

    def serves(self, weight: Tensor, x: Tensor) -> bool:
        """Say whether the ready form may stand for `weight`: not if it was replaced or changed, nor for gradients."""
        tracked = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
        return weight is self.source and weight._version == self.version and x.dtype == self.around and not tracked

    def narrowed(self, x: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return what a layer gets and its bias in the format that it multiplies in."""
        return x.to(self.dtype), bias if bias is None else bias.to(self.dtype)

    def packs(self) -> bool:
        """Say whether oneDNN has a packed form for this weight."""
        return self.device.type == "cpu" and self.dtype != torch.float64 and torch._C._has_mkldnn

    def cast(self, rows: slice = ALL) -> Tensor:
        """Return rows of the weight in the compute format on the device, leaving none of the file's pages behind."""
        if self.ready is not None and self.scale is not None:
            return self.ready[rows].to(self.dtype) * self.scale[rows]
        wanted = self.source.detach()[rows]
        made = wanted.to(self.device, self.dtype)
        if self.mapped and made.data_ptr() != wanted.data_ptr():
            forget(wanted)
        return made

    def streamed(self, layer: Callable[[Tensor, Tensor | None], Tensor], bias: Tensor | None, dim: int) -> Tensor:
        """Return what `layer` makes of the weight and its bias, a few rows of them at a time; `dim`: that of rows."""
        count = len(self.source)
        step = max(1, count * SLICE // (self.source.numel() * self.dtype.itemsize))
        slices = [slice(i, i + step) for i in range(0, count, step)]
        return torch.cat([layer(self.cast(rows), bias if bias is None else bias[rows]) for rows in slices], dim)

    def narrow(self) -> None:
        """Make the ready form in the format that it is stored in."""
        assert self.stored is not None
        weight = self.cast()
        most = weight.float().flatten(1).abs().amax(1).clamp(min=torch.finfo(torch.float32).tiny)
        scale = (most / torch.finfo(self.stored).max).view(-1, *[1] * (weight.ndim - 1)).to(self.dtype)
        self.ready, self.scale = (weight / scale).to(self.stored), scale

    def release(self) -> None:
        """Give the ready form up."""
        self.ready, self.scale, self.grid = None, None, ()


class HeldLinear(nn.Linear):
    """A linear layer whose weight is held."""

    held: Held

    def forward(self, input: Tensor) -> Tensor:
        """Return x W^T + b."""
        return _traceable(self, input)

    def compute(self, input: Tensor) -> Tensor:
        """Do what `forward` says."""
        held = self.held
        if not held.serves(self.weight, input):
            replaced: Tensor = F.linear(input, self.weight.to(input.device, input.dtype), self.bias)
            return replaced
        x, bias = held.narrowed(input, self.bias)
        if held.ready is None and held.resident and held.stored:
            held.narrow()
        elif held.ready is None and held.resident:
            held.ready = self._packed(held.cast()) if held.packs() else held.cast()
        out: Tensor
        if held.ready is None or held.stored:
            out = held.streamed(partial(F.linear, x), bias, -1)
        elif held.ready.layout is torch.strided:
            out = F.linear(x, held.ready, bias)
        else:
            out = ONEDNN._linear_pointwise(x, held.ready, bias, "none", [], "")
        return out.to(input.dtype)

    @staticmethod
    def _packed(weight: Tensor) -> Tensor:
        packed: Tensor = ONEDNN._reorder_linear_weight(weight, None)
        return packed


class HeldConv2d(nn.Conv2d):
    """A convolution whose weight is held. Packing depends on the picture's size, so a new size packs anew."""

    held: Held

    def forward(self, input: Tensor) -> Tensor:
        """Convolve x (B, C, h, w)."""
        return _traceable(self, input)

    def compute(self, input: Tensor) -> Tensor:
        """Do what `forward` says."""
        held = self.held
        if not held.serves(self.weight, input) or self.padding_mode != "zeros":
            replaced: Tensor = self._conv_forward(input, self.weight.to(input.device, input.dtype), self.bias)
            return replaced
        x, bias = held.narrowed(input, self.bias)
        if held.resident and held.stored:
            if held.ready is None:
                held.narrow()
        elif held.resident and (held.ready is None or held.grid != x.shape[2:]):
            held.release()  # before the new form is made, so that there are never two
            held.ready = self._packed(held.cast(), x) if held.packs() else held.cast()
            held.grid = tuple(x.shape[2:])
        out: Tensor
        if held.ready is None or held.stored:
            layer = partial(self._conv_forward, x)
            out = held.streamed(layer, bias, 1) if self.groups == 1 else layer(held.cast(), bias)
        elif held.ready.layout is torch.strided:
            out = self._conv_forward(x, held.ready, bias)
        else:
            how = self.padding, self.stride, self.dilation, self.groups
            out = ONEDNN._convolution_pointwise(x, held.ready, bias, *how, "none", [], "")
        return out.to(input.dtype)

    def _packed(self, weight: Tensor, x: Tensor) -> Tensor:
        weight = weight.to_mkldnn()  # the cast one is let go, so that there are never three
        packed: Tensor = PACKING.mkldnn_reorder_conv2d_weight(
            weight, self.padding, self.stride, self.dilation, self.groups, list(x.shape)
        )
        return packed


def _traceable(layer: HeldLinear | HeldConv2d, input: Tensor) -> Tensor:
    """Compute a layer; outside of what torch.compile traces if its weight is packed, which that cannot look into."""
    if torch.compiler.is_compiling() and layer.held.packs():
        return _untraced(layer, input)
    return layer.compute(input)


def _computed(layer: HeldLinear | HeldConv2d, input: Tensor) -> Tensor:
    return layer.compute(input)


_untraced: Callable[[HeldLinear | HeldConv2d, Tensor], Tensor] = torch.compiler.disable(  # type: ignore[no-untyped-call]
    _computed
)


class HeldEmbedding(nn.Embedding):
    """A table of which only the rows asked for are ever cast."""

    held: Held

    def forward(self, input: Tensor) -> Tensor:
        """Return the rows of ids (...)."""
        rows = F.embedding(input.to(self.weight.device), self.weight, self.padding_idx)
        return rows.to(self.held.device, self.held.around)


KINDS: Mapping[type[nn.Module], type[HeldLinear | HeldConv2d | HeldEmbedding]] = {
    nn.Linear: HeldLinear, nn.Conv2d: HeldConv2d, nn.Embedding: HeldEmbedding,
}  # fmt: skip
"""The kinds of layers whose weights can be held, and what they become."""


def holdable(module: nn.Module) -> dict[str, nn.Module]:
    """Return the layers that are of a kind, and large enough, to be held, by their weight's name."""
    layers = ((name, layer) for name, layer in module.named_modules() if type(layer) in KINDS)
    return {
        f"{name}.weight".lstrip("."): layer
        for name, layer in layers
        if layer.weight.numel() >= HELD_MIN and not name.endswith(READ)
    }


def hold(
    layers: Iterable[nn.Module], dtype: torch.dtype, device: torch.device, around: torch.dtype,
    stored: torch.dtype | None = None,
) -> None:  # fmt: skip
    """Make the layers' weights held ones; see `Held`."""
    spans = mapped_files()
    for layer in layers:
        layer.__class__ = KINDS[type(layer)]
        assert isinstance(layer, HeldLinear | HeldConv2d | HeldEmbedding)
        layer.held = Held(layer.weight, dtype, device, around, stored, mapped=lies_in(layer.weight, spans))


def held_of(module: nn.Module) -> list[Held]:
    """Return the held weights of a network that have a ready form, in the order of its layers."""
    return [m.held for m in module.modules() if isinstance(m, HeldLinear | HeldConv2d)]


def in_files(module: nn.Module) -> list[Tensor]:
    """Return the parameters that are held: their memory is that of their file."""
    return [m.held.source for m in module.modules() if isinstance(m, HeldLinear | HeldConv2d | HeldEmbedding)]


def limit(module: nn.Module, nbytes: int | None) -> int:
    """Keep at most `nbytes` of ready forms, those of the first layers, None all; return how many that may be."""
    kept = 0
    for held in held_of(module):
        held.resident = nbytes is None or kept + held.nbytes <= nbytes
        if held.resident:
            kept += held.nbytes
        else:
            held.release()
    return kept


def device_of(module: nn.Module) -> torch.device:
    """Return where a network computes; its weights may lie elsewhere, in their files."""
    held = held_of(module)
    return held[0].device if held else next(module.parameters()).device


def addresses(module: nn.Module) -> tuple[int, ...] | None:
    """Return where the forms that a network computes with lie, or None if some are made anew at each call."""
    held = {id(h.source): h for h in held_of(module)}
    if any(h.ready is None or not h.resident for h in held.values()):
        return None
    forms = (held[id(p)].ready if id(p) in held else p for p in module.parameters())
    return tuple(form.data_ptr() for form in forms if form is not None and form.layout is torch.strided)
