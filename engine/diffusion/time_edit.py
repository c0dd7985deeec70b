"""TIME: what a prompt leaves unsaid, edited in closed form in the projections of cross-attention.

Orgad et al. 2023, arXiv 2303.08084, eq. 3: W' = argmin sum_i |W' c_i - W c*_i|^2 + lambda |W' - W|^2, which is
W' = W (sum c*_i c_i^T + lambda I)(sum c_i c_i^T + lambda I)^-1. So dW = W M with one M for all layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.diffusion.alignment import contained
from engine.diffusion.text import TextNetwork, encode, tokenise
from engine.errors import BadInput

TEMPLATES = ("", "A photo of ", "An image of ", "A picture of ")
KEYS, VALUES = ("attn2.to_k.weight",), ("attn2.to_v.weight",)


@dataclass(frozen=True)
class Rows:
    """States of source tokens and of the target tokens in their place, (n, D) each, float64."""

    source: Tensor
    target: Tensor


def rows_of(clip: TextNetwork, source: str, target: str, *, templates: bool, skip: int | None = None) -> Rows:
    """Encode a pair of prompts, alone and inside templates, and pair their token states."""
    sources, targets = [], []
    for template in TEMPLATES if templates else TEMPLATES[:1]:
        a, b = (template + (_lowered(p) if template else p) for p in (source, target))
        pairs = contained(tokenise(clip, a), tokenise(clip, b))
        states = [encode(clip, p, skip=skip).tokens[0].double() for p in (a, b)]
        sources.append(states[0][[i for i, _ in pairs]])
        targets.append(states[1][[j for _, j in pairs]])
    return Rows(torch.cat(sources), torch.cat(targets))


def preserved(clip: TextNetwork, prompts: Sequence[str], *, skip: int | None = None) -> list[Rows]:
    """Return rows that shall stay as they are (Gandikota et al. 2023, arXiv 2308.14761)."""
    states = [encode(clip, p, skip=skip).tokens[0].double() for p in prompts]
    return [Rows(s, s) for s in states]


def solve(rows: Sequence[Rows], strength: float, *, relative: bool = False) -> Tensor:
    """Return M (D, D), float64, for all rows at once; `relative` takes lambda in units of the mean eigenvalue."""
    c, target = torch.cat([r.source for r in rows]), torch.cat([r.target for r in rows])
    gram = c.T @ c
    lam = strength * float(gram.trace()) / len(gram) if relative else strength
    if lam <= 0:
        raise BadInput("The regularisation must be above 0.", field="strength")
    eye = torch.eye(len(gram), dtype=gram.dtype)
    factor = torch.linalg.cholesky(gram + lam * eye)
    m: Tensor = torch.cholesky_solve(c.T @ (target - c), factor).T  # ((target - c)^T c)(c^T c + lambda I)^-1
    return m


def deltas(module: nn.Module, m: Tensor, *, keys: bool = True, values: bool = True) -> dict[str, Tensor]:
    """Return dW = W M of each projection that reads the text's own states (D wide), float32, by parameter name."""
    wanted = (KEYS if keys else ()) + (VALUES if values else ())
    found = {
        name: (weight.detach().double().cpu() @ m).float()
        for name, weight in module.named_parameters() if name.endswith(wanted) and weight.shape[1] == len(m)
    }  # fmt: skip
    if not found:
        raise BadInput("This model has no cross-attention projections to edit, or keys and values are both off.")
    return found


def fit(rows: Sequence[Rows], m: Tensor) -> tuple[float, float]:
    """Return how far states remain from their targets, of where they began; and the size of M, of the identity's."""
    c, target = torch.cat([r.source for r in rows]), torch.cat([r.target for r in rows])
    begun = (target - c).norm().clamp_min(1e-30)
    return float((target - c - c @ m.T).norm() / begun), float(m.norm() / len(m) ** 0.5)


def _lowered(prompt: str) -> str:
    first, _, rest = prompt.partition(" ")
    return f"{first.lower()} {rest}" if first.lower() in ("a", "an", "the") else prompt
