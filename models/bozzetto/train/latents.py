"""Cached latents: scenes drawn, encoded and captioned once, in shards, so that the U-Net never waits for pictures."""

import os
from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers import AutoencoderDC

from models.bozzetto import paths
from models.bozzetto.pictures import to_tensor
from models.bozzetto.scenes import START, captions, render, sample
from models.bozzetto.train import state, tokenizer

SHARD = 2048  # scenes in a file
CAPTIONS = 8  # paraphrases of each scene
FIRST_SEED = 200_000_000


def folder() -> Path:
    """Where the shards lie."""
    where = paths.cache_dir() / "latents"
    where.mkdir(exist_ok=True)
    return where


def frozen_autoencoder() -> AutoencoderDC:
    """The autoencoder with its EMA weights as its training left them, for inference."""
    net = AutoencoderDC.from_pretrained(state.run_dir("autoencoder") / "vae", low_cpu_mem_usage=False).eval()
    return net.to(memory_format=torch.channels_last)


@torch.no_grad()
def _encode(net: AutoencoderDC, images: list[np.ndarray]) -> np.ndarray:
    """(B, C, 16, 16) float16 scaled latents of uint8 pictures."""
    with torch.autocast("cpu", torch.bfloat16):
        z = net.encode(to_tensor(images)).latent
    return (z.float() * net.config.scaling_factor).numpy().astype(np.float16)


def write_shard(index: int, net: AutoencoderDC, tokens: "tokenizer.CLIPTokenizer") -> None:
    """Draw, encode and caption the scenes of one shard, unless its file is there."""
    file = folder() / f"{index:04d}.npz"
    if file.exists():
        return
    specs = [sample(FIRST_SEED + index * SHARD + i, START) for i in range(SHARD)]
    z = [_encode(net, [render(s).image for s in specs[i : i + 32]]) for i in range(0, SHARD, 32)]
    ids = [tokenizer.encode(tokens, list(captions(s, CAPTIONS))) for s in specs]
    temporary = file.with_name(f"{file.stem}-{os.getpid()}.writing.npz")
    np.savez(temporary, latents=np.concatenate(z), tokens=np.array(ids, np.int16))
    temporary.replace(file)


def write_places(index: int) -> None:
    """Draw the scenes of one shard again for their masks alone, unless its file is there."""
    file = folder() / f"{index:04d}-places.npy"
    if file.exists():
        return
    places = np.zeros((SHARD, 16, 16), np.uint8)
    for i in range(SHARD):
        masks = render(sample(FIRST_SEED + index * SHARD + i, START)).masks
        cells = cv2.resize(masks.any(0).astype(np.float32), (16, 16), interpolation=cv2.INTER_AREA)
        places[i] = cv2.dilate(cells, np.ones((3, 3))) * 255
    temporary = file.with_name(f"{file.stem}-{os.getpid()}.writing.npy")
    np.save(temporary, places)
    temporary.replace(file)


def build(shards: int, part: int = 0, parts: int = 1) -> None:
    """Make the shards of which the index is `part` modulo `parts`."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)  # several processes share the shards; threads would wait for each other
    net, tokens = frozen_autoencoder(), tokenizer.load(state.run_dir("text") / "tokenizer")
    for index in range(part, shards, parts):
        write_shard(index, net, tokens)
        write_places(index)
        state.say(f"shard {index}")


def load(shards: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Latents (N, C, 16, 16) float16, token ids (N, CAPTIONS, L) int16, places of objects (N, 16, 16) uint8 of 255."""
    parts = []
    for index in range(shards):
        with np.load(folder() / f"{index:04d}.npz") as shard:
            parts.append((shard["latents"], shard["tokens"], np.load(folder() / f"{index:04d}-places.npy")))
    z, ids, places = (torch.from_numpy(np.concatenate(column)) for column in zip(*parts, strict=True))
    return z, ids, places
