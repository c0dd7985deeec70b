"""Declared hook points in attention: one dispatcher per layer, installed when a model is built; hooks travel per call.

A call passes `cross_attention_kwargs={"run": Run(hooks)}`. Without a hook for a layer its original processor runs,
so the result is the default's bit for bit, and a cached model is never changed. Hook points, in order of computation:

- `block`: (layer, x) -> x, (B, C, h, w): what a ResNet hands to the transformer after it, before its norm.
- `inputs`: (layer, x, keys, values) -> the same, (B, L, D) and (B, K, D'), before the projections.
- `qkv`: (layer, q, k, v) -> q, k, v, each (B, heads, L, d). Keys and values may come from elsewhere or be longer.
- `logits`: (layer, logits) -> logits, (B, heads, L, K), before softmax, scaled and masked.
- `probs`: (layer, probs) -> probs, same shape, rows sum to 1.
- `out`: (layer, out) -> out, (B, L, D), before the output projection; `projected`: the same after it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Point = Literal["block", "inputs", "qkv", "logits", "probs", "out", "projected"]
TRANSFORMER = "Transformer2DModel"  # diffusers' class of the transformers between ResNets


@dataclass(frozen=True)
class Window:
    """A part (h, w) of a canvas (H, W), in latent cells, that one call of the network sees.

    `crop` takes it out of (..., H, W); `add` adds it (..., h, w) to a canvas, in place.
    """

    size: tuple[int, int]
    canvas: tuple[int, int]
    crop: Callable[[Tensor], Tensor]
    add: Callable[[Tensor, Tensor], None]


@dataclass(frozen=True)
class Layer:
    """Where a hook is called: the layer's `name` and `place` (down, mid, up), and the query grid `size` (h, w).

    `index` counts the transformers of a place in the order in which they are called; `window` is what the call sees,
    if that is not the whole canvas.
    """

    name: str
    place: str
    cross: bool
    heads: int
    size: tuple[int, int]
    index: int = 0
    window: Window | None = None


def everywhere(layer: Layer) -> bool:
    """Accept every layer."""
    return True


@dataclass(frozen=True)
class Hook:
    """A function at one hook point, on the layers that `wants` accepts; `both`: under the negative condition too."""

    point: Point
    call: Callable[..., Any]
    wants: Callable[[Layer], bool] = everywhere
    both: bool = False

    def inside(self, window: Window) -> Hook:
        """Return the hook as it acts in a window of a canvas."""
        return replace(self, call=lambda layer, *values: self.call(replace(layer, window=window), *values))


@dataclass(frozen=True)
class Run:
    """One network call as attention sees it: its hooks, in order, and the size (h, w) of the latent."""

    hooks: tuple[Hook, ...]
    size: tuple[int, int]


def install(network: Any) -> None:
    """Put a dispatcher in front of every attention layer's processor; call it once, when the model is built."""
    order: dict[str, dict[str, int]] = {}  # place -> transformer -> its index
    wrapped = {}
    for name, old in network.attn_processors.items():
        transformer, place = name.partition(".transformer_blocks")[0], _place(name)
        index = order.setdefault(place, {}).setdefault(transformer, len(order[place]))
        wrapped[name] = Dispatcher(name, old, index)
    network.set_attn_processor(wrapped)
    for name, module in network.named_modules():
        if type(module).__name__ == TRANSFORMER and name in order.get(_place(name), {}):
            module.register_forward_pre_hook(partial(_enter, name, order[_place(name)][name]), with_kwargs=True)


def _place(name: str) -> str:
    return name.split("_", maxsplit=1)[0]


def _enter(name: str, index: int, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Apply `block` hooks to what enters a transformer; None, which leaves all as it is, without any."""
    run = (kwargs.get("cross_attention_kwargs") or {}).get("run")
    hooks = [h for h in run.hooks if h.point == "block"] if run is not None else []
    if not hooks:
        return None
    x, *rest = args
    layer = Layer(name, _place(name), False, 0, (x.shape[2], x.shape[3]), index)
    for hook in hooks:
        x = hook.call(layer, x) if hook.wants(layer) else x
    return (x, *rest), kwargs


class Dispatcher:
    """A diffusers attention processor that runs `default` unless the call brings hooks for this layer."""

    def __init__(self, name: str, default: Any, index: int = 0) -> None:
        self.name = name.removesuffix(".processor")
        self.place = _place(name)
        self.default = default
        self.index = index

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        run: Run | None = None,
    ) -> Tensor:
        """Attend. The parameter names are those by which diffusers passes them."""
        hooks, layer = self._wanted(attn, hidden_states, encoder_hidden_states, run)
        if not hooks:
            result: Tensor = self.default(attn, hidden_states, encoder_hidden_states, attention_mask, temb)
            return result
        return _attend(attn, hidden_states, encoder_hidden_states, attention_mask, hooks, layer)

    def _wanted(self, attn: Any, x: Tensor, context: Tensor | None, run: Run | None) -> tuple[list[Hook], Layer]:
        if run is None or not run.hooks:
            return [], NOWHERE
        tokens = x.shape[1] if x.ndim == 3 else x.shape[2] * x.shape[3]
        layer = Layer(self.name, self.place, context is not None, attn.heads, grid_of(run.size, tokens), self.index)
        return [hook for hook in run.hooks if hook.point != "block" and hook.wants(layer)], layer


NOWHERE = Layer("", "", False, 0, (0, 0))


def grid_of(size: tuple[int, int], tokens: int) -> tuple[int, int]:
    """Return the size that a latent of `size` has where it has become `tokens` cells: halved, rounded up, each time."""
    h, w = size
    while h * w > tokens:
        h, w = (h + 1) // 2, (w + 1) // 2
    return (h, w) if h * w == tokens else (1, tokens)


def _attend(
    attn: Any, x: Tensor, context: Tensor | None, mask: Tensor | None, hooks: list[Hook], layer: Layer
) -> Tensor:
    """Attention written out, with hooks; what the surrounding block adds (norms, residual) is as in the default."""
    image = x.shape if x.ndim == 4 else None
    tokens = x.flatten(2).transpose(1, 2) if image else x  # (B, C, h, w) -> (B, h w, C)
    if attn.group_norm is not None:
        tokens = attn.group_norm(tokens.transpose(1, 2)).transpose(1, 2)
    if context is not None and attn.norm_cross:
        context = attn.norm_encoder_hidden_states(context)
    out = _mix(attn, tokens, tokens if context is None else context, mask, hooks, layer)
    out = attn.to_out[1](attn.to_out[0](out))
    for hook in _at("projected", hooks):
        out = hook(layer, out)
    if image:
        out = out.transpose(1, 2).reshape(image)  # (B, h w, C) -> (B, C, h, w)
    if attn.residual_connection:
        out = out + x
    result: Tensor = out / attn.rescale_output_factor
    return result


def _mix(attn: Any, x: Tensor, context: Tensor, mask: Tensor | None, hooks: list[Hook], layer: Layer) -> Tensor:
    """Return softmax(q k / sqrt(d)) v with every hook applied, (B, L, D)."""
    batch = x.shape[0]

    def heads(t: Tensor) -> Tensor:
        return t.view(batch, -1, attn.heads, t.shape[-1] // attn.heads).transpose(1, 2)  # (B, T, D) -> (B, heads, T, d)

    keys = values = context
    for hook in _at("inputs", hooks):
        x, keys, values = hook(layer, x, keys, values)
    q, k, v = heads(attn.to_q(x)), heads(attn.to_k(keys)), heads(attn.to_v(values))
    for hook in _at("qkv", hooks):
        q, k, v = hook(layer, q, k, v)
    if mask is not None:
        mask = attn.prepare_attention_mask(mask, context.shape[1], batch).view(batch, attn.heads, -1, context.shape[1])
    logit_hooks, prob_hooks = _at("logits", hooks), _at("probs", hooks)
    if logit_hooks or prob_hooks:
        logits = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])  # (B, heads, L, K)
        logits = logits if mask is None else logits + mask
        for hook in logit_hooks:
            logits = hook(layer, logits)
        probs = torch.softmax(logits, -1, dtype=torch.float32).to(v.dtype)
        for hook in prob_hooks:
            probs = hook(layer, probs)
        out = probs @ v
    else:
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    out = out.transpose(1, 2).flatten(2)  # (B, heads, L, d) -> (B, L, D)
    for hook in _at("out", hooks):
        out = hook(layer, out)
    return out


def _at(point: Point, hooks: list[Hook]) -> list[Callable[..., Any]]:
    return [hook.call for hook in hooks if hook.point == point]
