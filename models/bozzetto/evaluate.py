"""What the judge says of pictures of held-out prompts."""

from dataclasses import replace

import numpy as np
import torch

from models.bozzetto.judge.read import read
from models.bozzetto.judge.score import accuracy
from models.bozzetto.pictures import to_images
from models.bozzetto.sampling import Parts, sample_latents
from models.bozzetto.scenes import START, SceneSpec, caption, held_out, sample
from models.bozzetto.scenes.holdout import FIRST_HELD_OUT_SEED

_ASKED = replace(START, several=0.0, two_objects=0.3)


def held_out_specs(number: int, first: int = FIRST_HELD_OUT_SEED + 20_000) -> list[SceneSpec]:
    """Scenes whose captions are the prompts of an evaluation: seeds that training never draws from.

    Every third scene has an object-colour pair that is held out from training, as far as the seeds offer one.
    """
    pairs = replace(_ASKED, allow_held_out=True, tinted=1.0)
    unseen = [s for s in (sample(first + 100_000 + i, pairs) for i in range(number * 8)) if held_out(s)]
    return [unseen[i // 3] if i % 3 == 2 and i // 3 < len(unseen) else sample(first + i, _ASKED) for i in range(number)]


def prompts_of(specs: list[SceneSpec]) -> list[str]:
    """Full captions: everything that is judged is said."""
    return [caption(s, np.random.default_rng((s.seed, 13)), full=True) for s in specs]


def generate(
    parts: Parts, prompts: list[str], *, steps: int, guidance: float, seed: int, batch: int = 16
) -> np.ndarray:
    """(N, 128, 128, 3) uint8 pictures; picture i depends on `seed` + i alone, not on the batch."""
    shape = (parts.unet.config.in_channels, parts.unet.config.sample_size, parts.unet.config.sample_size)
    images = []
    for start in range(0, len(prompts), batch):
        some = prompts[start : start + batch]
        seeds = range(seed + start, seed + start + len(some))
        noise = torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(s)) for s in seeds])
        images.append(to_images(parts.decode(sample_latents(parts, some, noise, steps=steps, guidance=guidance))))
    return np.concatenate(images)


def judged(parts: Parts, specs: list[SceneSpec], *, steps: int, guidance: float, seed: int) -> dict[str, float]:
    """Accuracy by question over generated pictures of the scenes' captions."""
    images = generate(parts, prompts_of(specs), steps=steps, guidance=guidance, seed=seed)
    return accuracy(read(images), specs)
