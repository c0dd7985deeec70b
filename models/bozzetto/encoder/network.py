"""Embedding of pictures and texts with the shipped weights of the dual encoder."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import CLIPTokenizer

from engine.diffusion.families.small_dual import DualEncoder
from models.bozzetto import paths
from models.bozzetto.pictures import to_tensor

__all__ = ["WEIGHTS", "DualEncoder", "embed_images", "embed_texts", "load"]

WEIGHTS = paths.HERE / "encoder" / "encoder.safetensors"


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
