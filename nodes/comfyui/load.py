"""Loaders: checkpoints, diffusion models, autoencoders, LoRA."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from engine.context import Context
from engine.node import File, Range
from engine.types import Clip, Model, Patch, Vae
from nodes.basics import load, text
from nodes.basics.load import Loaded
from nodes.comfyui._core import Strength, core


class ModelAndClip(NamedTuple):
    """A model with its text encoder."""

    model: Model
    clip: Clip


@core("CheckpointLoaderSimple", "loaders", "Load Checkpoint")
def checkpoint_loader_simple(ctx: Context, ckpt_name: Annotated[str, File("checkpoints")]) -> Loaded:
    """Load model, text encoder and autoencoder from one file, or the embedded model."""
    return load.load_checkpoint(ctx, ckpt_name)


@core("DiffusersLoader", "advanced/loaders")
def diffusers_loader(ctx: Context, model_path: Annotated[str, File("diffusers")]) -> Loaded:
    """Load a model in diffusers' folder layout.

    Args:
        model_path: A folder in models/diffusers.
    """
    return load.load_diffusers(ctx, model_path)


@core("VAELoader", "loaders", "Load VAE")
def vae_loader(ctx: Context, vae_name: Annotated[str, File("vae")]) -> Vae:
    """Load an autoencoder of its own.

    Args:
        vae_name: A file in models/vae.
    """
    return load.load_vae(ctx, vae_name)


@core("LoraLoader", "loaders", "Load LoRA")
def lora_loader(
    ctx: Context,
    model: Model,
    clip: Clip,
    lora_name: Annotated[str, File("loras")],
    strength_model: Strength = 1.0,
    strength_clip: Strength = 1.0,
) -> ModelAndClip:
    """Lay a LoRA over a model and its text encoder.

    Args:
        lora_name: A file in models/loras.
        strength_model: How strongly it acts on the pictures.
        strength_clip: How strongly it acts on the reading of prompts.
    """
    patched = load.load_lora(ctx, model, clip, lora_name, strength_model, strength_clip)
    return ModelAndClip(patched.model, patched.clip)


@core("LoraLoaderModelOnly", "loaders", "Load LoRA (model only)")
def lora_loader_model_only(
    ctx: Context, model: Model, lora_name: Annotated[str, File("loras")], strength_model: Strength = 1.0
) -> Model:
    """Lay a LoRA over a model alone.

    Args:
        lora_name: A file in models/loras.
        strength_model: How strongly it acts.
    """
    patched: Model = model.patched(Patch("lora", "unet", strength_model, ctx.models.find("loras", lora_name)))
    with ctx.models.use(patched):  # says now whether it fits
        return patched


@core("CLIPSetLastLayer", "conditioning", "CLIP Set Last Layer")
def clip_set_last_layer(clip: Clip, stop_at_clip_layer: Annotated[int, Range(-24, -1)] = -1) -> Clip:
    """Read prompts from an earlier layer of the text encoder.

    Args:
        stop_at_clip_layer: -1 is the last layer, -2 the one before it.
    """
    return text.clip_skip(clip, -stop_at_clip_layer)


@core("UNETLoader", "advanced/loaders", "Load Diffusion Model")
def unet_loader(
    ctx: Context,
    unet_name: Annotated[str, File("unet")],
    weight_dtype: str = "default",
) -> Model:
    """Load a diffusion model from a file of its own.

    Args:
        unet_name: A file in models/unet or models/diffusion_models.
        weight_dtype: Read and left aside: the memory planner chooses the number format.
    """
    return load.load_diffusion_model(ctx, unet_name)


@core("CheckpointLoader", "advanced/loaders", "Load Checkpoint With Config (DEPRECATED)")
def checkpoint_loader(ctx: Context, config_name: str, ckpt_name: Annotated[str, File("checkpoints")]) -> Loaded:
    """Load model, text encoder and autoencoder from one file.

    Args:
        config_name: Read and left aside: what a file holds is seen in it.
    """
    return load.load_checkpoint(ctx, ckpt_name)


@core("CLIPLoader", "advanced/loaders", "Load CLIP")
def clip_loader(
    ctx: Context, clip_name: Annotated[str, File("clip")], type: str = "stable_diffusion", device: str = "default"
) -> Clip:
    """Load a text encoder from a file of its own.

    Args:
        clip_name: A file in models/clip or models/text_encoders.
        type: Read and left aside: the encoder is recognised by its file.
        device: Read and left aside: the memory planner chooses.
    """
    return load.load_clip(ctx, clip_name)


@core("DualCLIPLoader", "advanced/loaders", "DualCLIPLoader")
def dual_clip_loader(
    ctx: Context, clip_name1: Annotated[str, File("clip")], clip_name2: Annotated[str, File("clip")],
    type: str = "sdxl", device: str = "default",
) -> Clip:  # fmt: skip
    """Load two text encoders that are read together.

    Args:
        clip_name1: A file in models/clip or models/text_encoders.
        clip_name2: Another one.
        type: Read and left aside: the encoders are recognised by their files.
        device: Read and left aside: the memory planner chooses.
    """
    return load.load_clip(ctx, clip_name1, clip_name2)


@core("TripleCLIPLoader", "advanced/loaders", "TripleCLIPLoader")
def triple_clip_loader(
    ctx: Context, clip_name1: Annotated[str, File("clip")], clip_name2: Annotated[str, File("clip")],
    clip_name3: Annotated[str, File("clip")],
) -> Clip:  # fmt: skip
    """Load three text encoders that are read together.

    Args:
        clip_name1: A file in models/clip or models/text_encoders.
        clip_name2: Another one.
        clip_name3: The third.
    """
    return load.load_clip(ctx, clip_name1, clip_name2, clip_name3)


@core("ModelComputeDtype", "advanced/debug/model")
def model_compute_dtype(model: Model, dtype: Literal["default", "fp32", "fp16", "bf16"] = "default") -> Model:
    """Say in which number format a model computes.

    Args:
        dtype: The format; default leaves it to the memory planner.
    """
    formats = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
    told: Model = model.with_options(dtype=formats.get(dtype))
    return told
