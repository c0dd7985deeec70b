"""Cached latents: scenes drawn, encoded and captioned once, in shards, so that the U-Net never waits for pictures."""

import os
from dataclasses import dataclass, fields, replace
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
MOST = 3  # objects in a scene
FIRST_SEED = 200_000_000
# Pairs are learned last: more of them than in the world that is judged.
WORLD = replace(START, two_objects=0.4)


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


def _cells(masks: np.ndarray) -> np.ndarray:
    """(MOST, 16, 16) uint8, 255 where a cell is all object, of up to MOST masks (n, H, W) bool."""
    out = np.zeros((MOST, 16, 16), np.uint8)
    for row, mask in zip(out, masks, strict=False):
        row[:] = cv2.resize(mask.astype(np.float32), (16, 16), interpolation=cv2.INTER_AREA) * 255
    return out


def write_shard(index: int, net: AutoencoderDC, tokens: "tokenizer.CLIPTokenizer") -> None:
    """Draw, encode and caption the scenes of one shard, unless its file is there."""
    file = folder() / f"{index:04d}.npz"
    if file.exists():
        return
    specs = [sample(FIRST_SEED + index * SHARD + i, WORLD) for i in range(SHARD)]
    z, cells = [], []
    for i in range(0, SHARD, 32):
        scenes = [render(s) for s in specs[i : i + 32]]
        z.append(_encode(net, [s.image for s in scenes]))
        cells += [_cells(s.masks) for s in scenes]
    nouns = [[WORLD.objects.index(o.noun) for o in s.objects] for s in specs]
    temporary = file.with_name(f"{file.stem}-{os.getpid()}.writing.npz")
    np.savez(
        temporary,
        latents=np.concatenate(z),
        tokens=np.array([tokenizer.encode(tokens, list(captions(s, CAPTIONS))) for s in specs], np.int16),
        cells=np.array(cells),
        nouns=np.array([(row + [-1] * MOST)[:MOST] for row in nouns], np.int8),
    )
    temporary.replace(file)


def build(shards: int, part: int = 0, parts: int = 1) -> None:
    """Make the shards of which the index is `part` modulo `parts`."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)  # several processes share the shards; threads would wait for each other
    net, tokens = frozen_autoencoder(), tokenizer.load(state.run_dir("text") / "tokenizer")
    for index in range(part, shards, parts):
        write_shard(index, net, tokens)
        state.say(f"shard {index}")


@dataclass(frozen=True)
class Cached:
    """N scenes as the U-Net is trained on them.

    `latents` (N, C, 16, 16) float16; `tokens` (N, CAPTIONS, L) int16; `cells` (N, MOST, 16, 16) uint8, how much of a
    cell each object covers, of 255; `nouns` (N, MOST) int8, indices into `WORLD.objects`, -1 where there is none.
    """

    latents: torch.Tensor
    tokens: torch.Tensor
    cells: torch.Tensor
    nouns: torch.Tensor


def load(shards: int) -> Cached:
    """The first `shards` shards."""
    parts: dict[str, list[np.ndarray]] = {f.name: [] for f in fields(Cached)}
    for index in range(shards):
        with np.load(folder() / f"{index:04d}.npz") as shard:
            for name, column in parts.items():
                column.append(shard[name])
    return Cached(**{name: torch.from_numpy(np.concatenate(column)) for name, column in parts.items()})
