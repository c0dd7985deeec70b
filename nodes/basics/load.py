"""Models and what is laid over them, by name."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

from engine.context import Context
from engine.diffusion.library import EMBEDDED
from engine.errors import BadFile
from engine.node import File, Range, node
from engine.types import Clip, Model, Patch, Vae, Weights

Strength = Annotated[float, Range(-10, 10, 0.05)]


class Loaded(NamedTuple):
    """The three networks of a text-to-image model."""

    model: Model
    clip: Clip
    vae: Vae


class Patched(NamedTuple):
    """A model and its text encoder with a LoRA on top, and what of it matched."""

    model: Model
    clip: Clip
    report: str


@node(category="load")
def load_embedded(ctx: Context, name: Annotated[str, File("embedded")] = EMBEDDED) -> Loaded:
    """Load the model that comes with Sfumato: small, made for pictures of its own world, ready on any machine.

    Args:
        name: The embedded model.
    """
    return _load(ctx, "embedded", name)


@node(category="load")
def load_checkpoint(ctx: Context, file: Annotated[str, File("checkpoints")]) -> Loaded:
    """Load a checkpoint: one safetensors file with U-Net, text encoder and autoencoder (Stable Diffusion 1.x).

    Args:
        file: A file in models/checkpoints.
    """
    return _load(ctx, "checkpoints", file)


@node(category="load")
def load_diffusers(ctx: Context, folder: Annotated[str, File("diffusers")]) -> Loaded:
    """Load a model in diffusers' folder layout: model_index.json beside unet, vae, text_encoder and tokenizer.

    Args:
        folder: A folder in models/diffusers.
    """
    return _load(ctx, "diffusers", folder)


@node(category="load", title="Load VAE")
def load_vae(ctx: Context, file: Annotated[str, File("vae")]) -> Vae:
    """Load an autoencoder of its own, to be used in place of a checkpoint's.

    Args:
        file: A file in models/vae.
    """
    weights = ctx.models.find("vae", file)
    vae: Vae = _part(ctx.models.load(weights), "vae", weights)
    return vae


@node(category="load", title="Load LoRA")
def load_lora(
    ctx: Context,
    model: Model,
    clip: Clip,
    file: Annotated[str, File("loras")],
    strength_model: Strength = 1.0,
    strength_clip: Strength = 1.0,
) -> Patched:
    """Lay a LoRA over a model and its text encoder; several in a row add up.

    The report counts its entries that found their layer. Under half of them means that it was made for another model:
    then the node fails.

    Args:
        model: The model to change.
        clip: The text encoder to change.
        file: A file in models/loras, in kohya, diffusers or PEFT layout.
        strength_model: How strongly it acts on the pictures; negative strengths push away.
        strength_clip: How strongly it acts on the reading of prompts.
    """
    weights = ctx.models.find("loras", file)
    patched_model = model.patched(Patch("lora", "unet", strength_model, weights))
    patched_clip = clip.patched(Patch("lora", "text", strength_clip, weights))
    with ctx.models.use(patched_model) as network:
        report = f"Model: {network.reports[-1]}."
    with ctx.models.use(patched_clip) as network:
        report += f"\nText encoder: {network.reports[-1]}."
    return Patched(patched_model, patched_clip, report)


@node(category="load")
def load_embedding(ctx: Context, clip: Clip, file: Annotated[str, File("embeddings")], name: str = "") -> Clip:
    """Give a text encoder a learnt word (textual inversion), written `embedding:name` in prompts.

    Args:
        clip: The text encoder that learns it.
        file: A file in models/embeddings.
        name: The word in prompts; empty takes the file's name.
    """
    weights = ctx.models.find("embeddings", file)
    word = name.strip() or file.rpartition("/")[2].removesuffix(".safetensors")
    clip = clip.patched(Patch("embedding", "text", 1.0, weights, options={"name": word}))
    with ctx.models.use(clip) as network:
        network.vectors(word)
    return clip


@node(category="load")
def model_card(ctx: Context, model: Model) -> str:
    """Say what a model's file was recognised as, with the reason for every entry.

    Args:
        model: The model.
    """
    card = ctx.models.card(model.weights)
    lines = [f"{entry['entry']}: {entry['value']} ({entry['why']})" for entry in card["entries"]]
    return "\n".join([f"{model.weights.name}: {card['title']}", *lines])


def _load(ctx: Context, kind: str, name: str) -> Loaded:
    weights = ctx.models.find(kind, name)
    parts = ctx.models.load(weights)
    return Loaded(*(_part(parts, part, weights) for part in Loaded._fields))


def _part(parts: dict[str, Any], part: str, weights: Weights) -> Any:
    if part not in parts:
        names = {"model": "a diffusion model", "clip": "a text encoder", "vae": "an autoencoder"}
        there = ", ".join(parts) or "nothing known"
        raise BadFile(f"{weights.name} holds {there} but not {names[part]}.", field="file")
    return parts[part]
