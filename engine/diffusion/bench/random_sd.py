"""A full-size Stable Diffusion 1.5 of random weights, as the single LDM file and the config folder that people have.

Its figures are those of the published configs; its pictures are noise, which costs as much as any other picture.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from engine.diffusion.families.clip_text import CLIP_TOKENIZER

UNET: dict[str, Any] = {
    "_class_name": "UNet2DConditionModel", "sample_size": 64, "in_channels": 4, "out_channels": 4,
    "block_out_channels": [320, 640, 1280, 1280], "layers_per_block": 2, "norm_num_groups": 32,
    "cross_attention_dim": 768, "attention_head_dim": 8,
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
}  # fmt: skip
VAE: dict[str, Any] = {
    "_class_name": "AutoencoderKL", "sample_size": 512, "latent_channels": 4, "layers_per_block": 2,
    "block_out_channels": [128, 256, 512, 512], "norm_num_groups": 32, "scaling_factor": 0.18215,
    "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4,
}  # fmt: skip
TEXT: dict[str, Any] = {
    "architectures": ["CLIPTextModel"], "model_type": "clip_text_model", "vocab_size": 49408, "hidden_size": 768,
    "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12, "max_position_embeddings": 77,
    "projection_dim": 768, "hidden_act": "quick_gelu", "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1,
}  # fmt: skip
SCHEDULER = {
    "_class_name": "EulerDiscreteScheduler", "beta_start": 0.00085, "beta_end": 0.012,
    "beta_schedule": "scaled_linear", "num_train_timesteps": 1000, "timestep_spacing": "trailing",
}  # fmt: skip
TOKENIZER = {
    "tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "bos_token": "<|startoftext|>",
    "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "pad_token": "<|endoftext|>",
}  # fmt: skip
INDEX = {
    "_class_name": "StableDiffusionPipeline", "feature_extractor": [None, None], "safety_checker": [None, None],
    "requires_safety_checker": False, "scheduler": ["diffusers", "EulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"],
}  # fmt: skip
RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection",
}  # fmt: skip
ENDS = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
    "mid_block.attentions.0": "middle_block.1",
}  # fmt: skip
VAE_NAMES = {
    "conv_norm_out": "norm_out", "conv_shortcut": "nin_shortcut", "mid_block.attentions.0": "mid.attn_1",
    "mid_block.resnets.0": "mid.block_1", "mid_block.resnets.1": "mid.block_2", "group_norm": "norm",
    "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out",
}  # fmt: skip
LEVELS = 4


def write_file(path: Path, *, seed: int = 1234) -> Path:
    """Write the model in float16, 2.1 GB; what is there already stays."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".part")
        save_file(state(seed), partial, {"format": "pt"})
        partial.rename(path)
    return path


def write_configs(folder: Path) -> Path:
    """Write the folder of configs and tokenizer that diffusers reads beside the file."""
    files = {
        "model_index.json": INDEX, "unet/config.json": UNET, "vae/config.json": VAE, "text_encoder/config.json": TEXT,
        "scheduler/scheduler_config.json": SCHEDULER, "tokenizer/tokenizer_config.json": TOKENIZER,
    }  # fmt: skip
    for name, plain in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(plain))
    for name in ("vocab.json", "merges.txt"):
        (folder / "tokenizer" / name).write_bytes((CLIP_TOKENIZER / name).read_bytes())
    return folder


def state(seed: int) -> dict[str, Tensor]:
    """Return the tensors under LDM's names."""
    with torch.device("meta"):
        unet, vae = UNet2DConditionModel.from_config(UNET), AutoencoderKL.from_config(VAE)
        text = CLIPTextModel(CLIPTextConfig(**TEXT))
    random = torch.Generator().manual_seed(seed)
    found = {f"model.diffusion_model.{unet_name(k)}": v for k, v in filled(unet, random).items()}
    found |= {f"first_stage_model.{vae_name(k)}": _as_conv(k, v) for k, v in filled(vae, random).items()}
    start = "cond_stage_model.transformer.text_model."
    found |= {start + k.removeprefix("text_model."): v for k, v in filled(text, random).items()}
    return found | {f"{start}embeddings.position_ids": torch.arange(77)[None]}


def filled(module: nn.Module, random: torch.Generator) -> Mapping[str, Tensor]:
    """Return weights as torch itself would begin: uniform within 1 / sqrt(inputs), norms 1, biases 0."""

    def made(name: str, shape: torch.Size) -> Tensor:
        if len(shape) == 1:
            return torch.full(shape, float(name.endswith("weight")), dtype=torch.float16)
        bound = 0.02 if "embedding.weight" in name else prod(shape[1:]) ** -0.5
        return torch.empty(shape, dtype=torch.float16).uniform_(-bound, bound, generator=random)

    return {name: made(name, parameter.shape) for name, parameter in module.named_parameters()}


def unet_name(key: str) -> str:
    """Return LDM's name of a U-Net weight: blocks numbered through, three to a level."""
    for ours, theirs in ENDS.items():
        if key.startswith(f"{ours}."):
            return theirs + key.removeprefix(ours)
    if m := re.fullmatch(r"mid_block\.resnets\.(\d)\.(\w+)\.(.*)", key):
        return f"middle_block.{2 * int(m[1])}.{RESNET[m[2]]}.{m[3]}"
    m = re.fullmatch(r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.(.*)", key)
    assert m, key
    level, index, rest = int(m[2]), int(m[4]), m[5]
    if m[3] == "downsamplers":
        return f"input_blocks.{3 * level + 3}.0.op.{rest.removeprefix('conv.')}"
    if m[3] == "upsamplers":
        return f"output_blocks.{3 * level + 2}.{2 if level else 1}.{rest}"
    block = f"input_blocks.{3 * level + index + 1}" if m[1] == "down" else f"output_blocks.{3 * level + index}"
    if m[3] == "attentions":
        return f"{block}.1.{rest}"
    layer, _, leaf = rest.partition(".")
    return f"{block}.0.{RESNET[layer]}.{leaf}"


def vae_name(key: str) -> str:
    """Return LDM's name of an autoencoder's weight; its decoder counts levels from the picture."""
    for ours, theirs in VAE_NAMES.items():
        key = key.replace(ours, theirs)
    key = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", key)
    key = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", key)
    key = re.sub(r"up_blocks\.(\d)\.resnets", lambda m: f"up.{LEVELS - 1 - int(m[1])}.block", key)
    return re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{LEVELS - 1 - int(m[1])}.upsample", key)


def _as_conv(key: str, value: Tensor) -> Tensor:
    """Give the autoencoder's attention the 1x1 convolutions that LDM has there."""
    return value[:, :, None, None] if ".attentions." in key and value.ndim == 2 else value
