"""The sampler in one node, as most graphs need it."""

from __future__ import annotations

from engine.context import Context
from engine.diffusion.sample import levels_for, working_bytes
from engine.node import Seed, node
from engine.types import Conditioning, Guider, Latent, Model, Noise, Sampler
from nodes.basics._sampling import SamplerName, Scale, ScheduleName, Steps, Strength, run, sigmas_of


@node(category="sampling")
def sample(
    ctx: Context,
    model: Model,
    positive: Conditioning,
    negative: Conditioning | None,
    latent: Latent,
    seed: Seed = 0,
    *,
    steps: Steps = 20,
    cfg: Scale = 5.0,
    sampler: SamplerName = "dpmpp_2m",
    schedule: ScheduleName = "karras",
    strength: Strength = 1.0,
) -> Latent:
    """Make pictures, as latents, from noise or from other latents.

    Args:
        model: The model that removes noise.
        positive: What the picture should show.
        negative: What it should not show. Without it the model follows `positive` alone, and `cfg` has no effect.
        latent: Where to begin: empty latents, or latents of a picture to be changed. With a mask only its part changes.
        seed: Number of the noise; the same seed gives the same picture.
        steps: More steps are slower and finer.
        cfg: How strongly the prompt pulls; 1 is the model's own opinion.
        sampler: How the steps are taken.
        schedule: How the steps are spread over the noise levels.
        strength: How much of the latents is replaced: 1 all, 0 nothing.
    """
    conds = {"positive": positive} if negative is None else {"positive": positive, "negative": negative}
    guider = Guider("cfg", model, conds, {"scale": cfg}) if negative else Guider("conditional", model, conds)
    with ctx.models.use(model, working_bytes=working_bytes(latent)) as network:
        sigmas = sigmas_of(levels_for(network, latent), schedule, steps, strength)
        chosen = Sampler(sampler)
        return run(ctx, network, guider, chosen, sigmas=sigmas, latent=latent, noise=Noise(seed)).latent
