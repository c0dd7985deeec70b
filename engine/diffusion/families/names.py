"""The names of a transformer's layers in the layout that it was published in, and the way to diffusers' names.

A table says for each of their layers which of ours it is, or which several of ours lie in it one below the other, as
queries, keys and values do. It serves weights and LoRA alike, and tensors are cut as views, so that mapped weights stay
in their file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Names = Mapping[str, "Layer"]
"""Their layer's path -> ours."""


@dataclass(frozen=True)
class Layer:
    """Our layers that make up one of theirs, by rows: `shares` of them each, equal ones if empty. None: it is not read.

    `swapped`: the two halves of the rows change places (shift and scale of a modulation).
    """

    ours: tuple[str, ...]
    shares: tuple[int, ...] = ()
    swapped: bool = False

    def cut(self, tensor: Tensor) -> dict[str, Tensor]:
        """Return the tensor (rows, ...) by the path of our layer."""
        if not self.ours:
            return {}
        shares = self.shares or (1,) * len(self.ours)
        if not tensor.ndim or len(tensor) % sum(shares):
            return {"/".join(self.ours): tensor}  # it does not divide: left over, which `load.assign` names
        if self.swapped:
            return {self.ours[0]: torch.cat(tensor.chunk(2)[::-1])}
        unit = len(tensor) // sum(shares)
        parts = torch.functional.split(tensor, [unit * share for share in shares])
        return dict(zip(self.ours, parts, strict=True))

    def joined(self, parts: Sequence[Tensor]) -> Tensor:
        """Return their tensor of ours, in the order of `ours`: what `cut` takes apart."""
        return torch.cat([*(parts[0].chunk(2)[::-1] if self.swapped else parts)])


def table(pairs: Iterator[tuple[str, str | Layer]]) -> dict[str, Layer]:
    """Make a table of pairs (their path, our path or `Layer`)."""
    return {theirs: ours if isinstance(ours, Layer) else Layer((ours,)) for theirs, ours in pairs}


def fused(prefix: str, names: Sequence[str], shares: tuple[int, ...] = ()) -> Layer:
    """Return our layers `prefix + name` as one of theirs."""
    return Layer(tuple(prefix + name for name in names), shares)


def crossed(ends: Mapping[str, str | Layer], block: Mapping[str, str], layers: int) -> dict[str, Layer]:
    """Return the names of PixArt and of SANA after it: `ends`, and blocks of self- and cross-attention with `block`."""
    pairs = dict(ends)
    for i in range(layers):
        theirs, ours = f"blocks.{i}.", f"transformer_blocks.{i}."
        pairs[f"{theirs}attn.qkv"] = fused(f"{ours}attn1.", ("to_q", "to_k", "to_v"))
        pairs[f"{theirs}cross_attn.kv_linear"] = fused(f"{ours}attn2.", ("to_k", "to_v"))
        pairs |= {theirs + a: f"{ours}{b}" for a, b in block.items()}
    return table(iter(pairs.items()))


def renamed(tensors: Mapping[str, Tensor], names: Names, leaves: Mapping[str, str] | None = None) -> dict[str, Tensor]:
    """Return tensors under diffusers' names; what the table does not know keeps its name.

    `leaves`: last part of their name -> of ours, such as scale -> weight.
    """
    found: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        path, _, leaf = key.rpartition(".")
        layer = names.get(path) or names.get(key)
        if layer is None:
            found[key] = tensor
        elif path not in names:  # a parameter of its own, without a leaf
            found |= layer.cut(tensor)
        else:
            end = (leaves or {}).get(leaf, leaf)
            found |= {f"{ours}.{end}": part for ours, part in layer.cut(tensor).items()}
    return found
