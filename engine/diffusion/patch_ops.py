"""The change of one parameter out of the tensors that a file keeps for it.

LoRA: Hu et al. 2021, arXiv 2106.09685. LoHa: Hyeon-Woo et al. 2021, arXiv 2108.06098. LoKr: Yeh et al. 2023, arXiv
2309.14859. DoRA: Liu et al. 2024, arXiv 2402.09353. IA3: Liu et al. 2022, arXiv 2205.05638. GLoRA: Chavan et al. 2023,
arXiv 2306.07967. OFT: Qiu et al. 2023, arXiv 2306.07280. In Tucker form a convolution's core is a tensor of its own.
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
        "ia3_l", "on_input", "oft_blocks", "rescale",
    )},
    **{f".{name}.weight": name for name in ("a1", "a2", "b1", "b2", "oft_R")},
    ".weight": "factor",
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


def bias_change(parts: Parts, bias: Tensor | None, weight: Tensor) -> Tensor | None:
    """Return the change of a layer's bias that goes with its weight's, or None; ValueError if it does not fit."""
    if "diff_b" in parts:
        if bias is None:
            raise ValueError("a change of a bias that is not there")
        return difference({"diff": parts["diff_b"]}, bias)
    if "ia3_l" in parts and bias is not None and counts_outputs(parts, weight):
        return _own(bias) * (parts["ia3_l"].float().flatten() - 1)
    return None


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


def scaled(parts: Parts, weight: Tensor) -> Tensor:
    """Return IA3's w W, one factor for each input or each output; PEFT stores 1 + w."""
    if "ia3_l" in parts:
        return _own(weight) * (_along(parts["ia3_l"], weight, by_input=not counts_outputs(parts, weight)) - 1)
    return _own(weight) * _along(parts["factor"], weight, by_input=bool(parts["on_input"]))


def counts_outputs(parts: Parts, weight: Tensor) -> bool:
    """Say whether PEFT's IA3 vector scales outputs, and so the bias too: (out, 1) of a linear layer, (1, out, 1, 1)."""
    shape = parts["ia3_l"].shape
    return bool(shape[:1] == weight.shape[:1] if weight.ndim == 2 else shape[1:2] == weight.shape[:1])


def _along(factors: Tensor, weight: Tensor, *, by_input: bool) -> Tensor:
    kept = 1 if by_input else 0
    if factors.numel() != weight.shape[kept]:
        raise ValueError(f"{factors.numel()} factors do not fit {tuple(weight.shape)}")
    return factors.float().reshape([-1 if d == kept else 1 for d in range(weight.ndim)])


def generalised(parts: Parts, weight: Tensor) -> Tensor:
    """Return GLoRA's (alpha / r) (W A1 A2 + B1 B2). LyCORIS before version 3 calls the left factors 2, the right 1."""
    old = parts["b1"].shape[0] != weight.shape[0]
    left, right = ("2", "1") if old else ("1", "2")
    a_left, a_right, b_left, b_right = (
        parts[n].float().flatten(1) for n in (f"a{left}", f"a{right}", f"b{left}", f"b{right}")
    )
    inputs = _product(a_left, a_right)  # (in, r) (r, in)
    turned = torch.einsum("oi...,ij->oj...", _own(weight), inputs)
    return _scale(parts, a_right.shape[0]) * (turned + _shaped(_product(b_left, b_right), weight))


def rotated(parts: Parts, weight: Tensor) -> Tensor:
    """Return m R^T W - W: outputs in blocks turned by R = (I + Q) (I - Q)^-1, Q = B - B^T.

    As LyCORIS and kohya store it: alpha x outputs bounds |Q|, 0 does not; `rescale` m (out, 1, ...) may be missing.
    """
    blocks = parts["oft_blocks"].float()  # (n, b, b)
    if blocks.ndim != 3 or blocks.shape[:2].numel() != weight.shape[0]:
        raise ValueError(f"blocks {tuple(blocks.shape)} do not fit {tuple(weight.shape)}")
    skew = blocks - blocks.mT
    bound = _scale(parts, 1) * weight.shape[0] if "alpha" in parts else 0.0
    if bound > 0:
        skew = skew * (bound / skew.norm().clamp(min=torch.finfo(skew.dtype).tiny)).clamp(max=1)
    eye = torch.eye(blocks.shape[1])
    rotation = (eye + skew) @ torch.linalg.inv(eye - skew)
    before = _own(weight)
    after: Tensor = (rotation.mT @ before.reshape(*blocks.shape[:2], -1)).reshape(before.shape)  # (n, b, b) (n, b, ...)
    return (_along(parts["rescale"], weight, by_input=False) * after if "rescale" in parts else after) - before


def rotated_inputs(parts: Parts, weight: Tensor) -> Tensor:
    """Return W R^T - W: inputs in blocks turned by R = I + 2 Q + 2 Q^2 + 2 Q^3 + Q^4, Q skew with that upper triangle.

    As PEFT stores it, and computes it by default: the first terms of the Cayley map. A single block serves all inputs.
    """
    above = parts["oft_R"].float()  # (n, b (b - 1) / 2)
    size = (1 + math.isqrt(1 + 8 * above.shape[1])) // 2
    skew = above.new_zeros(len(above), size, size)
    skew[:, *torch.triu_indices(size, size, 1)] = above
    skew = skew - skew.mT
    square = skew @ skew
    rotation = torch.eye(size) + 2 * (skew + square + square @ skew) + square @ square
    before = _own(weight)
    after = before.reshape(len(before), -1, 1, size) @ rotation.mT  # (out, n, 1, b) (n, b, b)
    return after.reshape(before.shape) - before


_KRON = [{"lokr_w1"}, {"lokr_w1_a", "lokr_w1_b"}], [{"lokr_w2"}, {"lokr_w2_a", "lokr_w2_b"}]
OPS: Mapping[frozenset[str], Op] = {
    frozenset({"down", "up"}): low_rank,
    frozenset({"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"}): hadamard,
    **{frozenset(first | second): kronecker for first in _KRON[0] for second in _KRON[1]},
    frozenset({"diff"}): difference,
    frozenset({"ia3_l"}): scaled,
    frozenset({"factor", "on_input"}): scaled,
    frozenset({"a1", "a2", "b1", "b2"}): generalised,
    frozenset({"oft_blocks"}): rotated,
    frozenset({"oft_R"}): rotated_inputs,
}
"""An op by the roles that it cannot do without; the others are optional."""


def _directed(parts: Parts, weight: Tensor, delta: Tensor) -> Tensor:
    """Return DoRA's m (W + dW) / |W + dW| - W, the norm taken for each output, or for each input if m is so long."""
    magnitude = (parts["magnitude"] if "magnitude" in parts else parts["dora_scale"]).float()
    moved = _own(weight) + delta
    shape = magnitude.shape
    by_input = "magnitude" not in parts and len(shape) > 1 and shape[0] == 1 and shape[1] == weight.shape[1]
    kept = 1 if by_input else 0
    if magnitude.numel() != weight.shape[kept]:
        raise ValueError(f"a magnitude of {tuple(shape)} does not fit {tuple(weight.shape)}")
    others = [d for d in range(weight.ndim) if d != kept]
    norm = torch.linalg.vector_norm(moved, dim=others, keepdim=True)
    directed: Tensor = magnitude.reshape(norm.shape) * moved / norm.clamp(min=torch.finfo(norm.dtype).tiny)
    return directed - _own(weight)


def _own(weight: Tensor) -> Tensor:
    """Return a layer's own weight where the tensors of files are."""
    return weight.detach().float().cpu()


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
