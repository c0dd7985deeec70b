"""Stable Diffusion 1.5 on this machine: ours beside diffusers and ComfyUI, on one file of random weights, in one run.

Contenders alternate; every figure is a median. diffusers runs its own pipeline in bfloat16 where the CPU has it, its
fastest plain setting; ComfyUI runs as its own server with its defaults.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from engine.bench import lossy
from engine.bench.comfyui import ComfyUI
from engine.diffusion.bench import FILE, NEGATIVE, PROMPT, SCALE
from engine.diffusion.bench.timing import REPEATS, Timed, alternating
from engine.jobs.execute import Engine
from engine.settings import Settings

STEPS, SIDE = 8, 256
Make = Callable[[int, str], Any]
"""(seed, prompt) -> one saved picture."""


def run(steps: int = STEPS, comfyui: str = "", scratch: str = "") -> dict[str, Any]:
    """Measure; see docs/speed.md for what the figures mean."""
    from engine.diffusion.bench import networks, random_sd  # torch, which nothing else of the command needs

    root = Path(scratch or Path(tempfile.gettempdir()) / "sfumato-bench")
    file = random_sd.write_file(root / "checkpoints" / FILE)
    configs = random_sd.write_configs(root / "configs")
    os.environ["HF_HUB_OFFLINE"] = "1"
    with networks.without_gradients(), ExitStack() as stack:
        began = time.perf_counter()
        pipeline = networks.load_diffusers(file, configs)
        load_s = time.perf_counter() - began
        figures = networks.measured(networks.Ours.load(root), pipeline)
        contenders: dict[str, Make] = {
            "ours": Pictures(root, steps).make,
            "diffusers": lambda seed, prompt: networks.diffusers_picture(pipeline, steps, SIDE, seed, prompt),
        }
        if comfyui:
            server = stack.enter_context(ComfyUI(Path(comfyui), root))
            contenders["comfyui"] = lambda seed, prompt: server.picture(FILE, steps, SIDE, seed, prompt)
        figures |= pictures(contenders)
    figures["load"]["diffusers_s"] = load_s
    figures["lossy"] = lossy.measured(root / "lossy")
    return {**figures, **_ratios(figures), "steps": steps, "side": SIDE, "repeats": REPEATS}


def _ratios(figures: Mapping[str, Any]) -> dict[str, float]:
    others = ("diffusers", "comfyui")
    return {f"to_{o}": figures["ours_s"] / figures[f"{o}_s"] for o in others if f"{o}_s" in figures}


# Pictures ------------------------------------------------------------------------------------------------------------


class Pictures:
    """The whole engine on a workflow, with its cache in memory."""

    def __init__(self, root: Path, steps: int) -> None:
        settings = Settings(models_dir=root, data_dir=root / "data", output_dir=root / "output", cache="ram",
                            budget=10 << 30)  # fmt: skip
        self.engine = Engine(settings)
        self.steps = steps

    def make(self, seed: int, prompt: str) -> Any:
        """Make one picture and keep it on the disk."""
        result = self.engine.run(workflow(self.steps, seed, prompt))
        if result.state != "done":
            raise RuntimeError(f"the bench's own workflow failed: {result.problems}")
        return result


def workflow(steps: int, seed: int, prompt: str) -> dict[str, Any]:
    """Return text to image as a graph."""
    plain: dict[str, Any] = {
        "load": {"type": "load_checkpoint", "inputs": {"file": FILE}},
        "text": {"type": "encode_text", "inputs": {"clip": ["load", "clip"], "text": prompt}},
        "negative": {"type": "encode_text", "inputs": {"clip": ["load", "clip"], "text": NEGATIVE}},
        "latent": {"type": "empty_latent", "inputs": {"model": ["load", "model"], "width": SIDE, "height": SIDE}},
        "sampler": {"type": "sample", "inputs": {
            "model": ["load", "model"], "positive": ["text", "conditioning"],
            "negative": ["negative", "conditioning"], "latent": ["latent", "latent"], "seed": seed, "steps": steps,
            "cfg": SCALE, "sampler": "euler", "schedule": "simple",
        }},
        "decode": {"type": "vae_decode", "inputs": {"latent": ["sampler", "latent"], "vae": ["load", "vae"]}},
        "save": {"type": "save_image", "inputs": {"image": ["decode", "image"]}},
    }  # fmt: skip
    return plain


def pictures(contenders: Mapping[str, Make]) -> dict[str, Any]:
    """Measure whole pictures: everything new each time; then a changed prompt, seed, and nothing changed, of ours."""
    seeds = iter(range(1000))

    def fresh(make: Make) -> Timed:
        return lambda: make(seed := next(seeds), f"{PROMPT} {seed}")

    found: dict[str, Any] = alternating({f"{name}_s": fresh(make) for name, make in contenders.items()})
    make, first = contenders["ours"], next(seeds)
    make(first, PROMPT)
    prompts: Iterator[str] = (f"{PROMPT}, number {i}" for i in range(1000))
    found["again"] = alternating({
        "prompt_s": lambda: make(first, next(prompts)), "seed_s": lambda: make(next(seeds), PROMPT),
        "nothing_s": lambda: make(first, PROMPT),
    })  # fmt: skip
    return found
