"""Learnt words (textual inversion) out of their files: vectors in the space of a text encoder's token embeddings.

Gal et al. 2022, arXiv 2208.01618. Files: `emb_params` (kohya, A1111), `string_to_param.*` (the original), `clip_l` and
`clip_g` (SDXL's two encoders), or one tensor under the word itself (diffusers). The width says which encoder it is for.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from engine.errors import BadFile

KEYS = ("emb_params", "string_to_param.*", "clip_l", "clip_g")


def vectors_of(tensors: Mapping[str, Tensor], name: str) -> tuple[Tensor, ...]:
    """Return the vectors (k, D) that a file holds, one tensor per text encoder; BadFile if it holds none."""
    found = [tensors[k] for k in KEYS if k in tensors] or (list(tensors.values()) if len(tensors) == 1 else [])
    fitting = [v for v in found if v.ndim in (1, 2) and v.numel() and v.is_floating_point()]
    if not fitting or len(fitting) < len(found):
        raise BadFile(f"Embedding {name} holds {', '.join(list(tensors)[:4])}; none of it is an embedding.")
    if not all(v.isfinite().all() for v in fitting):
        raise BadFile(f"Embedding {name} holds values that are not finite: the file is damaged.")
    return tuple(v.reshape(-1, v.shape[-1]).float() for v in fitting)
