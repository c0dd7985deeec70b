"""Where the model looks when it reads a word: cross-attention maps against the true masks of scenes."""

from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor
from torch import Tensor

from models.bozzetto.pictures import to_tensor
from models.bozzetto.sampling import Parts
from models.bozzetto.scenes import Scene

_TIMES = (100, 300, 500)  # noise levels over which the maps are averaged


class Recorder:
    """Attention processor that keeps the probabilities of cross-attention at 16 x 16, averaged over heads."""

    def __init__(self) -> None:
        self.maps: list[Tensor] = []

    def __call__(
        self, attn: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **_: object
    ) -> Tensor:
        """Attend as usual, and keep the probabilities."""
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = (
            attn.head_to_batch_dim(x) for x in (attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context))
        )
        chances = attn.get_attention_scores(query, key)  # (B * heads, places, tokens)
        if encoder_hidden_states is not None and chances.shape[1] == 256:
            self.maps.append(chances.unflatten(0, (-1, attn.heads)).mean(1).float())
        out: Tensor = attn.to_out[0](attn.batch_to_head_dim(torch.bmm(chances, value)))
        return out


@contextmanager
def recording(parts: Parts) -> Iterator[Recorder]:
    """Record the U-Net's cross-attention inside the context; its processors are put back afterwards."""
    kept, recorder = parts.unet.attn_processors, Recorder()
    parts.unet.set_attn_processor({name: recorder if "attn2" in name else AttnProcessor() for name in kept})
    try:
        yield recorder
    finally:
        parts.unet.set_attn_processor(kept)


@torch.no_grad()
def noun_maps(parts: Parts, scenes: list[Scene], prompts: list[str], nouns: list[str]) -> np.ndarray:
    """(N, 16, 16) attention of each scene's places to the last token of its noun, averaged over levels and layers."""
    z, states = parts.encode(to_tensor([s.image for s in scenes])), parts.encode_text(prompts)
    ids = parts.tokenizer(prompts, padding="max_length", truncation=True).input_ids
    last = torch.tensor([row.index(parts.tokenizer(n).input_ids[-2]) for row, n in zip(ids, nouns, strict=True)])
    g, total = torch.Generator().manual_seed(0), torch.zeros(len(scenes), 256)
    for time in _TIMES:
        a = parts.scheduler.alphas_cumprod[time]
        x = a.sqrt() * z + (1 - a).sqrt() * torch.randn(z.shape, generator=g)
        with recording(parts) as recorder:
            parts.unet(x, torch.tensor(time), states)
        total += torch.stack([m[torch.arange(len(m)), :, last] for m in recorder.maps]).mean(0)
    return (total / len(_TIMES)).reshape(-1, 16, 16).numpy()


def localisation(maps: np.ndarray, masks: np.ndarray, *, threshold: float = 0.4) -> dict[str, float]:
    """Pointing game (is the highest point inside?) and IoU of what is over `threshold` of a map's range.

    `maps` (N, 16, 16), `masks` (N, 128, 128) bool.
    """
    hits, overlaps = [], []
    for cells, mask in zip(maps, masks, strict=True):
        fine = cv2.resize(cells, mask.shape, interpolation=cv2.INTER_CUBIC)
        row, column = np.unravel_index(fine.argmax(), fine.shape)
        hits.append(bool(mask[row, column]))
        hot = fine > fine.min() + threshold * (fine.max() - fine.min())
        overlaps.append((hot & mask).sum() / (hot | mask).sum())
    return {"pointing": round(float(np.mean(hits)), 4), "pointing_iou": round(float(np.mean(overlaps)), 4)}
