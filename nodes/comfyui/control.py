"""ControlNet, T2I-Adapter and GLIGEN."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from engine.context import Context
from engine.diffusion.companions import CONTROLS, Grounding, controlled
from engine.node import File, Range
from engine.types import Clip, Cond, Conditioning, ControlNet, Gligen, Image, Model, Vae
from nodes.comfyui._core import Border, Long, Part, Side, core
from nodes.control import controlnet as ours
from nodes.control import gligen as boxes
from nodes.control.controlnet import Steered

Strength = Annotated[float, Range(0, 10, 0.01)]
SHARED = "shared_controls"  # in `Cond.extra`: the negative prompt is steered too


@core("ControlNetLoader", "loaders", "Load ControlNet Model")
def control_net_loader(ctx: Context, control_net_name: Annotated[str, File("controlnet")]) -> ControlNet:
    """Load a ControlNet or a T2I-Adapter.

    Args:
        control_net_name: A file in models/controlnet or models/t2i_adapter.
    """
    return ours.load_controlnet(ctx, control_net_name)


@core("DiffControlNetLoader", "loaders", "Load ControlNet Model (diff)")
def diff_control_net_loader(
    ctx: Context, model: Model, control_net_name: Annotated[str, File("controlnet")]
) -> ControlNet:
    """Load a ControlNet of which the file holds the difference from a model.

    Args:
        control_net_name: A file in models/controlnet.
    """
    return ours.load_controlnet_difference(ctx, model, control_net_name)


@core("ControlNetApply", "conditioning/controlnet", "Apply ControlNet (OLD)")
def control_net_apply(
    conditioning: Conditioning, control_net: ControlNet, image: Image, strength: Strength = 1.0
) -> Conditioning:
    """Let a picture steer sampling, under the negative prompt too.

    Args:
        control_net: The network that reads the picture.
    """
    made = ours.checked_control(control_net, image, strength, 0.0, 1.0)
    conds = (replace(c, extra={**c.extra, SHARED: True}) for c in controlled(conditioning, made).conds)
    return Conditioning(tuple(conds))


@core("ControlNetApplyAdvanced", "conditioning/controlnet", "Apply ControlNet")
def control_net_apply_advanced(
    positive: Conditioning, negative: Conditioning, control_net: ControlNet, image: Image, strength: Strength = 1.0,
    start_percent: Part = 0.0, *, end_percent: Part = 1.0, vae: Vae | None = None,
) -> Steered:  # fmt: skip
    """Let a picture steer a part of sampling.

    Args:
        control_net: The network that reads the picture.
        vae: Read and left aside: the networks that are here read pixels.
    """
    if strength == 0 or start_percent >= end_percent:
        return Steered(positive, negative)
    return ours.apply_controlnet(positive, negative, control_net, image, strength, start_percent, end=end_percent)


@core("GLIGENLoader", "loaders")
def gligen_loader(ctx: Context, gligen_name: Annotated[str, File("gligen")]) -> Gligen:
    """Load layers that let boxes with texts say what stands where.

    Args:
        gligen_name: A file in models/gligen.
    """
    return boxes.load_gligen(ctx, gligen_name)


@core("GLIGENTextBoxApply", "conditioning/gligen")
def gligen_text_box_apply(
    ctx: Context, conditioning_to: Conditioning, clip: Clip, gligen_textbox_model: Gligen, text: Long = "",
    width: Side = 64, *, height: Side = 64, x: Border = 0, y: Border = 0,
) -> Conditioning:  # fmt: skip
    """Say what stands in a box, given in pixels.

    Args:
        conditioning_to: The prompt.
        gligen_textbox_model: The layers that read boxes.
    """
    grounding = Grounding(gligen_textbox_model, pixels=True)
    return boxes.grounded(conditioning_to, grounding, [(x, y, width, height)], boxes.pooled(ctx, clip, [text]))


def shared(conds: dict[str, Conditioning]) -> dict[str, Conditioning]:
    """Give the negative prompts what ComfyUI gives them: what ControlNetApply laid on the positive, and no boxes."""
    positive = conds.get("positive", Conditioning(()))
    controls = next((c.extra[CONTROLS] for c in positive.conds if SHARED in c.extra), ())

    def told(role: str, cond: Cond) -> Cond:
        kept = {name: value for name, value in cond.extra.items() if name != SHARED}
        lacking = role != "positive" and controls and CONTROLS not in kept
        return replace(cond, extra={**kept, CONTROLS: controls} if lacking else kept)

    steered = {role: Conditioning(tuple(told(role, c) for c in given.conds)) for role, given in conds.items()}
    return {r: c if r == "positive" else boxes.without_boxes(c, positive) for r, c in steered.items()}
