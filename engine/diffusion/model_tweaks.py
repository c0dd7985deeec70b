"""Changes of how a U-Net computes, kept in a model's description and made for the length of a call: FreeU, tiled and
merged self-attention, factors on attention. Those of guidance are named here and made by `guiders.adjusted`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.diffusion.attention import Hook, Layer
from engine.diffusion.denoiser import Denoiser
from engine.diffusion.guiders.adjusted import CHANGES
from engine.errors import BadInput
from engine.types import Cond, Model, Overlay

OPTION = "tweaks"
GUIDANCE = frozenset(CHANGES)
DIFFERENTIAL = "differential"
FREQUENCIES = 1  # cells on each side of the middle of the spectrum that FreeU scales


@dataclass(frozen=True)
class Tweaks(Overlay):
    """The changes that a model's description carries, in order: `{"kind": ..., options}` each."""

    items: tuple[dict[str, Any], ...] = ()

    def over(self, network: Any) -> Any:
        """Return the network as these changes make it; the network itself stays as it is."""
        hooks = tuple(h for t in self.items if t["kind"] in HOOKS for h in HOOKS[t["kind"]](t))
        free = tuple(t for t in self.items if t["kind"] == "freeu")
        return _Tweaked(network, hooks, free) if hooks or free else network


def of(model: Model) -> tuple[dict[str, Any], ...]:
    """Return the changes that a model's description carries, in order."""
    kept = model.options.get(OPTION)
    return kept.items if isinstance(kept, Tweaks) else ()


def added(model: Model, kind: str, **options: Any) -> Model:
    """Return the model with one more change."""
    tweaked: Model = model.with_options(**{OPTION: Tweaks((*of(model), {"kind": kind, **options}))})
    return tweaked


@dataclass(frozen=True, eq=False)
class _Tweaked:
    """A network whose calls bring hooks of attention, and FreeU's factors on its up blocks."""

    network: Any
    hooks: tuple[Hook, ...]
    free: tuple[dict[str, Any], ...]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)

    @property
    def denoiser(self) -> Denoiser:
        """The network as D(x, sigma, cond) -> x0."""
        own: Denoiser = self.network.denoiser
        return replace(own, network=self)

    def __call__(self, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """Predict, with the changes."""
        extra = (
            {**cond.extra, "attention": (*cond.extra.get("attention", ()), *self.hooks)} if self.hooks else cond.extra
        )
        with ExitStack() as changes:
            for options in self.free:
                module = self.network.module
                changes.enter_context(meetings(module, freed(module, options)))
            out: Tensor = self.network(x, c_noise, replace(cond, extra=extra))
        return out


# FreeU ---------------------------------------------------------------------------------------------------------------


Meeting = Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(number of the block on the way up, what comes from below, what is copied) -> both, each (B, C, h, w)."""


@contextmanager
def meetings(module: Any, change: Meeting) -> Iterator[None]:
    """Change what meets on a U-Net's way up, for one call: features from below and those copied from the way down."""
    if not hasattr(module, "up_blocks"):
        raise BadInput("This patch changes U-Nets; this model has none.", field="model")
    handles, width = [], int(module.config.block_out_channels[-1])
    for number, resnet in enumerate(r for block in module.up_blocks for r in block.resnets):
        handles.append(resnet.register_forward_pre_hook(_parted(number, width, change)))
        width = int(resnet.out_channels)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _parted(number: int, width: int, change: Meeting) -> Callable[..., Any]:
    def hook(resnet: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        joined, *rest = args
        return (torch.cat(change(number, joined[:, :width], joined[:, width:]), 1), *rest)

    return hook


def freed(module: Any, options: Mapping[str, Any]) -> Meeting:
    """Scale features from below and copied ones (Si et al. 2023, arXiv 2309.11497).

    Features four or two times as wide as the first layer have the factors b1, s1 or b2, s2.
    """
    base = int(module.config.block_out_channels[0]) if hasattr(module, "up_blocks") else 0
    factors = {4 * base: (options["b1"], options["s1"]), 2 * base: (options["b2"], options["s2"])}

    def change(number: int, main: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        if main.shape[1] not in factors:
            return main, skip
        b, s = factors[main.shape[1]]
        main, half = main.clone(), main.shape[1] // 2
        factor: Any = b
        if options["by_mean"]:
            mean = main.mean(1, keepdim=True)
            low, high = mean.amin((2, 3), keepdim=True), mean.amax((2, 3), keepdim=True)
            factor = 1 + (b - 1) * (mean - low) / (high - low).clamp(min=1e-8)
        main[:, :half] = main[:, :half] * factor
        return main, _low_scaled(skip, s)

    return change


def _low_scaled(x: Tensor, factor: float) -> Tensor:
    """Scale the lowest frequencies of (B, C, h, w)."""
    spectrum = torch.fft.fftshift(torch.fft.fftn(x.float(), dim=(-2, -1)), dim=(-2, -1))
    row, column = x.shape[-2] // 2, x.shape[-1] // 2
    spectrum[..., row - FREQUENCIES : row + FREQUENCIES, column - FREQUENCIES : column + FREQUENCIES] *= factor
    scaled: Tensor = torch.fft.ifftn(torch.fft.ifftshift(spectrum, dim=(-2, -1)), dim=(-2, -1)).real.to(x)
    return scaled


# Self-attention ------------------------------------------------------------------------------------------------------


def hypertile(options: Mapping[str, Any]) -> tuple[Hook, Hook]:
    """Let self-attention look inside tiles of `tile_size` pixels only, on grids halved at most `max_depth` times."""
    cells, area, done = max(1, int(options["tile_size"]) // 8), [0], list[bool]()

    def wants(layer: Layer) -> bool:
        h, w = layer.size
        area[0] = max(area[0], h * w)
        return not layer.cross and h > 1 and h * w * 4 ** int(options["max_depth"]) >= area[0]

    def tiling(layer: Layer) -> tuple[int, int]:
        h, w = (_divisor(side, cells) for side in layer.size)
        return h, w

    def cut(layer: Layer, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        (h, w), (rows, columns) = layer.size, tiling(layer)
        done.append(q.shape[2] == h * w)
        if not done[-1]:  # another change has taken places away
            return q, k, v

        def tiles(t: Tensor) -> Tensor:
            b, heads, _, d = t.shape
            grid = t.reshape(b, heads, rows, h // rows, columns, w // columns, d)
            return grid.permute(0, 2, 4, 1, 3, 5, 6).reshape(b * rows * columns, heads, -1, d)  # tiles into the batch

        return tiles(q), tiles(k), tiles(v)

    def join(layer: Layer, out: Tensor) -> Tensor:
        if not done.pop():
            return out
        (h, w), (rows, columns) = layer.size, tiling(layer)
        grid = out.reshape(-1, rows, columns, h // rows, w // columns, out.shape[-1])
        return grid.permute(0, 1, 3, 2, 4, 5).reshape(len(grid), h * w, -1)  # and back into places

    return Hook("qkv", cut, wants), Hook("out", join, wants)


def merged(options: Mapping[str, Any]) -> tuple[Hook, Hook]:
    """Merge the places most like another one before self-attention (Bolya and Hoffman 2023, arXiv 2303.17604).

    One place of each 2 x 2 stays; of all others the `ratio` that is most like one of those is merged into it.
    """
    ratio, undo = float(options["ratio"]), list[tuple[Tensor, Tensor, Tensor] | None]()

    def wants(layer: Layer) -> bool:
        return not layer.cross and min(layer.size) > 1 and layer.place != "mid"

    def merge(layer: Layer, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        kept, others = _quarter(layer.size)
        if q.shape[2] != len(kept) + len(others):  # another change has taken places away
            undo.append(None)
            return q, k, v
        flat = F.normalize(k.mean(1), dim=-1)  # (B, L, d), averaged over heads
        likeness, target = (flat[:, others] @ flat[:, kept].transpose(1, 2)).max(-1)
        order = likeness.argsort(-1, descending=True)
        count = min(int(q.shape[2] * ratio), len(others))
        gone, left = order[:, :count], order[:, count:]
        into = target.gather(1, gone)
        undo.append((gone, left, into))

        def shrink(t: Tensor) -> Tensor:
            base, rest = t[:, :, kept], t[:, :, others]
            base = base.scatter_reduce(2, _like(into, t), rest.gather(2, _like(gone, t)), "mean", include_self=True)
            return torch.cat([base, rest.gather(2, _like(left, t))], 2)

        return shrink(q), shrink(k), shrink(v)

    def unmerge(layer: Layer, out: Tensor) -> Tensor:
        kept, others = _quarter(layer.size)
        merged_away = undo.pop()
        if merged_away is None:
            return out
        gone, left, into = merged_away
        base, rest = out[:, : len(kept)], out[:, len(kept) :]

        def spread(index: Tensor) -> Tensor:
            return index[..., None].expand(-1, -1, out.shape[-1])

        back = out.new_empty(len(out), len(others), out.shape[-1])
        back = back.scatter(1, spread(left), rest).scatter(1, spread(gone), base.gather(1, spread(into)))
        return torch.cat([base, back], 1)[:, torch.cat([kept, others]).argsort()]

    return Hook("qkv", merge, wants), Hook("out", unmerge, wants)


def multiplied(options: Mapping[str, Any]) -> tuple[Hook, Hook]:
    """Multiply queries, keys, values and results of self- or cross-attention by `q`, `k`, `v` and `out`."""
    factors, out = [float(options[name]) for name in "qkv"], float(options["out"])

    def wants(layer: Layer) -> bool:
        return layer.cross is bool(options["cross"])

    def scale(layer: Layer, *parts: Tensor) -> tuple[Tensor, ...]:
        return tuple(part * factor for part, factor in zip(parts, factors, strict=True))

    return Hook("qkv", scale, wants), Hook("out", lambda layer, x: x * out, wants)


HOOKS: Mapping[str, Callable[[Mapping[str, Any]], tuple[Hook, ...]]] = {
    "hypertile": hypertile, "tome": merged, "attention": multiplied,
}  # fmt: skip


def _divisor(side: int, cells: int) -> int:
    """Return how many tiles of about `cells` divide a side without rest."""
    wanted = max(1, side // cells)
    return next(n for n in range(wanted, 0, -1) if side % n == 0)


def _quarter(size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return the places of a grid at even rows and columns, and all others."""
    stays = torch.zeros(size, dtype=torch.bool)
    stays[::2, ::2] = True
    flat = stays.flatten()
    return flat.nonzero()[:, 0], (~flat).nonzero()[:, 0]


def _like(index: Tensor, t: Tensor) -> Tensor:
    """Spread an index (B, n) over the heads and channels of t (B, heads, L, d)."""
    return index[:, None, :, None].expand(-1, t.shape[1], -1, t.shape[3])
