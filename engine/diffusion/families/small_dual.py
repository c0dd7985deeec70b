"""The small dual encoder that comes with the embedded model: a convolutional side and a two-layer transformer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.diffusion.families.base import WHOLE, Part, Reason, Source, Verdict
from engine.diffusion.families.clip_text import load_tokenizer
from engine.diffusion.families.dual_encoder import DualNetwork
from engine.diffusion.families.load import Place, assign, on_meta
from engine.diffusion.families.shapes import header_shape
from engine.errors import BadFile

DIMENSIONS = 64
SIDE = 128  # pixels
WIDTH = 128
TOKENS, POSITIONS = "token.weight", "position"
WHAT = "dual encoder"


def _stage(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.GroupNorm(8, outputs), nn.SiLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.GroupNorm(8, outputs), nn.SiLU(inplace=True),
    )  # fmt: skip


class DualEncoder(nn.Module):
    """A convolutional picture side with position, and a two-layer transformer text side; about 1.6 M parameters."""

    def __init__(self, vocabulary: int, length: int = 24) -> None:
        super().__init__()
        self.image = nn.Sequential(_stage(3, 32), _stage(32, 64), _stage(64, 128), _stage(128, 192))  # to 8 x 8
        self.place = nn.Parameter(torch.randn(1, 192, 8, 8) * 0.02)
        self.pool = nn.Linear(192, 1)  # attention pooling: where to look
        self.image_out = nn.Linear(192 * 3, DIMENSIONS)
        self.token = nn.Embedding(vocabulary, WIDTH)
        self.position = nn.Parameter(torch.randn(1, length, WIDTH) * 0.02)
        layer = nn.TransformerEncoderLayer(WIDTH, 4, 384, 0.0, "gelu", batch_first=True, norm_first=True)
        self.text = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.text_out = nn.Linear(WIDTH * 2, DIMENSIONS)
        self.scale = nn.Parameter(torch.tensor(2.6))  # log of the inverse temperature

    def embed_images(self, x: Tensor) -> Tensor:
        """(B, 64) unit vectors of (B, 3, 128, 128) pictures in -1..1."""
        cells = (self.image(x) + self.place).flatten(2).transpose(1, 2)  # (B, 64 cells, 192)
        looked = (self.pool(cells).softmax(1) * cells).sum(1)
        return F.normalize(self.image_out(torch.cat([cells.mean(1), cells.amax(1), looked], 1)), dim=-1)

    def embed_texts(self, ids: Tensor) -> Tensor:
        """(B, 64) unit vectors of (B, L) token ids."""
        states = self.text(self.token(ids) + self.position)
        return F.normalize(self.text_out(torch.cat([states.mean(1), states.amax(1)], 1)), dim=-1)


class SmallDual:
    """The family object; see `base.Family`."""

    name = "small_dual"
    title = "Small dual encoder"
    order = 56

    def recognise(self, source: Source) -> Verdict:
        """Look for both sides by the names of their last layers."""
        signs = (TOKENS, POSITIONS, "place", "image_out.weight", "text_out.weight")
        return Verdict.of(self.name, {sign: sign in source.single for sign in signs}, {})

    def card(self, source: Source) -> tuple[Reason, ...]:
        """Return family and sizes, with their reasons."""
        vocabulary, length = _sizes(source)
        return (
            Reason("family", self.title, "; ".join(self.recognise(source).found)),
            Reason("words", vocabulary, TOKENS),
            Reason("length", length, POSITIONS),
        )

    def parts(self, source: Source) -> dict[str, Part]:
        """Return the one part there is."""
        return {"dual": Part(source.single.size)}

    def build(self, source: Source, part: str, place: Place) -> DualNetwork:
        """Build it at `place`; its tokenizer is that of the model whose folder it lies in."""
        vocabulary, length = _sizes(source)
        module: Any = on_meta(lambda: DualEncoder(vocabulary, length), {}, WHAT)
        assign(module, source.tensors(WHOLE), place, WHAT)
        tokenizer = load_tokenizer(source.path.parent.parent / "tokenizer")
        return DualNetwork(module, module.embed_images, module.embed_texts, tokenizer, SIDE, length)


def _sizes(source: Source) -> tuple[int, int]:
    """Return the number of tokens that are known, and of those that a text may have."""
    tokens, positions = (header_shape(source.single, key) for key in (TOKENS, POSITIONS))
    if len(tokens) != 2 or len(positions) != 3:
        raise BadFile("The dual encoder's words and positions follow no regular plan; the file is damaged.")
    return tokens[0], positions[1]


FAMILY = SmallDual()
