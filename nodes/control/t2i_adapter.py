"""T2I-Adapter: a small network that reads a picture once and steers a model's encoder by it.

Mou et al. 2023, arXiv 2302.08453. Its weights add up as they are, as ControlNets' do; diffusers' averages several.
"""

from __future__ import annotations

from typing import Annotated

from engine.diffusion.companions import controlled
from engine.errors import BadInput
from engine.node import Range, node
from engine.types import Conditioning, ControlNet, Image
from nodes.basics._pixels import Fraction
from nodes.control.controlnet import Steered, Strength, checked_control

Factor = Annotated[float, Range(0, 10, 0.05)]


@node(category="conditioning/control", title="Apply T2I-Adapter")
def apply_adapter(
    positive: Conditioning,
    negative: Conditioning,
    control: ControlNet,
    image: Image,
    strength: Strength = 1.0,
    start: Fraction = 0.0,
    *,
    end: Fraction = 1.0,
    finest: Factor = 1.0,
    fine: Factor = 1.0,
    coarse: Factor = 1.0,
    coarsest: Factor = 1.0,
) -> Steered:
    """Let a picture steer a model through an adapter, with a weight for each level. Several in a row add up.

    Apply ControlNet takes adapters too, with all levels at 1.

    Args:
        positive: What the picture should show.
        negative: What it should not show.
        control: A T2I-Adapter.
        image: The picture as the adapter was taught: a sketch, a depth map, a grid of colours.
        strength: How strongly.
        start: Part of sampling at which it begins; 0 is pure noise.
        end: Part of sampling at which it ends.
        finest: Factor on the first level, which sees every cell of the latent.
        fine: Factor on the second level.
        coarse: Factor on the third level.
        coarsest: Factor on the fourth level.
    """
    if control.family != "t2i_adapter":
        raise BadInput(
            f"{control.weights.name} is no T2I-Adapter and has no levels to weigh: use Apply ControlNet.",
            field="control",
        )
    made = checked_control(control, image, strength, start, end, scales=(finest, fine, coarse, coarsest))
    return Steered(controlled(positive, made), controlled(negative, made))
