"""Tiny random Stable Diffusion 1.x-shaped models, as a diffusers folder and as one LDM file with the same weights."""

import json
import re
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

from engine.diffusion.families.clip_text import CLIP_TOKENIZER

UNET = {
    "sample_size": 8,
    "block_out_channels": [32, 64],
    "layers_per_block": 1,
    "cross_attention_dim": 64,
    "attention_head_dim": 8,
    "norm_num_groups": 32,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
}
VAE = {
    "block_out_channels": [32, 32],
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 32,
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "scaling_factor": 0.18215,
}
TEXT = {
    "vocab_size": 49408,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 1,
    "max_position_embeddings": 77,
    "projection_dim": 64,
    "hidden_act": "quick_gelu",
    "bos_token_id": 49406,
    "eos_token_id": 49407,
    "pad_token_id": 49407,
}
SCHEDULER = {"_class_name": "DDIMScheduler", "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


def networks(seed: int = 0) -> tuple[UNet2DConditionModel, AutoencoderKL, CLIPTextModel]:
    """Random networks whose outputs depend on text and time."""
    torch.manual_seed(seed)
    unet, vae = UNet2DConditionModel(**UNET).eval(), AutoencoderKL(**VAE).eval()
    text = CLIPTextModel(CLIPTextConfig(**TEXT)).eval()
    for name, parameter in unet.named_parameters():
        parameter.requires_grad_(False)
        if "attn2" in name or "time_emb" in name:
            parameter.mul_(3)
    return unet, vae, text


def write_folder(folder: Path, seed: int = 0, scheduler: dict[str, object] | None = None) -> Path:
    """Write a diffusers folder."""
    unet, vae, text = networks(seed)
    unet.save_pretrained(folder / "unet")
    vae.save_pretrained(folder / "vae")
    text.save_pretrained(folder / "text_encoder")
    shutil.copytree(CLIP_TOKENIZER, folder / "tokenizer")
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps({**SCHEDULER, **(scheduler or {})}))
    index = {name: ["diffusers", "X"] for name in ("unet", "vae", "text_encoder", "tokenizer", "scheduler")}
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline", **index}))
    return folder


def ldm_state(seed: int = 0) -> dict[str, torch.Tensor]:
    """The weights of `networks(seed)` under the names of a single LDM file."""
    unet, vae, text = networks(seed)
    state = {f"model.diffusion_model.{_unet_name(k)}": v for k, v in unet.state_dict().items()}
    state |= {f"first_stage_model.{k}": v for k, v in vae_ldm_state(vae).items()}
    state |= {f"cond_stage_model.transformer.text_model.{k}": v for k, v in text.state_dict().items()}
    state["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]
    return {k: v.contiguous().clone() for k, v in state.items()}


def write_file(path: Path, state: dict[str, torch.Tensor] | None = None) -> Path:
    """Write a safetensors file, by default the single LDM file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(ldm_state() if state is None else state, path)
    return path


def vae_ldm_state(vae: AutoencoderKL) -> dict[str, torch.Tensor]:
    """An autoencoder's weights under LDM's names; its attention is a 1x1 convolution there."""
    state = {}
    for key, value in vae.state_dict().items():
        name = _vae_name(key)
        is_projection = "attn_1" in name and value.ndim == 2
        state[name] = (value[:, :, None, None] if is_projection else value).contiguous()
    return state


RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3",
          "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection"}  # fmt: skip
ENDS = {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
        "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
        "mid_block.attentions.0": "middle_block.1"}  # fmt: skip


def _unet_name(key: str) -> str:
    """Two levels of one layer: inputs 1, 2 (down), 3; outputs 0, 1 (up), 2, 3."""
    for ours, theirs in ENDS.items():
        if key.startswith(ours + "."):
            return theirs + key.removeprefix(ours)
    if m := re.match(r"mid_block\.resnets\.(\d)\.(\w+)\.(.*)", key):
        return f"middle_block.{2 * int(m[1])}.{RESNET[m[2]]}.{m[3]}"
    if m := re.match(r"(down|up)_blocks\.(\d)\.(resnets|attentions)\.(\d)\.(.*)", key):
        side, level, index = ("input_blocks", 1 + 2 * int(m[2]), int(m[4])) if m[1] == "down" else (
            "output_blocks", 2 * int(m[2]), int(m[4]))  # fmt: skip
        rest = m[5]
        if m[3] == "resnets":
            layer, _, leaf = rest.partition(".")
            return f"{side}.{level + index}.0.{RESNET[layer]}.{leaf}"
        return f"{side}.{level + index}.1.{rest}"
    if m := re.match(r"down_blocks\.0\.downsamplers\.0\.conv\.(.*)", key):
        return f"input_blocks.2.0.op.{m[1]}"
    m = re.match(r"up_blocks\.0\.upsamplers\.0\.conv\.(.*)", key)
    assert m, key
    return f"output_blocks.1.1.conv.{m[1]}"


def _vae_name(key: str) -> str:
    for ours, theirs in (("conv_norm_out", "norm_out"), ("conv_shortcut", "nin_shortcut"), ("group_norm", "norm"),
                         ("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out")):  # fmt: skip
        key = key.replace(ours, theirs)
    key = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", key)
    key = key.replace("mid_block.attentions.0", "mid.attn_1")
    key = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", key)
    key = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", key)
    key = re.sub(r"up_blocks\.(\d)\.resnets", lambda m: f"up.{1 - int(m[1])}.block", key)
    return re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{1 - int(m[1])}.upsample", key)
