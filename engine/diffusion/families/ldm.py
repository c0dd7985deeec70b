"""The single-file layout of CompVis' latent diffusion (LDM): configs read from shapes, keys renamed to diffusers'."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from diffusers.loaders import single_file_utils  # private, so behind this one seam
from torch import Tensor

from engine.errors import BadFile

converters: Any = single_file_utils  # without types
UNET = "model.diffusion_model."
VAE = "first_stage_model."
TEXT = ("cond_stage_model.transformer.text_model.", "cond_stage_model.transformer.")
LDM_VAE, DIFFUSERS_VAE = ("down", "block"), ("down_blocks", "resnets")
GROUPS = 32
HEADS = 8  # Stable Diffusion 1.x, at every level

Shapes = Mapping[str, Any]  # a Header: name -> an object with .shape


def text_prefix(header: Shapes) -> str | None:
    """Return the prefix of the CLIP text encoder's keys, or None if there is none."""
    return next((p for p in TEXT if f"{p}embeddings.token_embedding.weight" in header), None)


def vae_prefix(header: Shapes) -> str | None:
    """Return the prefix of the autoencoder's keys (empty for a file with nothing else), or None."""
    return next((p for p in (VAE, "") if f"{p}decoder.conv_in.weight" in header), None)


def prefix_of(part: str, header: Shapes) -> str | None:
    """Return the prefix of a part's keys, or None if the file does not hold it."""
    if part == "model":
        return UNET if f"{UNET}input_blocks.0.0.weight" in header else None
    return text_prefix(header) if part == "clip" else vae_prefix(header)


def context_width(header: Shapes) -> int:
    """Return the width of the text states that the U-Net reads, 0 without cross-attention."""
    found = (t.shape for k, t in header.items() if k.startswith(UNET) and k.endswith("attn2.to_k.weight"))
    return next((int(shape[1]) for shape in found if len(shape) == 2), 0)


def conv_projection(header: Shapes) -> bool:
    """Say whether the U-Net enters attention through a 1x1 convolution (SD 1.x) and not a linear layer (SD 2.x)."""
    found = (len(t.shape) == 4 for k, t in header.items() if k.startswith(UNET) and k.endswith(".proj_in.weight"))
    return next(found, False)


def unet_config(header: Shapes) -> dict[str, Any]:
    """Read the U-Net's config from the shapes of its input blocks; BadFile if they follow no regular plan."""
    widths: list[int] = []
    attends: list[bool] = []
    per_level: list[int] = []
    level_open = False
    for i in range(1, 1 + _count(header, UNET + r"input_blocks\.(\d{1,4})\.")):
        block = f"{UNET}input_blocks.{i}."
        if f"{block}0.op.weight" in header:
            level_open = False
            continue
        width = _shape(header, f"{block}0.out_layers.3.weight", 4)[0]
        if not level_open:
            widths, attends, per_level, level_open = [*widths, width], [*attends, False], [*per_level, 0], True
        attends[-1] |= f"{block}1.proj_in.weight" in header
        per_level[-1] += 1
    if not widths or len(set(per_level)) != 1:
        raise BadFile("The U-Net's blocks follow no regular plan; the file is damaged or of another family.")
    return {
        "_class_name": "UNet2DConditionModel",
        "sample_size": 64,
        "in_channels": _shape(header, f"{UNET}input_blocks.0.0.weight", 4)[1],
        "out_channels": _shape(header, f"{UNET}out.2.weight", 4)[0],
        "block_out_channels": widths,
        "layers_per_block": per_level[0],
        "down_block_types": ["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attends],
        "up_block_types": ["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)],
        "cross_attention_dim": context_width(header),
        "attention_head_dim": HEADS,  # diffusers' historic name: it is the number of heads
        "norm_num_groups": GROUPS,
        "use_linear_projection": not conv_projection(header),
    }


def vae_config(header: Shapes, levels_at: str, blocks_at: str) -> dict[str, Any]:
    """Read the autoencoder's config from its shapes; the scale is Stable Diffusion 1.x's, no file stores it.

    `levels_at`, `blocks_at`: how the layout names encoder levels and their blocks (`LDM_VAE`, `DIFFUSERS_VAE`).
    """
    prefix = vae_prefix(header) or ""
    start = re.escape(f"{prefix}encoder.{levels_at}.")
    levels = _count(header, start + r"(\d{1,4})\.") + 1
    widths = [
        _shape(header, f"{prefix}encoder.{levels_at}.{i}.{blocks_at}.0.conv1.weight", 4)[0] for i in range(levels)
    ]
    return {
        "_class_name": "AutoencoderKL",
        "latent_channels": _shape(header, f"{prefix}decoder.conv_in.weight", 4)[1],
        "block_out_channels": widths,
        "layers_per_block": _count(header, start + rf"0\.{blocks_at}\.(\d{1, 4})\.") + 1,
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "norm_num_groups": GROUPS,
        "scaling_factor": 0.18215,
    }


def text_config(header: Shapes) -> dict[str, Any]:
    """Read the CLIP text encoder's config from its shapes; heads are 64 wide in every CLIP."""
    prefix = text_prefix(header) or ""
    vocabulary, width = _shape(header, f"{prefix}embeddings.token_embedding.weight", 2)
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": _shape(header, f"{prefix}encoder.layers.0.mlp.fc1.weight", 2)[0],
        "num_hidden_layers": _count(header, re.escape(prefix) + r"encoder\.layers\.(\d{1,4})\.") + 1,
        "num_attention_heads": max(1, width // 64),
        "max_position_embeddings": _shape(header, f"{prefix}embeddings.position_embedding.weight", 2)[0],
        "projection_dim": width,
        "hidden_act": "quick_gelu",
        "eos_token_id": vocabulary - 1,
        "bos_token_id": vocabulary - 2,
        "pad_token_id": vocabulary - 1,
    }


def converted(part: str, tensors: dict[str, Tensor], configs: Mapping[str, Any], prefix: str) -> dict[str, Tensor]:
    """Return a part's tensors under diffusers' (or transformers') names."""
    try:
        if part == "model":
            result: dict[str, Tensor] = converters.convert_ldm_unet_checkpoint(tensors, configs["unet"])
        elif part == "vae":
            named = {VAE + k.removeprefix(prefix): v for k, v in tensors.items()}
            result = converters.convert_ldm_vae_checkpoint(named, configs["vae"])
        else:
            result = {k.removeprefix(prefix): v for k, v in tensors.items()}
    except (KeyError, IndexError, AttributeError) as error:
        raise BadFile(f"The {part} in the file lacks tensors that its kind has: {error}.") from error
    return result


def _count(header: Iterable[str], pattern: str) -> int:
    """Return the largest number that `pattern` finds in the keys, 0 if none."""
    found = re.compile(pattern)
    return max((int(m[1]) for k in header if (m := found.match(k))), default=0)


def _shape(header: Shapes, key: str, ndim: int) -> tuple[int, ...]:
    if key not in header:
        raise BadFile(f"The file lacks the tensor {key}; it is incomplete or of another family.")
    shape = tuple(header[key].shape)
    if len(shape) != ndim or 0 in shape:
        raise BadFile(f"The tensor {key} has the shape {shape}, of another family.")
    return shape
