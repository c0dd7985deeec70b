"""What an edit of a model has done: to its own prompt, to related ones, and to those that it should leave alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import torch

from engine.context import Context
from engine.diffusion.sample import working_bytes
from engine.diffusion.score import gains, pairs_of
from engine.errors import BadInput
from engine.node import Range, Seed, Text, node
from engine.types import Clip, Guider, Image, Latent, Model, Noise, Sampler, Vae
from nodes.basics._sampling import Scale, Steps, run, sigmas_of
from nodes.basics.image_batch import contact_sheet
from nodes.basics.text import encode_text
from nodes.basics.vae import vae_decode

ARROW = "->"
KINDS = {"edit": "efficacy", "related": "generality", "others": "specificity"}


class Audit(NamedTuple):
    """Pictures before and after, in rows of one prompt, and the three scores in words."""

    image: Image
    report: str


@node(category="editing/time")
def edit_audit(
    ctx: Context,
    before: Model,
    after: Model,
    clip: Clip,
    vae: Vae,
    latent: Latent,
    *,
    edit: Annotated[str, Text()] = "a car -> a blue car",
    related: Annotated[str, Text()] = "",
    others: Annotated[str, Text()] = "",
    steps: Steps = 20,
    cfg: Scale = 3.0,
    looks: Annotated[int, Range(1, 64)] = 6,
    seed: Seed = 0,
) -> Audit:
    """Make pictures with a model and with its edited self, and count how many show what was taught (TIME's scores).

    Every line is "prompt -> prompt with what was taught". The prompt makes the pictures; whether they show the second
    one is judged by the unedited model: does it explain a picture better than the first?

    Args:
        before: The model as it was.
        after: The edited model.
        clip: The text encoder of both.
        vae: The autoencoder of both.
        latent: Empty latents, as many as there shall be pictures of each prompt.
        edit: What was taught, as it was taught (efficacy).
        related: Prompts that should change along (generality).
        others: Prompts that should not change (specificity).
        steps: How many steps each picture takes.
        cfg: How strongly prompts pull.
        looks: At how many noise levels each picture is judged.
        seed: Number of the noise, the same before and after.
    """
    texts = {"edit": edit, "related": related, "others": others}
    lines = [(kind, *pair) for kind, text in texts.items() for pair in _pairs(text, kind)]
    if not lines:
        raise BadInput(f'Write at least one line, such as "a car {ARROW} a blue car".', field="edit")
    shown: dict[tuple[str, str], list[float]] = {}
    pictures, labels = [], []
    for kind, prompt, changed in lines:
        for name, model in (("before", before), ("after", after)):
            made = _made(ctx, model, clip, prompt, latent, steps=steps, cfg=cfg, seed=seed)
            shown.setdefault((kind, name), []).extend(
                _shows(ctx, before, clip, made, (changed, prompt), looks, seed=seed)
            )
            pictures.append(vae_decode(ctx, made, vae))
            labels.append(f"{prompt}, {name}")
    sheet = contact_sheet(pictures, labels, 2 * len(latent.samples))
    return Audit(sheet, "\n".join(_told(kind, shown) for kind in KINDS if (kind, "after") in shown))


def _pairs(text: str, field: str) -> list[tuple[str, str]]:
    """Return prompt and changed prompt of each line."""
    lines = [line for line in text.splitlines() if line.strip()]
    pairs = [(a.strip(), b.strip()) for a, _, b in (line.partition(ARROW) for line in lines)]
    if not all(a and b for a, b in pairs):
        raise BadInput(f'Each line is "prompt {ARROW} prompt with what was taught".', field=field)
    return pairs


def _made(
    ctx: Context, model: Model, clip: Clip, prompt: str, latent: Latent, *, steps: int, cfg: float, seed: int
) -> Latent:
    conds = {"positive": encode_text(ctx, clip, prompt), "negative": encode_text(ctx, clip, "")}
    with ctx.models.use(model, working_bytes=working_bytes(latent)) as network:
        guider = Guider("cfg", model, conds, {"scale": cfg})
        sigmas = sigmas_of(network.levels, "karras", steps, 1.0)
        return run(
            ctx, network, guider, Sampler("dpmpp_2m"), sigmas=sigmas, latent=latent, noise=Noise(seed)
        ).latent  # fmt: skip


def _shows(
    ctx: Context, judge: Model, clip: Clip, made: Latent, prompts: Sequence[str], looks: int, *, seed: int
) -> list[float]:
    """Return 1 for each picture that the first prompt explains better than the second, else 0."""
    conds = [encode_text(ctx, clip, prompt) for prompt in prompts]
    with ctx.models.use(judge, working_bytes=working_bytes(made)) as network, torch.no_grad():
        pairs = pairs_of(network.levels, looks, seed, low=0.2, high=0.9)
        return [float(gain > 0) for gain in gains(network.denoiser, made.samples, conds, pairs, progress=ctx.progress)]


def _told(kind: str, shown: dict[tuple[str, str], list[float]]) -> str:
    """Return a score: the share that shows the change, of those that should not the share that does not."""
    first, second = (sum(shown[kind, name]) / len(shown[kind, name]) for name in ("before", "after"))
    if kind == "others":
        first, second = 1 - first, 1 - second
    return f"{KINDS[kind]}: {second:.0%} (before {first:.0%}) of {len(shown[kind, 'after'])} pictures"
