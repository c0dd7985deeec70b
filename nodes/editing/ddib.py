"""DDIB: from one domain to another through a noise that both share (Su et al. 2022, arXiv 2203.08382)."""

from __future__ import annotations

from engine.context import Context
from engine.diffusion.levels import Levels
from engine.errors import BadInput
from engine.node import node
from engine.types import Conditioning, Guider, Latent, Model, Trajectory
from nodes.basics._sampling import Scale
from nodes.editing.ddim_inversion import down, pulled


def check_bridge(trajectory: Trajectory, levels: Levels, model: Model) -> None:
    """Refuse a target model that does not share latents and noise levels with the source.

    Levels are compared as sigmas: in these units two schedules differ in their reach alone.
    """
    channels = trajectory.latents.shape[2]
    factor = int(model.options.get("factor", trajectory.factor))
    wanted = int(model.options.get("channels", channels))
    if (factor, wanted) != (trajectory.factor, channels):
        raise BadInput(
            f"The two models do not share latents: {channels} channels of {trajectory.factor} pixels and {wanted} of "
            f"{factor}. Translate between models of one autoencoder.", field="model",
        )  # fmt: skip
    top = float(trajectory.sigmas.max())
    if not levels.reaches(top):
        raise BadInput(
            f"The source went up to noise {top:.3g}, the target knows {levels.sigma_max:.3g} at most: invert over the "
            "target's sigmas.", field="trajectory",
        )  # fmt: skip


@node(category="editing/ddib", title="DDIB translate")
def ddib_translate(
    ctx: Context,
    trajectory: Trajectory,
    model: Model,
    positive: Conditioning,
    negative: Conditioning | None = None,
    guidance_scale: Scale = 1.0,
) -> Latent:
    """Make a picture of another domain from the noise of this one: another model, or another prompt of the same.

    One inversion serves many targets. Guidance brings more of the target and keeps less of the picture.

    Args:
        trajectory: The inversion of the picture, by the source's model and prompt, without guidance.
        model: The target's model; it must share the autoencoder.
        positive: The target's prompt.
        negative: With guidance, what it pulls away from.
        guidance_scale: How strongly the target pulls; 1 to 3.
    """
    with ctx.models.use(model) as network:
        check_bridge(trajectory, network.levels, model)
    conds = pulled(positive, negative, guidance_scale)
    return down(ctx, trajectory, Guider("cfg", model, conds, {"scale": guidance_scale}))
