"""`main.py bench model`: what the small model can do, measured by the judge on held-out prompts."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.bozzetto import paths
from models.bozzetto.attention import localisation, noun_maps
from models.bozzetto.evaluate import generate, held_out_specs, prompts_of
from models.bozzetto.judge.metrics import diversity, features, frechet
from models.bozzetto.judge.read import read
from models.bozzetto.judge.score import accuracy
from models.bozzetto.pictures import psnr, to_tensor
from models.bozzetto.sampling import Parts, invert, load, sample_latents
from models.bozzetto.scenes import START, Scene, render, scene
from models.bozzetto.scenes.holdout import FIRST_HELD_OUT_SEED

FAST = {"steps": 20, "guidance": 4.0}  # the recommended setting
SLOW = {"steps": 50, "guidance": 4.0}
BARS = {
    "object_one": 0.90, "object_two": 0.75, "colour": 0.85, "background": 0.95, "style": 0.90, "relation": 0.75,
    "vae_psnr": 30.0, "inversion_psnr": 28.0, "pointing": 0.80,
}  # fmt: skip
MOST = {"seconds_fast": 3.0, "seconds_batched": 1.0, "megabytes": 60.0}
_SEED = 7_000_000


def judged(parts: Parts, number: int, setting: dict[str, Any]) -> dict[str, float]:
    """Accuracy by question, and Frechet distance to as many real scenes, for pictures of held-out prompts."""
    specs = held_out_specs(number)
    images = generate(parts, prompts_of(specs), seed=_SEED, **setting)
    real = np.stack([render(s).image for s in specs])
    return {**accuracy(read(images), specs), "frechet": round(frechet(features(images), features(real)), 3)}


def variety(parts: Parts, prompts: int = 4, each: int = 8) -> float:
    """Mean judge-feature distance between pictures of the same prompt, over a few prompts."""
    told = prompts_of(held_out_specs(prompts))
    sets = [generate(parts, [p] * each, seed=_SEED + 1000 * i, **FAST) for i, p in enumerate(told)]
    return round(float(np.mean([diversity(features(s)) for s in sets])), 4)


def speed(parts: Parts) -> dict[str, float]:
    """Seconds of one picture, and of a picture in a batch of eight, at the fast setting; best of three."""

    def best(prompts: list[str]) -> float:
        taken = []
        for _ in range(3):
            start = time.perf_counter()
            generate(parts, prompts, seed=_SEED, **FAST)
            taken.append(time.perf_counter() - start)
        return min(taken)

    prompt = "a red apple on a beach"
    return {"seconds_fast": round(best([prompt]), 3), "seconds_batched": round(best([prompt] * 8) / 8, 3)}


def megabytes(folder: Path = paths.HERE) -> float:
    """Size of the weights of text encoder, U-Net and autoencoder."""
    files = [f for part in ("text_encoder", "unet", "vae") for f in (folder / part).glob("*.safetensors")]
    return round(sum(f.stat().st_size for f in files) / 1e6, 2)


@torch.no_grad()
def reconstruction(parts: Parts, scenes: list[Scene]) -> dict[str, float]:
    """PSNR of the autoencoder, and of DDIM inversion and back at 50 steps against the autoencoder's own picture."""
    x = to_tensor([s.image for s in scenes])
    z = parts.encode(x)
    plain = parts.decode(z)
    told = prompts_of([s.spec for s in scenes])
    back = sample_latents(parts, told, invert(parts, z, told, steps=50), steps=50, guidance=1.0)
    return {"vae_psnr": round(float(psnr(plain, x).mean()), 2),
            "inversion_psnr": round(float(psnr(parts.decode(back), plain).mean()), 2)}  # fmt: skip


def pointing(parts: Parts, scenes: list[Scene]) -> dict[str, float]:
    """Cross-attention of each scene's first named noun against the object's true mask."""
    nouns = [s.spec.objects[s.spec.named_first].noun for s in scenes]
    maps = noun_maps(parts, scenes, prompts_of([s.spec for s in scenes]), nouns)
    return localisation(maps, np.stack([s.masks[s.spec.named_first] for s in scenes]))


def run(*, number: int = 200) -> dict[str, Any]:
    """Every figure of the model over `number` prompts; `fast` and `slow` hold the answers at the two settings."""
    parts = load()
    scenes = [s for s in (scene(FIRST_HELD_OUT_SEED + 40_000 + i, START) for i in range(80)) if s.spec.count == 1][:50]
    fast, slow = judged(parts, number, FAST), judged(parts, number, SLOW)
    return {"prompts": number, **fast, "fast": {**FAST, **fast}, "slow": {**SLOW, **slow},
            "diversity": variety(parts),
            **speed(parts), "megabytes": megabytes(), **reconstruction(parts, scenes),
            **pointing(parts, scenes)}  # fmt: skip


def _line(key: str, value: float) -> str:
    bar, most = BARS.get(key), MOST.get(key)
    if bar is not None:
        return f"{key:16} {value:8.3f}   at least {bar:g}   {'yes' if value >= bar else 'NO'}"
    if most is not None:
        return f"{key:16} {value:8.3f}   at most {most:g}   {'yes' if value <= most else 'NO'}"
    return f"{key:16} {value:8.3f}"


def table(figures: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line per figure, with its bar and whether it holds."""
    return (_line(k, float(v)) for k, v in figures.items() if not isinstance(v, dict))
