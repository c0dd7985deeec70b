"""Attention control: edits of attention maps while sampling, and the maps kept for looking at and for masks.

A `Controller` lives for one run. Its hooks hang on the positive condition, a few of them (`both`) on the negative too,
and they travel with each call: nothing is installed, nothing is left behind. The step is known from sigma, never from
counting calls.

Pairs: rows 0..n-1 of the batch are the source prompt, rows n..2n-1 the edited one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.diffusion.alignment import check_positions
from engine.diffusion.attention import Hook, Layer
from engine.diffusion.stepping import Denoise
from engine.errors import BadInput, NotFound
from engine.types import AttentionControl, AttentionPart, AttentionStore, Conditioning

CELLS_MAX = 32 * 32  # larger maps are not kept


class Controller:
    """Attention control of one run down `sigmas` (steps + 1,)."""

    def __init__(self, control: AttentionControl, sigmas: Tensor, *, keep: bool = True) -> None:
        self.sigmas: list[float] = sigmas.double().tolist()
        self.sigma = self.sigmas[0] if self.sigmas else 0.0
        self._sums: dict[tuple[int, int], Tensor] = {}  # by grid of the whole canvas; in windows of the latent's size
        self._counts: dict[tuple[int, int], Tensor] = {}
        self._cells: dict[tuple[int, int], int] = {}  # of one call, which may see a window
        kept = (Hook("probs", self._record, lambda layer: layer.cross),) if keep else ()
        self.hooks = (*(hook for part in control.parts for hook in _editor(part)(part, self)), *kept)

    @property
    def steps(self) -> int:
        """Steps of the run."""
        return max(1, len(self.sigmas) - 1)

    @property
    def step(self) -> int:
        """Index of the step that the present call belongs to: calls between two levels belong to the upper one."""
        above = sum(s >= self.sigma * (1 - 1e-9) for s in self.sigmas)
        return min(max(above - 1, 0), self.steps - 1)

    def within(self, start: float, end: float) -> bool:
        """Say whether the present step lies in a part of the steps: steps int(start N) .. int(end N) - 1."""
        whole = 1e-6
        return int(start * self.steps + whole) <= self.step < int(end * self.steps + whole)

    def attached(self, conds: Mapping[str, Conditioning]) -> dict[str, Conditioning]:
        """Return the conditioning with this run's hooks on what is asked for, those for both on the negative too."""
        found = dict(conds)
        for role, hooks in (("positive", self.hooks), ("negative", tuple(h for h in self.hooks if h.both))):
            if hooks and role in conds:
                found[role] = Conditioning(tuple(
                    replace(c, extra={**c.extra, "attention": (*c.extra.get("attention", ()), *hooks)})
                    for c in conds[role].conds
                ))  # fmt: skip
        return found

    def watching(self, denoise: Denoise) -> Denoise:
        """Return the denoiser, noting the sigma of each call."""

        def watched(x: Tensor, sigma: float) -> Tensor:
            self.sigma = float(sigma)
            return denoise(x, sigma)

        return watched

    @property
    def looked(self) -> bool:
        """Whether any cross-attention was kept so far."""
        return bool(self._sums)

    def average(self, cells: int) -> Tensor:
        """Return the cross-attention so far (B, T, h, w), of the finest kept grid of at most `cells` cells a call."""
        if not self.looked:
            raise BadInput("No attention was kept: the model has no cross-attention that could be looked at.")
        fitting = [size for size, seen in self._cells.items() if seen <= cells]
        return self._mean(max(fitting, key=math.prod) if fitting else min(self._sums, key=math.prod))

    def store(self, factor: int) -> AttentionStore:
        """Return all that was kept."""
        return AttentionStore({f"{h}x{w}": self._mean((h, w)) for h, w in sorted(self._sums)}, factor)

    def _record(self, layer: Layer, probs: Tensor) -> Tensor:
        h, w = layer.size
        if h * w <= CELLS_MAX and h * w == probs.shape[2]:
            mean = probs.mean(1).transpose(1, 2).reshape(len(probs), -1, h, w).float().cpu()  # (B, T, h, w)
            size, maps, seen = _on_canvas(mean, layer)
            self._sums[size] = self._sums.get(size, 0) + maps
            self._counts[size] = self._counts.get(size, 0) + seen
            self._cells[size] = h * w
        return probs

    def _mean(self, size: tuple[int, int]) -> Tensor:
        mean = self._sums[size] / self._counts[size].clamp_min(1)
        return mean if mean.shape[2:] == size else F.adaptive_avg_pool2d(mean, size)


def _on_canvas(maps: Tensor, layer: Layer) -> tuple[tuple[int, int], Tensor, Tensor]:
    """Return the layer's grid on the whole canvas, and maps (B, T, h, w) and how often each cell is seen, placed on it.

    Windows begin at any cell of the latent, so that those of the coarser layers are placed on the latent's grid.
    """
    if layer.window is None:
        return layer.size, maps, torch.ones(1)
    (h, w), canvas = layer.window.size, layer.window.canvas
    placed, seen = maps.new_zeros(*maps.shape[:2], *canvas), torch.zeros(canvas)
    layer.window.add(placed, F.interpolate(maps, size=(h, w)))
    layer.window.add(seen, torch.ones(h, w))
    return (round(canvas[0] * layer.size[0] / h), round(canvas[1] * layer.size[1] / w)), placed, seen


def _editor(part: AttentionPart) -> Editor:
    if part.kind not in KINDS:
        raise NotFound(f"There is no attention control {part.kind!r}. Try {', '.join(KINDS)}.")
    return KINDS[part.kind]


def _cross(layer: Layer) -> bool:
    return layer.cross


def _self(layer: Layer) -> bool:
    return not layer.cross


def _halves(values: Tensor) -> tuple[Tensor, Tensor]:
    if len(values) % 2:
        raise BadInput("This attention control edits a pair of prompts: sample it with the pair sampler.")
    source, target = values.chunk(2)
    return source, target


def inject(part: AttentionPart, run: Controller) -> tuple[Hook, ...]:
    """Give the edited prompt the source's attention: cross maps through a token map, self maps as they are.

    Hertz et al. 2022, arXiv 2208.01626, algorithm 1: M_new = M_source P + own M_target, in each token's own window
    of steps. `tensors`: mapping (T, T), own (T,), windows (2, T); `self_end`: part of the steps in which
    self-attention of at most `self_cells` cells is the source's. With `source` and `target`, token positions of what
    differs, only of the background: where these words look over `threshold` of their range, in either picture, places
    keep their own, and with it the new thing its outline.
    """
    mapping, own, windows = (part.tensors[name] for name in ("mapping", "own", "windows"))
    self_end, self_cells = float(part.options["self_end"]), int(part.options["self_cells"])
    words, cut = _words(part)

    def cross(layer: Layer, probs: Tensor) -> Tensor:
        source, target = _halves(probs)
        if mapping.shape[0] != probs.shape[-1]:
            raise BadInput(f"The token map is for {mapping.shape[0]} tokens, the prompts have {probs.shape[-1]}.")
        active = probs.new_tensor([run.within(a, b) for a, b in windows.T.tolist()])
        if not bool(active.any()):
            return probs
        new = source @ mapping.to(probs) + own.to(probs) * target
        return torch.cat([source, torch.where(active.bool(), new, target)])

    def itself(layer: Layer, probs: Tensor) -> Tensor:
        if probs.shape[2] > self_cells or not run.within(0.0, self_end):
            return probs
        if not any(words) or not run.looked:
            return _twice(probs)
        source, target = _things(run, words, cut, layer)  # (n, L)
        thing = (source | target)[:, None, :, None].to(probs.device)
        before, edited = _halves(probs)
        return torch.cat([before, torch.where(thing, edited, before)])

    hooks = (Hook("probs", cross, _cross),) if bool((windows[1] > windows[0]).any()) else ()
    return (*hooks, Hook("probs", itself, _self)) if self_end > 0 else hooks


def mutual(part: AttentionPart, run: Controller) -> tuple[Hook, ...]:
    """Let the edited picture take its keys and values from the source's self-attention, in the decoder, from a step on.

    Cao et al. 2023, arXiv 2304.08465 (MasaCtrl), section 3.2: what is seen stays, its pose may change. `layer`: the
    decoder's transformer from which on. Both halves of guidance do it, each with its own source, as the authors do.
    With `source` and `target`, token positions of the thing in each prompt, places of the thing look at places of the
    thing alone, and the rest at the rest (section 3.3): where these words look over `threshold` of their range.
    """
    start, first = float(part.options["start"]), int(part.options.get("layer", 0))
    words, cut = _words(part)

    def qkv(layer: Layer, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if not run.within(start, 1.0):
            return q, k, v
        return q, _twice(k), _twice(v)

    def logits(layer: Layer, values: Tensor) -> Tensor:
        if not run.within(start, 1.0) or not run.looked:
            return values
        source, target = _things(run, words, cut, layer)
        apart = (target[:, None, :, None] != source[:, None, None, :]).to(values.device)  # (n, 1, L, L)
        alone = apart.all(-1, keepdim=True)  # the source has nothing of that kind: look everywhere
        own, edited = _halves(values)
        return torch.cat([own, edited.masked_fill(apart & ~alone, -math.inf)])

    def wants(layer: Layer) -> bool:
        return _decoder(layer, first) and not layer.cross

    guided = (Hook("logits", logits, wants, both=True),) if all(words) else ()
    return (Hook("qkv", qkv, wants, both=True), *guided)


Words = tuple[tuple[int, ...], tuple[int, ...]]  # token positions in the source and in the edited prompt


def _words(part: AttentionPart) -> tuple[Words, float]:
    """Return whose words tell a thing from its background, and over which part of their range."""
    source, target = (tuple(part.options.get(k, ())) for k in ("source", "target"))
    return (source, target), float(part.options.get("threshold", 0.1))


def _things(run: Controller, words: Words, threshold: float, layer: Layer) -> tuple[Tensor, Tensor]:
    """Return where the source's words look in its picture, and the edited prompt's in the edited one, (n, L) bool."""
    source, target = (_foreground(run.average(256), w, threshold, layer) for w in words)
    return _halves(source)[0], _halves(target)[1]


def _foreground(maps: Tensor, positions: tuple[int, ...], threshold: float, layer: Layer) -> Tensor:
    """Return where the words at `positions` look over `threshold` of their range, (B, L) bool on the layer's grid."""
    if not positions:
        return torch.zeros(len(maps), math.prod(layer.size), dtype=torch.bool)
    check_positions(positions, maps.shape[1])
    looked = maps[:, list(positions)].mean(1, keepdim=True)  # (B, T, h, w) -> (B, 1, h, w)
    low, high = looked.amin((2, 3), keepdim=True), looked.amax((2, 3), keepdim=True)
    spread = (looked - low) / (high - low).clamp_min(1e-12)
    return (_seen(spread, layer, F.interpolate) >= threshold).flatten(1)


def _seen(maps: Tensor, layer: Layer, resize: Callable[..., Tensor]) -> Tensor:
    """Return maps (B, T, H, W) of the canvas on the layer's grid (B, T, h, w): of a window what lies in it."""
    if layer.window is not None:
        maps = layer.window.crop(resize(maps, layer.window.canvas))
    return resize(maps, layer.size)


def features(part: AttentionPart, run: Controller) -> tuple[Hook, ...]:
    """Give the edited picture the source's features and self-attention: its structure, while its look is free.

    Tumanyan et al. 2022, arXiv 2211.12572 (Plug-and-Play), section 4: the output of the ResNet before the decoder's
    transformer `layer` until `features_end`, queries and keys from that one on until `self_end`. Of Stable Diffusion's
    decoder blocks 0 to 11 those from 3 on have transformers: the authors' block 4 is `layer` 1.
    """
    first, ends = int(part.options["layer"]), (float(part.options["features_end"]), float(part.options["self_end"]))

    def block(layer: Layer, x: Tensor) -> Tensor:
        return _twice(x) if run.within(0.0, ends[0]) else x

    def qkv(layer: Layer, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return (_twice(q), _twice(k), v) if run.within(0.0, ends[1]) else (q, k, v)

    hooks = (
        Hook("block", block, lambda layer: _decoder(layer, first) and layer.index == first, both=True),
        Hook("qkv", qkv, lambda layer: _decoder(layer, first) and not layer.cross, both=True),
    )
    return tuple(hook for hook, end in zip(hooks, ends, strict=True) if end > 0)


def _decoder(layer: Layer, first: int) -> bool:
    return layer.place == "up" and layer.index >= first


def _twice(values: Tensor) -> Tensor:
    """Return the source's half in the place of both."""
    source, _ = _halves(values)
    return torch.cat([source, source])


def reweight(part: AttentionPart, run: Controller) -> tuple[Hook, ...]:
    """Multiply the attention to tokens after softmax, without renormalising (Hertz et al. 2022, eq. of section 3.2).

    `tensors`: weights (T,). Of a pair only the edited half is changed.
    """
    weights, paired = part.tensors["weights"], bool(part.options.get("paired"))
    if bool((weights == 1).all()):
        return ()

    def cross(layer: Layer, probs: Tensor) -> Tensor:
        if len(weights) != probs.shape[-1]:
            raise BadInput(
                f"The factors are for a prompt of {len(weights)} tokens, the sampled one has {probs.shape[-1]}: name "
                "words in the very prompt that is sampled.", field="text",
            )  # fmt: skip
        if not paired:
            return probs * weights.to(probs)
        source, target = _halves(probs)
        return torch.cat([source, target * weights.to(probs)])

    return (Hook("probs", cross, _cross),)


def paint(part: AttentionPart, run: Controller) -> tuple[Hook, ...]:
    """Pull words to where they are painted: logits + w log(1 + sigma) stat(logits) A (Balaji et al. 2022, eq. 8).

    arXiv 2211.01324. The published term lies before the division by sqrt(d), as max does: both scale alike. `tensors`:
    masks (P, H, W), strength in 0..1; `options`: `tokens`, positions per mask, `weight`, and `stat`, max or std, taken
    per sample and head so that a picture does not depend on its batch.
    """
    masks, weight, stat = part.tensors["masks"], float(part.options["weight"]), part.options["stat"]

    def logits(layer: Layer, values: Tensor) -> Tensor:
        strength = weight * math.log1p(run.sigma)
        if not strength:
            return values
        where = _columns(masks, part.options["tokens"], layer, values, F.adaptive_avg_pool2d)
        size = values.amax((2, 3), keepdim=True) if stat == "max" else values.std((2, 3), keepdim=True)
        return values + strength * size * where

    return (Hook("logits", logits, _cross),) if weight else ()


def collage(part: AttentionPart, run: Controller) -> tuple[Hook, ...]:
    """Raise each layer's words inside its mask and lower them outside (Sarukkai et al. 2023, arXiv 2303.00262).

    By log(1 + log(1.01 + sigma)) times the column's largest logit, per head; where that is negative, by nothing, or
    raising would lower. Masks are max-pooled for raising and averaged for lowering, so that small layers survive.
    """
    masks, tokens = part.tensors["masks"], part.options["tokens"]
    up, down = part.tensors["positive"], part.tensors["negative"]
    if not bool((up > 0).any()) and not bool((down > 0).any()):
        return ()

    def logits(layer: Layer, values: Tensor) -> Tensor:
        gain = math.log1p(math.log(1.01 + run.sigma))
        top = values.amax(2, keepdim=True).clamp_min(0)  # (B, heads, 1, K)
        raised = _columns(masks * up[:, None, None], tokens, layer, values, F.adaptive_max_pool2d)
        outside = (1 - masks) * down[:, None, None]
        lowered = _columns(outside, tokens, layer, values, F.adaptive_avg_pool2d)
        return values + gain * top * (raised - lowered)

    return (Hook("logits", logits, _cross),)


def _columns(
    masks: Tensor, tokens: tuple[tuple[int, ...], ...], layer: Layer, like: Tensor, pool: Callable[..., Tensor]
) -> Tensor:
    """Return (L, K): in the columns of each mask's tokens the mask (P, H, W) on the layer's grid."""
    check_positions((p for positions in tokens for p in positions), like.shape[-1])
    small = _seen(masks[None].to(like), layer, pool)[0].flatten(1)  # (P, L)
    columns = like.new_zeros(like.shape[2:])
    for values, positions in zip(small, tokens, strict=True):
        columns[:, list(positions)] = torch.maximum(columns[:, list(positions)], values[:, None])
    return columns


Editor = Callable[[AttentionPart, Controller], tuple[Hook, ...]]
KINDS: Mapping[str, Editor] = {
    "inject": inject, "mutual": mutual, "features": features, "reweight": reweight, "paint": paint, "collage": collage,
}  # fmt: skip
