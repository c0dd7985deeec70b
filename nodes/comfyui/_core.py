"""What the classes share: how one is declared, help for the inputs that many have, kinds of inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Literal, TypeVar

from engine.node import Range, Text, Widget, node

F = TypeVar("F", bound=Callable[..., Any])
ROOT = "comfyui"
RESOLUTION_MAX = 16384

Seed = Annotated[int, Range(0, 2**64 - 1), Widget("seed")]
Steps = Annotated[int, Range(1, 10_000)]
Cfg = Annotated[float, Range(0, 100, 0.1)]
Part = Annotated[float, Range(0, 1, 0.01)]
Strength = Annotated[float, Range(-100, 100, 0.01)]
Side = Annotated[int, Range(1, RESOLUTION_MAX)]
Place = Annotated[int, Range(-RESOLUTION_MAX, RESOLUTION_MAX)]
Border = Annotated[int, Range(0, RESOLUTION_MAX)]
Batch = Annotated[int, Range(1, 4096)]
Long = Annotated[str, Text()]
Line = Annotated[str, Text(multiline=False)]
Scaling = Literal["nearest-exact", "bilinear", "area", "bicubic", "lanczos"]
LatentScaling = Literal["nearest-exact", "bilinear", "area", "bicubic", "bislerp"]
Crop = Literal["disabled", "center"]

HELP = {
    "amount": "How many times.", "batch_index": "Which of the batch comes first.", "batch_size": "How many at once.",
    "bottom": "Pixels at the bottom.", "cfg": "How strongly the prompt pulls; 1 is the model's own opinion.",
    "ckpt_name": "A file in models/checkpoints.", "clip": "The text encoder.", "conditioning": "The prompt, encoded.",
    "crop": "Whether what does not fit is cut off around the centre.", "denoise": "How much is made anew: 1 all.",
    "destination": "What is pasted onto.", "end_percent": "Until which part of sampling.", "eta": "How much of the "
    "noise is new at each step.", "filename_prefix": "Start of the file names.", "height": "Height in pixels.",
    "image": "The pictures.", "image1": "First picture.", "image2": "Second picture.", "images": "The pictures.",
    "latent_image": "Where to begin.", "left": "Pixels at the left.", "length": "How many.", "mask": "Where to act.",
    "model": "The model.", "negative": "What the picture should not show.", "noise_seed": "Number of the noise.",
    "pixels": "The pictures.", "positive": "What the picture should show.", "right": "Pixels at the right.",
    "resize_source": "Whether the source is first resized to the destination.", "s_noise": "Factor on that noise.",
    "samples": "The latents.", "samples1": "First latents.", "samples2": "Second latents.",
    "sampler": "How steps are taken.", "sampler_name": "How steps are taken.", "scheduler": "How steps are spread over "
    "the noise levels.", "seed": "Number of the noise.", "sigmas": "The noise levels.", "source": "What is pasted.",
    "start_percent": "From which part of sampling on.", "steps": "How many steps.", "strength": "How strongly.",
    "string": "The text.", "text": "The text.", "top": "Pixels at the top.", "upscale_method": "How pixels between are "
    "found.", "vae": "The autoencoder.", "value": "The value.", "width": "Width in pixels.", 
    "x": "Pixels from the left.", "y": "Pixels from the top.",
}  # fmt: skip


def core(name: str, category: str, title: str = "", *, effect: bool = False) -> Callable[[F], F]:
    """Declare a function to be ComfyUI's node class `name`, found under `comfyui/category`.

    Inputs that the docstring says nothing of have the help that all inputs of that name share.
    """

    def declare(function: F) -> F:
        node(category=f"{ROOT}/{category}", title=title or name, id=name, effect=effect)(function)
        spec = function.__dict__["__node__"]
        inputs = tuple(replace(i, help=i.help or HELP.get(i.name, "")) for i in spec.inputs)
        function.__dict__["__node__"] = replace(spec, inputs=inputs)
        return function

    return declare
