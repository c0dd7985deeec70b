"""Models and what is laid over them, by name."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal, NamedTuple

from engine.context import Context
from engine.diffusion.library import EMBEDDED
from engine.errors import BadFile
from engine.node import File, Range, node
from engine.types import Clip, Model, Patch, Vae, Weights

AUTO = "auto"
MEASURED = "measured"  # a card's prediction of which no file speaks
Latents = Literal["auto", "sd", "sdxl", "flux", "sd3"]
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
def load_checkpoint(ctx: Context, file: Annotated[str, File("checkpoints")], family: str = AUTO) -> Loaded:
    """Load a checkpoint: one safetensors file with denoising network, text encoder and autoencoder.

    Args:
        file: A file in models/checkpoints, or the embedded model.
        family: auto looks at the file; a family's name, such as sd1, sd2 or sdxl, overrides what was seen.
    """
    return _load(ctx, "checkpoints", file, family)


@node(category="load")
def load_diffusers(ctx: Context, folder: Annotated[str, File("diffusers")], family: str = AUTO) -> Loaded:
    """Load a model in diffusers' folder layout: model_index.json beside unet, vae, text_encoder and tokenizer.

    Args:
        folder: A folder in models/diffusers.
        family: auto looks at the folder; a family's name overrides what was seen.
    """
    return _load(ctx, "diffusers", folder, family)


@node(category="load")
def load_diffusion_model(ctx: Context, file: Annotated[str, File("unet")], family: str = AUTO) -> Model:
    """Load a denoising network of its own, without text encoder and autoencoder.

    Args:
        file: A file in models/unet or models/diffusion_models.
        family: auto looks at the file; a family's name overrides what was seen.
    """
    model: Model = part_of(ctx, ctx.models.find("unet", file), "model", family)
    return model


@node(category="load", title="Load CLIP")
def load_clip(
    ctx: Context,
    file: Annotated[str, File("clip")],
    second: Annotated[str, File("clip")] = "",
    third: Annotated[str, File("clip")] = "",
    family: str = AUTO,
) -> Clip:
    """Load text encoders from files of their own: one for Stable Diffusion 1.x and 2.x, CLIP-L and CLIP-G for SDXL.

    Args:
        file: A file in models/clip or models/text_encoders.
        second: The second encoder, where a family reads with several.
        third: The third.
        family: auto looks at the files; a family's name overrides what was seen.
    """
    first, *more = (ctx.models.find("clip", name) for name in (file, second, third) if name)
    clip: Clip = part_of(ctx, replace(first, more=tuple(more)), "clip", family)
    return clip


@node(category="load", title="Load VAE")
def load_vae(ctx: Context, file: Annotated[str, File("vae")], latents: Latents = "auto") -> Vae:
    """Load an autoencoder of its own, to be used in place of a checkpoint's.

    Args:
        file: A file in models/vae.
        latents: Whose latents it makes. Those of Stable Diffusion and SDXL look alike in a file and differ in scale,
            those of Flux and Stable Diffusion 3 too; auto takes SDXL's if the file's name says XL, and Stable
            Diffusion 3's if it says SD3.
    """
    vae: Vae = part_of(ctx, ctx.models.find("vae", file), "vae")
    return vae if latents == "auto" else vae.with_options(latents=latents)


@node(category="load")
def set_prediction(model: Model, prediction: Literal["eps", "v", "x0"] = "v", zero_snr: bool = False) -> Model:
    """Say what a model predicts, where its file does not say so or says it wrongly: a wrong one gives noise.

    Args:
        model: The model.
        prediction: The noise (most models), the velocity, or the picture.
        zero_snr: Let the noise levels end in pure noise, as models trained so need.
    """
    told: Model = model.with_options(prediction=prediction, zero_snr=zero_snr or None)
    return told


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
    if any(entry["value"] == MEASURED for entry in card["entries"]):
        with ctx.models.use(model) as network:
            lines.append(f"measured prediction: {network.prediction} (what it makes of pure noise)")
    return "\n".join([f"{model.weights.name}: {card['title']}", *lines])


def _load(ctx: Context, kind: str, name: str, family: str = AUTO) -> Loaded:
    weights = ctx.models.find(kind, name)
    return Loaded(*(part_of(ctx, weights, part, family) for part in Loaded._fields))


def part_of(ctx: Context, weights: Weights, part: str, family: str = AUTO) -> Any:
    """Return the description of one network of a file; BadFile if the file holds others."""
    parts = ctx.models.load(weights, family="" if family.strip() in ("", AUTO) else family.strip())
    if part not in parts:
        names = {
            "model": "a diffusion model", "clip": "a text encoder", "vae": "an autoencoder", "upscaler": "an upscaler",
            "control": "a ControlNet or T2I-Adapter", "gligen": "GLIGEN layers",
            "dual": "a dual encoder",
        }  # fmt: skip
        there = ", ".join(parts) or "nothing known"
        raise BadFile(f"{weights.name} holds {there} but not {names[part]}.", field="file")
    return parts[part]
