"""The networks of one Stable Diffusion file, ours and diffusers' in turn: load, text, steps, decoding, roofline."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from engine.diffusion.bench import FILE, NEGATIVE, PROMPT, SCALE, SEED
from engine.diffusion.bench.rates import Rates, flops_of
from engine.diffusion.bench.timing import alternating, median_of
from engine.diffusion.device import ModelManager, choose_dtype
from engine.diffusion.families.unet import UNet
from engine.diffusion.text import encode
from engine.types import Cond

SIDES = (32, 64)  # of latents
FIRST = SIDES[0]


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


def measured(ours: Ours, pipeline: Any) -> dict[str, Any]:
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
        latent = torch.randn(1, 4, FIRST, FIRST, generator=torch.Generator().manual_seed(SEED))
        raw = (latent / vae.latents.scale).to(pipeline.vae.dtype)
        figures["decode"] = alternating(
            {"ours_s": lambda: vae.decode(latent), "diffusers_s": lambda: pipeline.vae.decode(raw).sample}
        )
    first = figures[f"step_{SIDES[0]}"]
    return {
        "step_s": first["ours_s"], "roofline": first["roofline"], **figures, "rates": rates.to_json(),
        "dtype": str(pipeline.unet.dtype).removeprefix("torch."), "threads": torch.get_num_threads(),
        "memory_format": "contiguous, weights packed by oneDNN",
    }  # fmt: skip


def without_gradients() -> AbstractContextManager[Any]:
    """Compute without gradients, as sampling does."""
    return torch.no_grad()


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

    return median_of(load)


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


def diffusers_picture(pipeline: Any, steps: int, side: int, seed: int, prompt: str) -> Any:
    """Make one picture with diffusers' own pipeline."""
    random = torch.Generator().manual_seed(seed)
    return pipeline(
        prompt, negative_prompt=NEGATIVE, num_inference_steps=steps, guidance_scale=SCALE, height=side, width=side,
        generator=random,
    ).images[0]  # fmt: skip
