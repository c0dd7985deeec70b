"""Where a part lies in a single file, and its keys under diffusers' or transformers' names.

Three layouts are read: LDM's (CompVis, Stability: prefixed parts, numbered blocks), the same without prefixes (a part
in a file of its own), and diffusers' own keys in one file. Text encoders come as transformers' CLIP or as OpenCLIP.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from diffusers.loaders import single_file_utils  # private, so behind this one seam
from torch import Tensor

from engine.errors import BadFile

converters: Any = single_file_utils  # without types
UNET = "model.diffusion_model."
VAE = "first_stage_model."
CLIP_SIGN, OPEN_CLIP_SIGN = "embeddings.token_embedding.weight", "token_embedding.weight"
LDM_IN, DIFFUSERS_IN = "input_blocks.0.0.weight", "conv_in.weight"
DIFFUSERS_UNET = "down_blocks.0.resnets.0.conv1.weight"

Shapes = Mapping[str, Any]  # a Header: name -> an object with .shape

RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection",
}  # fmt: skip
ENDS = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2", "conv_in": "input_blocks.0.0",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0", "conv_out": "out.2",
}  # fmt: skip
OPEN_CLIP = {
    "self_attn.out_proj": "attn.out_proj", "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}  # fmt: skip


# Where ---------------------------------------------------------------------------------------------------------------


def unet_prefix(header: Shapes) -> str | None:
    """Return the prefix of the U-Net's keys (empty for a file with nothing else), or None if there is none."""
    if any(f"{UNET}{sign}" in header for sign in (LDM_IN, DIFFUSERS_UNET)):
        return UNET
    return "" if LDM_IN in header or (DIFFUSERS_UNET in header and "time_embedding.linear_1.weight" in header) else None


def is_diffusers(header: Shapes, prefix: str) -> bool:
    """Say whether a U-Net has diffusers' keys and not LDM's."""
    return f"{prefix}{DIFFUSERS_UNET}" in header


def vae_prefix(header: Shapes) -> str | None:
    """Return the prefix of the autoencoder's keys (empty for a file with nothing else), or None."""
    return next((p for p in (VAE, "vae.", "") if f"{p}decoder.conv_in.weight" in header), None)


def text_prefix(header: Shapes, prefixes: Iterable[str]) -> str | None:
    """Return the first of `prefixes` behind which a text encoder lies, or None."""
    signs = (CLIP_SIGN, f"text_model.{CLIP_SIGN}", OPEN_CLIP_SIGN)
    return next((p for p in prefixes if any(p + sign in header for sign in signs)), None)


def is_open_clip(header: Shapes, prefix: str) -> bool:
    """Say whether a text encoder has OpenCLIP's keys and not transformers'."""
    return f"{prefix}{OPEN_CLIP_SIGN}" in header


# Names ---------------------------------------------------------------------------------------------------------------


def unet_names(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (LDM prefix, diffusers prefix), each with its dot, for every layer of a U-Net of `config`."""
    yield from ((f"{theirs}.", f"{ours}.") for ours, theirs in ENDS.items())
    for i, there in enumerate(("resnets.0", "attentions.0", "resnets.1")):
        yield from _layer(f"middle_block.{i}", f"mid_block.{there}")
    levels, layers = len(config["block_out_channels"]), config["layers_per_block"]
    index = 1
    for i, kind in enumerate(config["down_block_types"]):
        for j in range(layers):
            yield from _block(f"input_blocks.{index}", f"down_blocks.{i}", j, attends="CrossAttn" in kind)
            index += 1
        if i < levels - 1:
            yield f"input_blocks.{index}.0.op.", f"down_blocks.{i}.downsamplers.0.conv."
            index += 1
    for i, kind in enumerate(config["up_block_types"]):
        attends = "CrossAttn" in kind
        for j in range(layers + 1):
            block = f"output_blocks.{i * (layers + 1) + j}"
            yield from _block(block, f"up_blocks.{i}", j, attends=attends)
            if j == layers and i < levels - 1:
                yield f"{block}.{2 if attends else 1}.conv.", f"up_blocks.{i}.upsamplers.0.conv."


def _block(theirs: str, ours: str, j: int, *, attends: bool) -> Iterator[tuple[str, str]]:
    yield from _layer(f"{theirs}.0", f"{ours}.resnets.{j}")
    if attends:
        yield from _layer(f"{theirs}.1", f"{ours}.attentions.{j}")


def _layer(theirs: str, ours: str) -> Iterator[tuple[str, str]]:
    if ".resnets." in ours:
        yield from ((f"{theirs}.{b}.", f"{ours}.{a}.") for a, b in RESNET.items())
    else:
        yield f"{theirs}.", f"{ours}."


def unet_weights(
    tensors: Mapping[str, Tensor], config: Mapping[str, Any], prefix: str, more: Iterable[tuple[str, str]] = ()
) -> dict[str, Tensor]:
    """Return a U-Net's tensors under diffusers' names; `more`: (LDM prefix, diffusers prefix) of further layers."""
    plain = {k.removeprefix(prefix): v for k, v in tensors.items()}
    if DIFFUSERS_UNET in plain:
        return plain
    names = dict((*unet_names(config), *more))
    return {renamed(key, names): tensor for key, tensor in plain.items()}


def renamed(key: str, names: Mapping[str, str]) -> str:
    """Return a key with the longest of its beginnings that `names` knows replaced."""
    ends = [i + 1 for i, letter in enumerate(key) if letter == "."]
    start = next((key[:end] for end in reversed(ends) if key[:end] in names), "")
    return names[start] + key.removeprefix(start) if start else key


def vae_weights(tensors: Mapping[str, Tensor], config: Mapping[str, Any], prefix: str) -> dict[str, Tensor]:
    """Return an autoencoder's tensors under diffusers' names."""
    named = {VAE + k.removeprefix(prefix): v for k, v in tensors.items()}
    if any(k.startswith(f"{VAE}decoder.mid_block.") for k in named):
        return {k.removeprefix(VAE): v for k, v in named.items()}
    try:
        converted: dict[str, Tensor] = converters.convert_ldm_vae_checkpoint(named, config)
    except (KeyError, IndexError, AttributeError) as error:
        raise BadFile(f"The autoencoder in the file lacks tensors that its kind has: {error}.") from error
    return converted


def text_weights(tensors: Mapping[str, Tensor], prefix: str, layers: int) -> dict[str, Tensor]:
    """Return a text encoder's tensors under transformers' names, without `text_model.`, of its first `layers` layers.

    OpenCLIP keeps queries, keys and values in one matrix, and the projection transposed.
    """
    plain = {k.removeprefix(prefix).removeprefix("text_model."): v for k, v in tensors.items()}
    if not is_open_clip(plain, ""):
        return {k: v for k, v in plain.items() if k.startswith(CLIP_KEYS) and _number(k, CLIP_LAYER) < layers}
    ends = {
        "token_embedding.weight": "embeddings.token_embedding.weight",
        "positional_embedding": "embeddings.position_embedding.weight",
        "ln_final.weight": "final_layer_norm.weight",
        "ln_final.bias": "final_layer_norm.bias",
    }
    found = {ours: plain[theirs] for theirs, ours in ends.items() if theirs in plain}
    if "text_projection" in plain:
        found["text_projection.weight"] = plain["text_projection"].T
    for i in range(layers):
        theirs, ours = f"transformer.resblocks.{i}.", f"encoder.layers.{i}."
        for kind in ("weight", "bias"):
            joined = plain.get(f"{theirs}attn.in_proj_{kind}")
            if joined is not None and len(joined) % 3 == 0:
                found |= {f"{ours}self_attn.{n}_proj.{kind}": w for n, w in zip("qkv", joined.chunk(3), strict=True)}
            names = {f"{ours}{a}.{kind}": f"{theirs}{b}.{kind}" for a, b in OPEN_CLIP.items()}
            found |= {a: plain[b] for a, b in names.items() if b in plain}
    return found


CLIP_KEYS = ("embeddings.", "encoder.", "final_layer_norm.", "text_projection.")
CLIP_LAYER = re.compile(r"encoder\.layers\.(\d{1,4})\.")


def _number(key: str, pattern: re.Pattern[str]) -> int:
    match = pattern.match(key)
    return int(match[1]) if match else -1
