"""One task of `bench memory`, in a process of its own: says `idle` once all is imported, waits for a line, works.

Usage: python -m engine.diffusion.bench.memory_child '{"task": ..., "root": ..., ...}'; it prints its figures last.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from engine.diffusion.bench import FILE, SEED, random_sd
from engine.diffusion.bench.networks import load_diffusers
from engine.diffusion.bench.timing import seconds
from engine.diffusion.device import ModelManager
from engine.diffusion.text import encode
from engine.types import Cond

STEPS = 4


def picture(root: str, budget: int, side: int) -> dict[str, Any]:
    """Encode a prompt, take a few steps, decode; `step_s` is the median step after the first."""
    manager = ModelManager(Path(root), Path(root) / "data", budget=budget)
    parts = manager.load(manager.find("checkpoints", FILE))
    with manager.use(parts["clip"]) as clip:
        tokens = encode(clip, "a lighthouse").tokens.expand(2, -1, -1)
    x = torch.randn(2, 4, side, side, generator=torch.Generator().manual_seed(SEED))
    with manager.use(parts["model"], working_bytes=2 * side * side * 20_000) as unet:
        times = [seconds(lambda: unet(x, torch.full((2,), 500.0), Cond(tokens))) for _ in range(STEPS)]
    with manager.use(parts["vae"], working_bytes=5 * 4 * 384 * (8 * side) ** 2) as vae:
        decode_s = seconds(lambda: vae.decode(x[:1]))
    return {"first_step_s": times[0], "step_s": sorted(times[1:])[len(times[1:]) // 2], "decode_s": decode_s}


def load(root: str, whose: str) -> dict[str, Any]:
    """Open all three networks and take one step."""
    tokens, t = torch.randn(2, 77, 768), torch.full((2,), 500.0)
    x = torch.randn(2, 4, 32, 32)
    began = time.perf_counter()
    if whose == "ours":
        manager = ModelManager(Path(root), Path(root) / "data", budget=8 << 30)
        parts = manager.load(manager.find("checkpoints", FILE))
        with manager.use(parts["clip"]), manager.use(parts["vae"]), manager.use(parts["model"]) as unet:
            loaded = time.perf_counter() - began
            unet(x, t, Cond(tokens))
    else:
        plain = load_diffusers(Path(root) / "checkpoints" / FILE, random_sd.write_configs(Path(root) / "configs"))
        loaded = time.perf_counter() - began
        plain.unet(x.to(plain.dtype), t, tokens.to(plain.dtype))
    return {"load_s": loaded, "load_and_step_s": time.perf_counter() - began}


def alternate(root: str, budget: int, files: list[str], rounds: int) -> dict[str, Any]:
    """Take a step with each of several checkpoints in turn."""
    manager = ModelManager(Path(root), Path(root) / "data", budget=budget)
    models = [manager.load(manager.find("checkpoints", name))["model"] for name in files]
    x, cond, t = torch.randn(2, 4, 32, 32), Cond(torch.randn(2, 77, 768)), torch.full((2,), 500.0)

    def step(model: Any) -> None:
        with manager.use(model, working_bytes=2 * 32 * 32 * 20_000) as unet:
            unet(x, t, cond)

    times = [seconds(partial(step, model)) for _ in range(rounds) for model in models]
    return {"step_after_switch_s": sorted(times)[len(times) // 2], "steps": len(times)}


TASKS: Mapping[str, Callable[..., dict[str, Any]]] = {"picture": picture, "load": load, "alternate": alternate}


def main() -> None:
    """Do the task of the command line."""
    plain = json.loads(sys.argv[1])
    import diffusers.loaders.single_file  # noqa: F401 (imported before `idle`, so that no task pays for it)
    from diffusers import StableDiffusionPipeline  # noqa: F401

    say("idle")
    sys.stdin.readline()
    with torch.no_grad():
        figures = TASKS[plain.pop("task")](**plain)
    say(json.dumps(figures))
    sys.stdin.read()  # stay until the peak has been read


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
