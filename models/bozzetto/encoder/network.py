"""The dual encoder's network, and embedding of pictures and texts with the shipped weights."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTokenizer

from models.bozzetto import paths
from models.bozzetto.pictures import to_tensor

WEIGHTS = paths.HERE / "encoder" / "encoder.safetensors"
DIMENSIONS = 64
_WIDTH = 128


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
        self.token = nn.Embedding(vocabulary, _WIDTH)
        self.position = nn.Parameter(torch.randn(1, length, _WIDTH) * 0.02)
        layer = nn.TransformerEncoderLayer(_WIDTH, 4, 384, 0.0, "gelu", batch_first=True, norm_first=True)
        self.text = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.text_out = nn.Linear(_WIDTH * 2, DIMENSIONS)
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


@lru_cache(maxsize=2)
def load(file: Path = WEIGHTS) -> tuple[DualEncoder, CLIPTokenizer]:
    """The encoder with its shipped weights, and the tokenizer that it shares with the model."""
    weights = {k: v.float() for k, v in load_file(file).items()}
    net = DualEncoder(len(weights["token.weight"]), weights["position"].shape[1])
    net.load_state_dict(weights)
    return net.eval(), CLIPTokenizer.from_pretrained(paths.HERE / "tokenizer")


@torch.no_grad()
def embed_images(images: np.ndarray) -> np.ndarray:
    """(N, 64) unit vectors of (N, 128, 128, 3) uint8 pictures."""
    net, _ = load()
    return torch.cat([net.embed_images(part) for part in to_tensor(images).split(64)]).numpy()


@torch.no_grad()
def embed_texts(texts: list[str]) -> np.ndarray:
    """(N, 64) unit vectors of texts."""
    net, tokens = load()
    length = net.position.shape[1]
    ids = tokens(texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids
    return net.embed_texts(ids).numpy()
