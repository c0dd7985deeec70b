"""A tokenizer of words, where some words are several tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor

from engine.diffusion.text import Tokens, encode, no_embeddings, tokenise
from engine.types import Cond


class Words:
    """A `TextNetwork` of 12 tokens a chunk: begin 1, end 2, padding 0; states follow from the ids up to their own."""

    length, width, begin, end, pad = 12, 64, 1, 2, 0
    vectors = staticmethod(no_embeddings)

    def __init__(self) -> None:
        self.known: dict[str, int] = {}

    @property
    def encoders(self) -> tuple[Words, ...]:
        return (self,)

    def condition(self, prompt: str, *, skip: int | None = None) -> Cond:
        encoded = encode(self, prompt, skip=skip)
        return Cond(encoded.tokens, encoded.pooled)

    def pieces(self, text: str) -> list[tuple[int, int, int]]:
        found = []
        for m in re.finditer(r"\w+|[^\w\s]", text.lower()):
            cuts = [m.start(), m.end()]
            if m[0] == "butterfly":
                cuts = [m.start(), m.start() + 3, m.start() + 6, m.end()]
            elif m[0] == "strawberry":
                cuts = [m.start(), m.start() + 5, m.end()]
            found += [(self.id_of(text.lower()[a:b]), a, b) for a, b in pairwise(cuts)]
        return found

    def id_of(self, piece: str) -> int:
        return self.known.setdefault(piece, len(self.known) + 3)

    def encode(
        self, ids: Tensor, injected: Mapping[tuple[int, int], Tensor], skip: int | None
    ) -> tuple[Tensor, Tensor]:
        rows = torch.stack([
            torch.stack([torch.randn(self.width, generator=torch.Generator().manual_seed(int(i))) for i in row])
            for row in ids
        ])  # fmt: skip
        order = torch.arange(1, rows.shape[1] + 1)[None, :, None]
        rows = rows + rows.cumsum(1) / order  # a token's state knows what came before it
        return rows, rows[:, -1]


def tokens(text: str, network: Words | None = None) -> Tokens:
    return tokenise(network or NETWORK, text)


NETWORK = Words()
