"""Stable Diffusion 1.5 on this machine: ours beside diffusers and ComfyUI, on one file of random weights, in one run.

Contenders alternate, so that a busy moment hits all; every figure is the median of `REPEATS`. diffusers runs its own
pipeline in bfloat16 where the CPU has it, its fastest plain setting; ComfyUI runs as its own server with its defaults.
"""

from __future__ import annotations

import copy
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from engine.bench import random_sd
from engine.bench.comfyui import ComfyUI
from engine.bench.rates import Rates, flops_of
from engine.diffusion.device import ModelManager, choose_dtype
from engine.diffusion.families.unet import UNet
from engine.diffusion.text import encode
from engine.jobs.execute import Engine
from engine.settings import Settings
from engine.types import Cond

REPEATS = 5
STEPS, SIDE = 8, 256
SIDES = (32, 64)  # of latents
SEED, SCALE = 7, 7.5
PROMPT, NEGATIVE = "a lighthouse on a cliff at dusk", "blurry"
FILE = "sd15-random.safetensors"

Timed = Callable[[], Any]


@dataclass(frozen=True)
class Ours:
    """The networks of the file as the engine uses them."""

    manager: ModelManager
    parts: Mapping[str, Any]

    @classmethod
    def load(cls, root: Path) -> Ours:
        """Open the file."""
        manager = ModelManager(root, root / "data", budget=8 << 30)
        return cls(manager, manager.load(manager.find("checkpoints", FILE)))


def run(steps: int = STEPS, comfyui: str = "", scratch: str = "") -> dict[str, Any]:
    """Measure; see docs/speed.md for what the figures mean."""
    root = Path(scratch or Path(tempfile.gettempdir()) / "sfumato-bench")
    file = random_sd.write_file(root / "checkpoints" / FILE)
    configs = random_sd.write_configs(root / "configs")
    os.environ["HF_HUB_OFFLINE"] = "1"
    with torch.inference_mode(False), torch.no_grad(), ExitStack() as stack:
        ours = Ours.load(root)
        began = time.perf_counter()
        pipeline = load_diffusers(file, configs)
        load_s = time.perf_counter() - began
        figures = _networks(ours, pipeline)
        contenders: dict[str, Callable[[int, str], Any]] = {
            "ours": Pictures(root, steps).make,
            "diffusers": lambda seed, prompt: _diffusers_picture(pipeline, steps, seed, prompt),
        }
        if comfyui:
            server = stack.enter_context(ComfyUI(Path(comfyui), root))
            contenders["comfyui"] = lambda seed, prompt: server.picture(FILE, steps, SIDE, seed, prompt)
        figures |= _pictures(contenders)
    figures["load"]["diffusers_s"] = load_s
    return {**figures, **_ratios(figures), **_setting(steps)}


def _setting(steps: int) -> dict[str, Any]:
    model = choose_dtype("model", 10**9, torch.device("cpu"))
    return {
        "dtype": str(model).removeprefix("torch."), "threads": torch.get_num_threads(),
        "memory_format": "contiguous, weights packed by oneDNN", "steps": steps, "side": SIDE, "repeats": REPEATS,
    }  # fmt: skip


def _ratios(figures: Mapping[str, Any]) -> dict[str, float]:
    others = ("diffusers", "comfyui")
    return {f"to_{o}": figures["ours_s"] / figures[f"{o}_s"] for o in others if f"{o}_s" in figures}


# Networks ------------------------------------------------------------------------------------------------------------


def _networks(ours: Ours, pipeline: Any) -> dict[str, Any]:
    """Measure load, text, steps and decoding of both, and the roofline of a step."""
    figures: dict[str, Any] = {"load": {"ours_s": _load_ours(ours)}}
    with ours.manager.use(ours.parts["clip"]) as clip:
        figures["text"] = alternating(
            {"ours_s": lambda: encode(clip, PROMPT), "diffusers_s": lambda: _diffusers_text(pipeline)}
        )
    rates = Rates.measured(choose_dtype("model", 10**9, torch.device("cpu")))
    with ours.manager.use(ours.parts["model"]) as unet:
        for side in SIDES:
            figures[f"step_{side}"] = _step(unet, pipeline.unet, side, rates)
    with ours.manager.use(ours.parts["vae"]) as vae:
        latent = torch.randn(1, 4, SIDE // 8, SIDE // 8, generator=torch.Generator().manual_seed(SEED))
        raw = (latent / vae.latents.scale).to(pipeline.vae.dtype)
        figures["decode"] = alternating(
            {"ours_s": lambda: vae.decode(latent), "diffusers_s": lambda: pipeline.vae.decode(raw).sample}
        )
    first = figures[f"step_{SIDES[0]}"]
    return {"step_s": first["ours_s"], "roofline": first["roofline"], **figures, "rates": rates.to_json()}


def _step(unet: UNet, plain: Any, side: int, rates: Rates) -> dict[str, float]:
    """Measure one network call for both conditions of guidance."""
    random = torch.Generator().manual_seed(SEED)
    x, tokens = torch.randn(2, 4, side, side, generator=random), torch.randn(2, 77, 768, generator=random)
    t, cond = torch.full((2,), 500.0), Cond(tokens)
    narrow = x.to(plain.dtype), t, tokens.to(plain.dtype)
    found = alternating({"ours_s": lambda: unet(x, t, cond), "diffusers_s": lambda: plain(*narrow)})
    flops = flops_of(lambda: plain(*narrow))
    return {**found, "tflop": flops.total / 1e12, "roofline": rates.seconds(flops) / found["ours_s"]}


def _load_ours(ours: Ours) -> float:
    """Load the three networks anew, up to their first use."""

    def load() -> None:
        fresh = ModelManager(ours.manager.library.models_dir, ours.manager.library.models_dir / "data", budget=8 << 30)
        for part in fresh.load(fresh.find("checkpoints", FILE)).values():
            with fresh.use(part):
                pass

    return _median(load)


def load_diffusers(file: Path, configs: Path) -> Any:
    """Load the pipeline in its best format."""
    from diffusers import StableDiffusionPipeline

    dtype = choose_dtype("model", 10**9, torch.device("cpu"))
    pipeline = StableDiffusionPipeline.from_single_file(
        str(file), config=str(configs), local_files_only=True, torch_dtype=dtype
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _diffusers_text(pipeline: Any) -> Any:
    ids = pipeline.tokenizer(PROMPT, padding="max_length", max_length=77, return_tensors="pt").input_ids
    return pipeline.text_encoder(ids)[0]


def _diffusers_picture(pipeline: Any, steps: int, seed: int, prompt: str) -> Any:
    random = torch.Generator().manual_seed(seed)
    return pipeline(
        prompt, negative_prompt=NEGATIVE, num_inference_steps=steps, guidance_scale=SCALE, height=SIDE, width=SIDE,
        generator=random,
    ).images[0]  # fmt: skip


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
    return copy.deepcopy(plain)


def _pictures(contenders: Mapping[str, Callable[[int, str], Any]]) -> dict[str, Any]:
    """Measure whole pictures: everything new each time; then a changed prompt, seed, and nothing changed, of ours."""
    seeds = iter(range(1000))

    def fresh(make: Callable[[int, str], Any]) -> Timed:
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


# Timing --------------------------------------------------------------------------------------------------------------


def alternating(calls: Mapping[str, Timed]) -> dict[str, float]:
    """Return the median seconds of each call, all called in turn after one round that does not count."""
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(REPEATS):
        for name, call in calls.items():
            times[name].append(seconds(call))
    return {name: median(found) for name, found in times.items()}


def seconds(call: Timed) -> float:
    """Return how long a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _median(call: Timed) -> float:
    return alternating({"s": call})["s"]
