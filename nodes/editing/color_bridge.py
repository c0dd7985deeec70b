"""Colour transfer by an example, over a bridge between two palettes (DDIB: Su et al. 2022, arXiv 2203.08382)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch

from engine.context import Context
from engine.diffusion import colours
from engine.diffusion.stepping import StepInfo
from engine.errors import BadInput
from engine.node import Range, node
from engine.types import Image
from nodes.basics._pixels import Fraction


@node(category="editing/ddib", title="Colours by example")
def color_bridge(
    ctx: Context,
    image: Image,
    reference: Image,
    amount: Fraction = 1.0,
    steps: Annotated[int, Range(2, 500)] = 25,
    *,
    space: Literal["lab", "rgb"] = "lab",
    smooth: bool = True,
) -> Image:
    """Give pictures the colours of another one, each colour going to one near it and none left over.

    The colours of both are carried through noise, as pictures are by DDIB. Shares are kept: if a fifth of a picture is
    red, a fifth of the result has the reference's colours that are nearest to red, whatever they are.

    Args:
        image: The pictures.
        reference: Whose colours they get, one picture or one for each.
        amount: How far to go: 0 is the picture itself.
        steps: Steps to noise and as many back.
        space: lab takes colours as far apart as they look; rgb as they are stored.
        smooth: Not in the paper: the way that colours go is smoothed along the picture by a guided filter, in six
            bridges. Without it each colour goes its exact way in one, and neighbours may part.
    """
    pictures, examples = image.pixels, reference.pixels
    if len(examples) not in (1, len(pictures)):
        raise BadInput(f"There are {len(examples)} references for {len(pictures)} pictures; give one, or one each.",
                       field="reference")  # fmt: skip
    into, back = colours.SPACES[space]
    made = []
    for k, picture in enumerate(pictures):

        def on_step(info: StepInfo, k: int = k) -> None:
            ctx.progress(k * info.n + info.i + 1, len(pictures) * info.n)

        own, example = into(picture), into(examples[k % len(examples)])
        changed = (colours.transfer if smooth else colours.exact)(own, example, steps, on_step)
        made.append(back(torch.lerp(own, changed, amount)))
    return Image(torch.stack(made))
