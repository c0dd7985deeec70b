"""What flow models are told beside words: the guidance that distilled ones imitate, and where their steps lie."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from engine.context import Context
from engine.errors import BadInput
from engine.node import Range, node
from engine.types import Conditioning, Model


@node(category="conditioning")
def embedded_guidance(conditioning: Conditioning, guidance: Annotated[float, Range(0, 100, 0.1)] = 3.5) -> Conditioning:
    """Tell a model that was distilled with guidance, such as Flux.1 dev, how strongly the prompt pulls.

    Other models do not read it. Sample with `cfg` 1 or without a negative prompt: guidance is inside already.

    Args:
        conditioning: What the model is told.
        guidance: The strength it was taught to imitate; without this node 3.5.
    """
    return Conditioning(tuple(replace(c, extra={**c.extra, "guidance": guidance}) for c in conditioning.conds))


@node(category="load")
def shift_levels(ctx: Context, model: Model, shift: Annotated[float, Range(0.01, 100, 0.01)] = 3.0) -> Model:
    """Let a flow model (Stable Diffusion 3, Flux, Qwen-Image, Wan) spend more of its steps on noisy levels.

    Flow time s becomes f s / (1 + (f - 1) s) (Esser et al. 2024, arXiv 2403.03206). Every family brings its own shift,
    some by the size of the picture; this one is used instead.

    Args:
        model: The model.
        shift: The factor f; 1 leaves the levels even, larger pictures need more.
    """
    with ctx.models.use(model) as network:
        if network.denoiser.levels.kind != "flow":
            raise BadInput(
                "Only the noise levels of flow models can be shifted; this model has a table.", field="model"
            )
    shifted: Model = model.with_options(shift=shift)
    return shifted
