"""What lossy means of speed gain and cost, on the embedded model: pictures with them beside pictures without.

The embedded model has real weights, so that its pictures mean something; on random ones an error says nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engine.jobs.execute import Engine
from engine.settings import Settings

PROMPTS = ("a red car on a beach", "a blue house in a snowy field", "a cat beside a tree at night")
STEPS, SEED = 20, 7
WAYS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    **{f"step_cache_{t}": ("step_cache_model", {"threshold": t}) for t in (0.05, 0.1, 0.2)},
    **{f"token_merging_{r}": ("TomePatchModel", {"ratio": r}) for r in (0.3, 0.5)},
    "float8": ("number_formats", {"storage": "float8"}),
}  # name -> (node, its inputs)


def measured(folder: Path, prompts: Sequence[str] = PROMPTS) -> dict[str, Any]:
    """Return of each way the CPU time of a picture over that of an exact one, and the mean PSNR to it in dB."""
    settings = Settings(data_dir=folder / "data", output_dir=folder / "output", cache="ram")
    engine = Engine(settings)

    def picture(way: str, prompt: str) -> NDArray[np.float64]:
        result = engine.run(workflow(way, prompt))
        if result.state != "done":
            raise RuntimeError(f"the bench's own workflow failed: {result.problems}")
        path = settings.output_dir / result.ui["save"][0]["files"][0]["name"]
        return np.asarray(Image.open(path), dtype=np.float64)

    def timed(way: str, prompt: str) -> tuple[float, NDArray[np.float64]]:
        began = time.process_time()
        made = picture(way, prompt)
        return time.process_time() - began, made

    picture("", prompts[0])  # loads the model
    exact = [timed("", f"{prompt} ") for prompt in prompts]  # another prompt by its blank: nothing is cached
    found: dict[str, Any] = {}
    for way in WAYS:
        made = [timed(way, f"{prompt} ") for prompt in prompts]
        pairs = list(zip(made, exact, strict=True))
        found[way] = {
            "cpu_time": fmean(m[0] for m in made) / fmean(e[0] for e in exact),
            "psnr_db": fmean(psnr(m[1], e[1]) for m, e in pairs),
        }
    return found


def psnr(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the peak signal-to-noise ratio of two pictures of 0..255 in dB; infinite if they are equal."""
    error = float(((a - b) ** 2).mean())
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def workflow(way: str, prompt: str) -> dict[str, Any]:
    """Return text to image with one of `WAYS` between loader and sampler, none if it is empty."""
    kind, inputs = WAYS[way] if way else ("", {})
    model = ["way", "model"] if way else ["load", "model"]
    nodes: dict[str, Any] = {
        "load": {"type": "load_embedded", "inputs": {}},
        "text": {"type": "encode_text", "inputs": {"clip": ["load", "clip"], "text": prompt}},
        "negative": {"type": "encode_text", "inputs": {"clip": ["load", "clip"], "text": ""}},
        "latent": {"type": "empty_latent", "inputs": {"model": ["load", "model"]}},
        "sampler": {"type": "sample", "inputs": {
            "model": model, "positive": ["text", "conditioning"], "negative": ["negative", "conditioning"],
            "latent": ["latent", "latent"], "seed": SEED, "steps": STEPS,
        }},
        "decode": {"type": "vae_decode", "inputs": {"latent": ["sampler", "latent"], "vae": ["load", "vae"]}},
        "save": {"type": "save_image", "inputs": {"image": ["decode", "image"]}},
    }  # fmt: skip
    return {**nodes, "way": {"type": kind, "inputs": {"model": ["load", "model"], **inputs}}} if way else nodes
