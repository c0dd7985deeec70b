"""The change of one parameter out of the tensors that a file keeps for it: LoRA, LoHa, LoKr, DoRA, full differences.

LoRA: Hu et al. 2021, arXiv 2106.09685. LoHa: Hyeon-Woo et al. 2021, arXiv 2108.06098. LoKr: Yeh et al. 2023, arXiv
2309.14859. DoRA: Liu et al. 2024, arXiv 2402.09353. In Tucker form a convolution's core is a tensor of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Parts = Mapping[str, Tensor]
"""The tensors of one parameter's change, by role."""

Op = Callable[[Parts, Tensor], Tensor]
"""(parts, weight) -> dW in float32, of the weight's shape; ValueError if the shapes do not fit."""

ROLES = {
    ".lora_down.weight": "down", ".lora_A.weight": "down", ".lora_A.default.weight": "down",
    "_lora.down.weight": "down", ".lora.down.weight": "down", ".lora_linear_layer.down.weight": "down",
    ".lora_up.weight": "up", ".lora_B.weight": "up", ".lora_B.default.weight": "up",
    "_lora.up.weight": "up", ".lora.up.weight": "up", ".lora_linear_layer.up.weight": "up",
    ".lora_mid.weight": "mid", ".alpha": "alpha", ".diff": "diff", ".diff_b": "diff_b",
    ".w_norm": "diff", ".b_norm": "diff_b", ".dora_scale": "dora_scale",
    **{f".lora_magnitude_vector{end}": "magnitude" for end in ("", ".weight", ".default.weight")},
    **{f".{name}": name for name in (
        "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2",
        "lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2",
    )},
}  # fmt: skip
"""What the end of a key says of its tensor. PEFT's magnitude counts outputs, LyCORIS' `dora_scale` may count inputs."""


def change(parts: Parts, weight: Tensor) -> Tensor | None:
    """Return W' - W at strength 1, or None if the parts make no change that is known; ValueError if they do not fit."""
    op = next((op for needed, op in OPS.items() if needed <= parts.keys()), None)
    if op is None:
        return None
    delta = op(parts, weight)
    if not bool(delta.isfinite().all()):
        raise ValueError("values that are not finite")
    return _directed(parts, weight, delta) if parts.keys() & {"dora_scale", "magnitude"} else delta


def low_rank(parts: Parts, weight: Tensor) -> Tensor:
    """Return (alpha / r) B A; with `mid` C the Tucker form sum_rs B_or C_rs A_si. Without alpha the factor is 1."""
    down, up = parts["down"].float(), parts["up"].float()
    scale = _scale(parts, down.shape[0])
    if "mid" in parts:
        delta = torch.einsum("or,rskl,si->oikl", up.flatten(1), parts["mid"].float(), down.flatten(1))
    else:
        delta = _product(up.flatten(1), down.flatten(1))  # (out, r) (r, in k k)
    if delta.shape[0] != weight.shape[0]:
        raise ValueError(f"{tuple(delta.shape)} does not fit {tuple(weight.shape)}")
    return scale * _shaped(delta, weight)


def hadamard(parts: Parts, weight: Tensor) -> Tensor:
    """Return LoHa's (alpha / r) (W1a W1b) * (W2a W2b), elementwise."""
    halves = [_factored(parts, f"hada_w{i}", f"hada_t{i}") for i in (1, 2)]
    return _scale(parts, parts["hada_w1_b"].shape[0]) * _shaped(halves[0] * halves[1], weight)


def kronecker(parts: Parts, weight: Tensor) -> Tensor:
    """Return LoKr's (alpha / r) W1 (x) W2, each whole or factored; without the factor if both are whole."""
    first, second = (
        parts[name].float() if name in parts else _factored(parts, name, name.replace("w", "t"))
        for name in ("lokr_w1", "lokr_w2")
    )
    outer, inner = first.shape
    second = second.reshape(weight.shape[0] // outer, weight.shape[1] // inner, *weight.shape[2:]).contiguous()
    delta = torch.kron(first.reshape(outer, inner, *[1] * (weight.ndim - 2)), second)
    rank = next((parts[n].shape[0] for n in ("lokr_w1_b", "lokr_w2_b") if n in parts), 0)
    return (_scale(parts, rank) if rank else 1.0) * _shaped(delta, weight)


def difference(parts: Parts, weight: Tensor) -> Tensor:
    """Return the stored difference itself."""
    if parts["diff"].shape != weight.shape:
        raise ValueError(f"{tuple(parts['diff'].shape)} does not fit {tuple(weight.shape)}")
    return parts["diff"].float()


_KRON = [{"lokr_w1"}, {"lokr_w1_a", "lokr_w1_b"}], [{"lokr_w2"}, {"lokr_w2_a", "lokr_w2_b"}]
OPS: Mapping[frozenset[str], Op] = {
    frozenset({"down", "up"}): low_rank,
    frozenset({"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"}): hadamard,
    **{frozenset(first | second): kronecker for first in _KRON[0] for second in _KRON[1]},
    frozenset({"diff"}): difference,
}
"""An op by the roles that it cannot do without; the others are optional."""


def _directed(parts: Parts, weight: Tensor, delta: Tensor) -> Tensor:
    """Return DoRA's m (W + dW) / |W + dW| - W, the norm taken for each output, or for each input if m is so long."""
    magnitude = (parts["magnitude"] if "magnitude" in parts else parts["dora_scale"]).float()
    moved = weight.detach().float() + delta
    shape = magnitude.shape
    by_input = "magnitude" not in parts and len(shape) > 1 and shape[0] == 1 and shape[1] == weight.shape[1]
    kept = 1 if by_input else 0
    if magnitude.numel() != weight.shape[kept]:
        raise ValueError(f"a magnitude of {tuple(shape)} does not fit {tuple(weight.shape)}")
    others = [d for d in range(weight.ndim) if d != kept]
    norm = torch.linalg.vector_norm(moved, dim=others, keepdim=True)
    directed: Tensor = magnitude.reshape(norm.shape) * moved / norm.clamp(min=torch.finfo(norm.dtype).tiny)
    return directed - weight.detach().float()


def _scale(parts: Parts, rank: int) -> float:
    scale = float(parts["alpha"]) / rank if "alpha" in parts else 1.0
    if not math.isfinite(scale):
        raise ValueError("alpha is not a number")
    return scale


def _factored(parts: Parts, name: str, core: str) -> Tensor:
    """Return W_a W_b, or in Tucker form sum_ij T_ij A_io B_jn."""
    a, b = parts[f"{name}_a"].float(), parts[f"{name}_b"].float()
    if core in parts:
        return torch.einsum("ij...,io,jn->on...", parts[core].float(), a, b)
    return _product(a, b)


def _product(a: Tensor, b: Tensor) -> Tensor:
    if a.shape[1] != b.shape[0]:
        raise ValueError(f"ranks {a.shape[1]} and {b.shape[0]} differ")
    return a @ b


def _shaped(delta: Tensor, weight: Tensor) -> Tensor:
    if delta.numel() != weight.numel():
        raise ValueError(f"{tuple(delta.shape)} does not fit {tuple(weight.shape)}")
    return delta.reshape(weight.shape)
