"""ControlNet: edges, depth, poses and other pictures that say where things are, while the prompt says what they are.

Zhang, Rao and Agrawala 2023, arXiv 2302.05543. T2I-Adapters are loaded and applied by the same nodes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal, NamedTuple

from engine.context import Context
from engine.diffusion.companions import Control, controlled, make_control
from engine.errors import BadFile, BadInput
from engine.node import File, Range, node
from engine.types import Conditioning, ControlNet, Image, Mask, Model, Weights
from nodes.basics._pixels import Fraction
from nodes.basics.load import part_of

Strength = Annotated[float, Range(0, 10, 0.05)]
ControlFile = Annotated[str, File("controlnet")]
GUESS = 0.1  # share of the finest layer where the prompt or the picture shall win


class Steered(NamedTuple):
    """Prompts that carry a picture to be followed."""

    positive: Conditioning
    negative: Conditioning


@node(category="load", title="Load ControlNet")
def load_controlnet(ctx: Context, file: ControlFile) -> ControlNet:
    """Load a network that lets a picture steer sampling: a ControlNet or a T2I-Adapter.

    Args:
        file: A file in models/controlnet or models/t2i_adapter, made for the kind of model that it shall steer.
    """
    control = _loaded(ctx, ctx.models.find("controlnet", file))
    if control.options.get("difference"):
        raise BadFile(
            f"{file} holds differences from a model's weights: load it with Load ControlNet difference, which takes "
            "the model too.", field="file",
        )  # fmt: skip
    return control


@node(category="load", title="Load ControlNet difference")
def load_controlnet_difference(ctx: Context, model: Model, file: ControlFile) -> ControlNet:
    """Load a ControlNet of which the file holds the difference from a model only.

    Args:
        model: The model that it shall steer, loaded from a single file. LoRA on it are left aside.
        file: A file in models/controlnet.
    """
    return _loaded(ctx, replace(ctx.models.find("controlnet", file), more=(model.weights,)))


@node(category="conditioning/control", title="Apply ControlNet")
def apply_controlnet(
    positive: Conditioning,
    negative: Conditioning,
    control: ControlNet,
    image: Image,
    strength: Strength = 1.0,
    start: Fraction = 0.0,
    *,
    end: Fraction = 1.0,
    mode: Literal["balanced", "prompt", "control"] = "balanced",
    mask: Mask | None = None,
) -> Steered:
    """Let a picture say where things are. Several in a row add up.

    At strength 0, and outside of start and end, the network is not even asked.

    Args:
        positive: What the picture should show.
        negative: What it should not show.
        control: The network that reads the picture.
        image: The picture as the network was taught: white edges on black, a depth map, a drawn pose. One, or one for
            each of the batch. It is cut around its centre to the latents' shape and scaled pixel by pixel: make it as
            large as the result where lines are thin.
        strength: How strongly.
        start: Part of sampling at which it begins; 0 is pure noise.
        end: Part of sampling at which it ends; 0.6 to 0.8 leaves the details of rough drawings to the model.
        mode: balanced follows both; prompt weakens the finer layers, so that words win; control does so too and leaves
            the negative prompt unsteered, so that the picture wins, even without words.
        mask: Where it acts; without it, everywhere.
    """
    both = mode != "control"
    shallow = 1.0 if mode == "balanced" else GUESS
    made = checked_control(control, image, strength, start, end, mask=mask, shallow=shallow)
    return Steered(controlled(positive, made), controlled(negative, made) if both else negative)


def checked_control(
    control: ControlNet, image: Image, strength: float, start: float, end: float,
    *, mask: Mask | None = None, shallow: float = 1.0, scales: tuple[float, ...] = (),
) -> Control:  # fmt: skip
    """Return a control, or say which of its inputs cannot be."""
    if start >= end:
        raise BadInput(f"The range from {start:g} to {end:g} is empty; end must be greater than start.", field="end")
    if mask is not None and len(mask.values) != 1:
        raise BadInput(f"A control takes one mask, got {len(mask.values)}; select one of them.", field="mask")
    values = None if mask is None else mask.values
    window = {"strength": strength, "start": start, "end": end}
    return make_control(control, image.pixels, values, shallow=shallow, scales=scales, **window)


def _loaded(ctx: Context, weights: Weights) -> ControlNet:
    control: ControlNet = part_of(ctx, weights, "control")
    return control
