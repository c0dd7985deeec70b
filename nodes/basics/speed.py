"""How a model is computed: faster with a measured loss, or the same by other means."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

import torch

from engine.context import Context
from engine.diffusion import computing, step_cache
from engine.diffusion.backends import Kernel
from engine.diffusion.denoiser import expand
from engine.diffusion.sample import working_bytes
from engine.node import Range, node
from engine.types import Conditioning, Latent, Model

TIMESTEP = 500.0  # any


class Compiled(NamedTuple):
    """The model as it will be called, and what that gains."""

    model: Model
    report: str


@node(category="model/speed", title="Step cache")
def step_cache_model(
    model: Model, threshold: Annotated[float, Range(0, 1, 0.01)] = 0.1, longest: Annotated[int, Range(1, 100)] = 3
) -> Model:
    """Compute only the outermost level of the U-Net where a step changes little. Faster; changes the picture.

    Args:
        model: A U-Net.
        threshold: Skip where the first level has changed by less than this part of itself; 0 skips nothing. At 0.1 the
            embedded model's pictures were 55 dB from the exact ones, at 0.2 52 dB.
        longest: At most so many steps in a row.
    """
    cached: Model = model.with_options(**{step_cache.OPTION: step_cache.StepCache(threshold, longest)})
    return cached


@node(category="model/speed", title="Number formats")
def number_formats(
    model: Model, compute: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    storage: Literal["same", "float8"] = "same",
) -> Model:  # fmt: skip
    """Choose what the network computes in and what its large weights are kept in.

    Args:
        model: The model.
        compute: auto is the fastest that is safe on this device; float32 is the most exact.
        storage: float8 halves the memory of bfloat16, costs a cast at each step, and changes the picture a little.
    """
    chosen: Model = model.with_options(
        dtype=None if compute == "auto" else compute, storage=None if storage == "same" else storage
    )
    return chosen


@node(category="model/speed", title="Attention kernel")
def attention_kernel(model: Model, kernel: Kernel = "flash") -> Model:
    """Choose which of torch's kernels computes attention. Pictures differ by rounding only.

    Args:
        model: The model.
        kernel: CPUs have flash and math, NVIDIA and AMD all four. A device without it says so when the model is called.
    """
    chosen: Model = model.with_options(**{computing.KERNEL: computing.AttentionKernel(kernel)})
    return chosen


@node(category="model/speed", title="CUDA graph")
def cuda_graph(model: Model) -> Model:
    """Record the network's call once and replay it, which spares the CPU's part of a step. Does nothing without CUDA.

    Args:
        model: A model that fits into the GPU's memory whole.
    """
    graphed: Model = model.with_options(**{computing.GRAPH: computing.Graph()})
    return graphed


@node(category="model/speed", title="Compile")
def compile_model(ctx: Context, model: Model, positive: Conditioning, latent: Latent) -> Compiled:
    """Compile the network's repeated blocks with torch.compile, and measure after how many steps that has paid.

    Args:
        model: The model.
        positive: What it is measured with.
        latent: Latents as large as they will be; they are taken twice, as guidance does.
    """
    compiled = model.with_options(**{computing.COMPILED: computing.Compiled()})
    x = latent.samples.repeat(2, 1, 1, 1)
    cond, t = expand(positive.conds[0], len(x)), torch.full((len(x),), TIMESTEP)
    with ctx.models.use(model, working_bytes=working_bytes(latent)) as network, torch.no_grad():
        return Compiled(compiled, str(computing.payback(network, lambda net: net(x, t, cond))))
