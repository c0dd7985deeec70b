"""Tiny random models of every Stable Diffusion family: as diffusers' own networks, as a folder, as one LDM file."""

import functools
import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from engine.diffusion.families.clip_text import CLIP_TOKENIZER
from tests.diffusion_models import tiny

WIDE = 128  # of SDXL's second text encoder
STEP = 256  # width of one size's sinusoid in SDXL: the detectors know it, so it is not shrunk
UNET = {**tiny.UNET, "layers_per_block": 2, "sample_size": 8}
LINEAR = {**UNET, "use_linear_projection": True, "attention_head_dim": [1, 1]}  # heads 64 wide, as read from shapes
SDXL = {
    **LINEAR,
    "block_out_channels": [32, 64, 64],
    "attention_head_dim": [1, 1, 1],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "transformer_layers_per_block": [1, 1, 2],
    "cross_attention_dim": 64 + WIDE,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": STEP,
    "projection_class_embeddings_input_dim": WIDE + 6 * STEP,
}
REFINER = {**SDXL, "cross_attention_dim": WIDE, "projection_class_embeddings_input_dim": WIDE + 5 * STEP}
CLIP_L, CLIP_H = tiny.TEXT, {**tiny.TEXT, "hidden_act": "gelu"}
CLIP_G = {
    **CLIP_H, "num_hidden_layers": 3, "hidden_size": WIDE, "num_attention_heads": WIDE // 64, "projection_dim": WIDE,
}  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """A family's tiny configs. `texts`: component -> (config, layout of its keys in one file, prefix there)."""

    family: str
    unet: dict
    texts: dict = field(default_factory=lambda: {"text_encoder": (CLIP_L, "clip", "cond_stage_model.transformer.")})
    scheduler: dict = field(default_factory=dict)
    scale: float = 0.18215

    def vae(self) -> dict:
        return {**tiny.VAE, "scaling_factor": self.scale}


SD2_TEXT = {"text_encoder": (CLIP_H, "open_clip", "cond_stage_model.model.")}
XL_TEXT = {
    "text_encoder": (CLIP_L, "clip", "conditioner.embedders.0.transformer."),
    "text_encoder_2": (CLIP_G, "open_clip", "conditioner.embedders.1.model."),
}
REFINER_TEXT = {"text_encoder_2": (CLIP_G, "open_clip", "conditioner.embedders.0.model.")}
KINDS = {
    "sd1": Kind("sd1", UNET),
    "sd1 inpaint": Kind("sd1", {**UNET, "in_channels": 9}),
    "sd1 instruct": Kind("sd1", {**UNET, "in_channels": 8}),
    "sd2 eps": Kind("sd2", LINEAR, SD2_TEXT),
    "sd2 v": Kind("sd2", LINEAR, SD2_TEXT, {"prediction_type": "v_prediction"}),
    "sdxl": Kind("sdxl", SDXL, XL_TEXT, scale=0.13025),
    "sdxl inpaint": Kind("sdxl", {**SDXL, "in_channels": 9}, XL_TEXT, scale=0.13025),
    "sdxl refiner": Kind("sdxl_refiner", REFINER, REFINER_TEXT, scale=0.13025),
}


@functools.cache
def networks(name: str, seed: int = 0) -> dict[str, torch.nn.Module]:
    """Random networks by component whose outputs depend on text, time and sizes."""
    kind = KINDS[name]
    torch.manual_seed(seed)
    unet, vae = UNet2DConditionModel(**kind.unet).eval(), AutoencoderKL(**kind.vae()).eval()
    for key, parameter in unet.named_parameters():
        if any(part in key for part in ("attn2", "time_emb", "add_embedding")):
            parameter.data.mul_(3)
    found = {"unet": unet, "vae": vae}
    for component, (config, _, _) in kind.texts.items():
        cls = CLIPTextModelWithProjection if component == "text_encoder_2" else CLIPTextModel
        found[component] = cls(CLIPTextConfig(**config)).eval()
    for network in found.values():
        network.requires_grad_(False)
    return found


def write_folder(folder: Path, name: str) -> Path:
    """Write a diffusers folder."""
    kind = KINDS[name]
    parts = ["tokenizer", "scheduler"]
    for component, network in networks(name).items():
        network.save_pretrained(folder / component)
        parts.append(component)
        if component.startswith("text"):
            target = folder / component.replace("text_encoder", "tokenizer")
            shutil.copytree(CLIP_TOKENIZER, target)
            if kind.texts[component][1] == "open_clip":
                settings = json.loads((target / "tokenizer_config.json").read_text())
                (target / "tokenizer_config.json").write_text(json.dumps({**settings, "pad_token": "!"}))
            parts.append(target.name)
    (folder / "scheduler").mkdir()
    config = {**tiny.SCHEDULER, **kind.scheduler}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    index = {part: ["diffusers", "X"] for part in parts}
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "X", **index}))
    return folder


def ldm_state(name: str) -> dict[str, torch.Tensor]:
    """The weights of `networks(name)` under the names of a single LDM file."""
    kind, found = KINDS[name], networks(name)
    state = unet_state(found["unet"], "model.diffusion_model.")
    state |= {f"first_stage_model.{k}": v for k, v in tiny.vae_ldm_state(found["vae"]).items()}
    for component, (_, layout, prefix) in kind.texts.items():
        text = found[component].state_dict()
        plain = {k.removeprefix("text_model."): v for k, v in text.items()}
        if layout == "open_clip":
            state |= open_clip_state(plain, prefix, unused="sd2" in name)
        else:
            state |= {f"{prefix}text_model.{k}": v for k, v in plain.items()}
    if kind.scheduler.get("prediction_type") == "v_prediction":
        state["v_pred"] = torch.zeros(0)
    return {k: v.contiguous().clone() for k, v in state.items()}


def unet_state(unet: UNet2DConditionModel, prefix: str) -> dict[str, torch.Tensor]:
    """A U-Net's weights under LDM's names: numbered input and output blocks, as CompVis writes them."""
    pairs = list(_unet_names(unet.config))
    return {prefix + _renamed(key, pairs): value for key, value in unet.state_dict().items()}


def _unet_names(config):
    yield from tiny.ENDS.items()
    yield from (("add_embedding.linear_1", "label_emb.0.0"), ("add_embedding.linear_2", "label_emb.0.2"))
    yield from (("mid_block.resnets.0", "middle_block.0"), ("mid_block.resnets.1", "middle_block.2"))
    last, index = len(config.block_out_channels) - 1, 1
    for level in range(len(config.down_block_types)):
        for layer in range(config.layers_per_block):
            yield f"down_blocks.{level}.resnets.{layer}", f"input_blocks.{index}.0"
            yield f"down_blocks.{level}.attentions.{layer}", f"input_blocks.{index}.1"
            index += 1
        if level < last:
            yield f"down_blocks.{level}.downsamplers.0.conv", f"input_blocks.{index}.0.op"
            index += 1
    index = 0
    for level, kind in enumerate(config.up_block_types):
        for layer in range(config.layers_per_block + 1):
            yield f"up_blocks.{level}.resnets.{layer}", f"output_blocks.{index}.0"
            yield f"up_blocks.{level}.attentions.{layer}", f"output_blocks.{index}.1"
            index += 1
        place = 2 if "CrossAttn" in kind else 1
        yield f"up_blocks.{level}.upsamplers.0.conv", f"output_blocks.{index - 1}.{place}.conv"


def _renamed(key, pairs):
    ours, theirs = next((a, b) for a, b in pairs if key.startswith(a + "."))
    rest = key.removeprefix(ours)
    if ".resnets." in key:
        layer, _, leaf = rest[1:].partition(".")
        rest = f".{tiny.RESNET[layer]}.{leaf}"
    return theirs + rest


OPEN_CLIP_ENDS = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.weight": "ln_final.weight",
    "final_layer_norm.bias": "ln_final.bias",
}
OPEN_CLIP_LAYER = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
                   "self_attn.out_proj": "attn.out_proj"}  # fmt: skip


def open_clip_state(text: dict[str, torch.Tensor], prefix: str, *, unused: bool) -> dict[str, torch.Tensor]:
    """A text encoder's weights under OpenCLIP's names; `unused` adds a last layer that nobody reads, as in SD 2.x."""
    state = {prefix + theirs: text[ours] for ours, theirs in OPEN_CLIP_ENDS.items()}
    if "text_projection.weight" in text:
        state[f"{prefix}text_projection"] = text["text_projection.weight"].T
    layers = {int(m[1]) for k in text if (m := re.match(r"encoder\.layers\.(\d+)", k))}
    for layer in layers:
        ours, theirs = f"encoder.layers.{layer}.", f"{prefix}transformer.resblocks.{layer}."
        for leaf in ("weight", "bias"):
            joined = torch.cat([text[f"{ours}self_attn.{n}_proj.{leaf}"] for n in "qkv"])
            state[f"{theirs}attn.in_proj_{leaf}"] = joined
            state |= {f"{theirs}{b}.{leaf}": text[f"{ours}{a}.{leaf}"] for a, b in OPEN_CLIP_LAYER.items()}
    if unused:
        last = f"{prefix}transformer.resblocks.{max(layers)}."
        extra = last.replace(f".{max(layers)}.", f".{max(layers) + 1}.")
        state |= {k.replace(last, extra): torch.full_like(v, 7) for k, v in state.items() if k.startswith(last)}
    return state
