"""Configs of parts in a single file, read from the shapes of their tensors; BadFile if they follow no regular plan."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from engine.diffusion.families import ldm
from engine.diffusion.families.ldm import Shapes
from engine.errors import BadFile

GROUPS = 32  # of every group norm in Stable Diffusion
HEAD_WIDTH = 64  # of attention in every CLIP, and in U-Nets since SD 2
SD1_HEADS = 8  # at every level
LDM_VAE, DIFFUSERS_VAE = ("down", "block"), ("down_blocks", "resnets")


@dataclass(frozen=True)
class UNetFacts:
    """What tells U-Nets apart. `context`: width of the text states; `vector`: of added embeddings, 0 = none.

    `linear`: attention is entered through a linear layer (SD 2, XL), not a 1x1 convolution (SD 1).
    """

    inputs: int = 0
    base: int = 0
    context: int = 0
    vector: int = 0
    linear: bool = False


def unet_facts(header: Shapes) -> UNetFacts:
    """Read what tells U-Nets apart; zeros where nothing is there, or is not of two dimensions."""
    prefix = ldm.unet_prefix(header)
    if prefix is None:
        return UNetFacts()
    diffusers = ldm.is_diffusers(header, prefix)
    first = header_shape(header, prefix + (ldm.DIFFUSERS_IN if diffusers else ldm.LDM_IN))
    vector = header_shape(header, prefix + ("add_embedding.linear_1.weight" if diffusers else "label_emb.0.0.weight"))
    context = _first(header, prefix, "attn2.to_k.weight")
    return UNetFacts(
        inputs=first[1] if len(first) == 4 else 0,
        base=first[0] if len(first) == 4 else 0,
        context=context[1] if len(context) == 2 else 0,
        vector=vector[1] if len(vector) == 2 else 0,
        linear=len(_first(header, prefix, ".proj_in.weight")) == 2,
    )


def unet_config(header: Shapes) -> dict[str, Any]:
    """Read a U-Net's config from the shapes of its blocks, in LDM's or diffusers' layout."""
    prefix, encoder = ldm.unet_prefix(header) or "", encoder_config(header)
    out = "conv_out.weight" if ldm.is_diffusers(header, prefix) else "out.2.weight"
    return {
        "_class_name": "UNet2DConditionModel",
        "out_channels": _shape(header, prefix + out, 4)[0],
        "up_block_types": [kind.replace("Down", "Up") for kind in reversed(encoder["down_block_types"])],
        **encoder,
    }


def encoder_config(header: Shapes) -> dict[str, Any]:
    """Read what of a U-Net's config speaks of its encoder and its middle, all that a ControlNet has."""
    prefix, facts = ldm.unet_prefix(header) or "", unet_facts(header)
    diffusers = ldm.is_diffusers(header, prefix)
    levels = _diffusers_levels(header, prefix) if diffusers else _ldm_levels(header, prefix)
    if not levels or len({level.layers for level in levels}) != 1:
        raise BadFile("The U-Net's blocks follow no regular plan; the file is damaged or of another family.")
    middle = "mid_block.attentions.0." if diffusers else "middle_block.1."
    depth = [max(1, level.depth) for level in levels]
    depth[-1] = _depth(header, prefix + middle)  # where diffusers reads the middle block's
    widths = [level.width for level in levels]
    heads = [max(1, width // HEAD_WIDTH) for width in widths] if facts.linear else SD1_HEADS
    added = {
        "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": facts.vector,
    }  # fmt: skip
    return {
        "in_channels": _shape(header, prefix + (ldm.DIFFUSERS_IN if diffusers else ldm.LDM_IN), 4)[1],
        "block_out_channels": widths,
        "layers_per_block": levels[0].layers,
        "down_block_types": ["CrossAttnDownBlock2D" if level.depth else "DownBlock2D" for level in levels],
        "transformer_layers_per_block": depth,
        "cross_attention_dim": facts.context,
        "attention_head_dim": heads,  # diffusers' historic name: it is the number of heads
        "norm_num_groups": GROUPS,
        "use_linear_projection": facts.linear,
        **(added if facts.vector else {}),
    }


@dataclass
class _Level:
    width: int
    layers: int = 0
    depth: int = 0


def _ldm_levels(header: Shapes, prefix: str) -> list[_Level]:
    """Return the levels of LDM's input blocks: a `0.op` ends each."""
    levels: list[_Level] = []
    level_open = False
    for i in range(1, 1 + count(header, re.escape(prefix) + r"input_blocks\.(\d{1,4})\.")):
        block = f"{prefix}input_blocks.{i}."
        if f"{block}0.op.weight" in header:
            level_open = False
            continue
        width = _shape(header, f"{block}0.out_layers.3.weight", 4)[0]
        if not level_open:
            levels, level_open = [*levels, _Level(width)], True
        levels[-1].layers += 1
        levels[-1].depth = max(levels[-1].depth, _depth(header, f"{block}1."))
    return levels


def _diffusers_levels(header: Shapes, prefix: str) -> list[_Level]:
    found = []
    for i in range(1 + count(header, re.escape(prefix) + r"down_blocks\.(\d{1,4})\.")):
        block = f"{prefix}down_blocks.{i}."
        width = _shape(header, f"{block}resnets.0.conv1.weight", 4)[0]
        layers = 1 + count(header, re.escape(block) + r"resnets\.(\d{1,4})\.")
        found.append(_Level(width, layers, _depth(header, f"{block}attentions.0.")))
    return found


def _depth(header: Shapes, start: str) -> int:
    """Return how many transformer blocks are stacked behind `start`."""
    return 1 + count(header, re.escape(start) + r"transformer_blocks\.(\d{1,4})\.", none=-1)


def vae_config(header: Shapes, scale: float) -> dict[str, Any]:
    """Read an autoencoder's config from its shapes; no file stores the scale of its latents."""
    prefix = ldm.vae_prefix(header) or ""
    levels_at, blocks_at = DIFFUSERS_VAE if f"{prefix}encoder.{DIFFUSERS_VAE[0]}.0.resnets.0.conv1.weight" in header \
        else LDM_VAE  # fmt: skip
    start = re.escape(f"{prefix}encoder.{levels_at}.")
    levels = count(header, start + r"(\d{1,4})\.") + 1
    widths = [
        _shape(header, f"{prefix}encoder.{levels_at}.{i}.{blocks_at}.0.conv1.weight", 4)[0] for i in range(levels)
    ]
    return {
        "_class_name": "AutoencoderKL",
        "latent_channels": _shape(header, f"{prefix}decoder.conv_in.weight", 4)[1],
        "block_out_channels": widths,
        "layers_per_block": count(header, start + rf"0\.{blocks_at}\.(\d{{1,4}})\.") + 1,
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "norm_num_groups": GROUPS,
        "scaling_factor": scale,
    }


def text_width(header: Shapes, prefix: str) -> int:
    """Return the width of a text encoder's states, 0 if it is not there."""
    signs = (ldm.CLIP_SIGN, f"text_model.{ldm.CLIP_SIGN}", ldm.OPEN_CLIP_SIGN)
    return next((shape[1] for s in signs if len(shape := header_shape(header, prefix + s)) == 2), 0)


def text_config(header: Shapes, prefix: str) -> dict[str, Any]:
    """Read a CLIP text encoder's config from its shapes, transformers' or OpenCLIP's."""
    if ldm.is_open_clip(header, prefix):
        embedding, position = f"{prefix}token_embedding.weight", f"{prefix}positional_embedding"
        layers, inner, act = f"{prefix}transformer.resblocks.", "0.mlp.c_fc.weight", "gelu"
        projection = header_shape(header, f"{prefix}text_projection")[1:]
    else:
        start = f"{prefix}text_model." if f"{prefix}text_model.{ldm.CLIP_SIGN}" in header else prefix
        embedding, position = start + ldm.CLIP_SIGN, f"{start}embeddings.position_embedding.weight"
        layers, inner = f"{start}encoder.layers.", "0.mlp.fc1.weight"
        projection = header_shape(header, f"{prefix}text_projection.weight")[:1]
        act = "quick_gelu"
    vocabulary, width = _shape(header, embedding, 2)
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": _shape(header, layers + inner, 2)[0],
        "num_hidden_layers": count(header, re.escape(layers) + r"(\d{1,4})\.") + 1,
        "num_attention_heads": max(1, width // HEAD_WIDTH),
        "max_position_embeddings": _shape(header, position, 2)[0],
        "projection_dim": (*projection, width)[0],
        "hidden_act": act,
        "eos_token_id": vocabulary - 1,
        "bos_token_id": vocabulary - 2,
        "pad_token_id": vocabulary - 1,
    }


def count(header: Iterable[str], pattern: str, *, none: int = 0) -> int:
    """Return the largest number that `pattern` finds in the keys, `none` if there is none."""
    found = re.compile(pattern)
    return max((int(m[1]) for k in header if (m := found.match(k))), default=none)


def header_shape(header: Shapes, key: str) -> tuple[int, ...]:
    """Return a tensor's shape, () if it is not there."""
    return tuple(header[key].shape) if key in header else ()


def _first(header: Shapes, prefix: str, end: str) -> tuple[int, ...]:
    return next((tuple(t.shape) for k, t in header.items() if k.startswith(prefix) and k.endswith(end)), ())


def _shape(header: Shapes, key: str, ndim: int) -> tuple[int, ...]:
    if key not in header:
        raise BadFile(f"The file lacks the tensor {key}; it is incomplete or of another family.")
    shape = header_shape(header, key)
    if len(shape) != ndim or 0 in shape:
        raise BadFile(f"The tensor {key} has the shape {shape}, of another family.")
    return shape
