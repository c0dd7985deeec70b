"""Tiny random models of families with transformers: diffusers' own networks, as a folder, as one published file."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import (  # fmt: skip
    AutoencoderKL,
    AutoencoderKLQwenImage,
    AutoencoderKLWan,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    QwenImageTransformer2DModel,
    SD3Transformer2DModel,
    WanTransformer3DModel,
)
from safetensors.torch import save_file
from tokenizers import pre_tokenizers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
    UMT5Config,
    UMT5EncoderModel,
)

from engine.diffusion.families.clip_text import CLIP_TOKENIZER, load_tokenizer
from engine.diffusion.families.names import Names
from tests.diffusion_models import tiny, zoo

STEPS, SIDE = 3, 8  # of the pictures that are compared; cells
WORDS = ("a", "photo", "of", "zebra", "on", "the", "grass", "blurry", "dark", ",")


def vocabulary() -> list[tuple[str, float]]:
    """T5's order: padding, end, unknown, then pieces; whole words score better than their letters."""
    letters = [chr(c) for c in range(33, 127)]
    pieces = ["\u2581", *letters, *(f"\u2581{word}" for word in WORDS if len(word) > 1)]
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    return [*special, *((p, -2.0 if len(p) == 1 else -3.0) for p in pieces)]


T5 = {
    "vocab_size": 256, "d_model": 256, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2,
    "feed_forward_proj": "gated-gelu",
}  # fmt: skip
KL = {**tiny.VAE, "latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False}


def t5_tokenizer() -> T5Tokenizer:
    """A tokenizer of few words and all letters."""
    return T5Tokenizer(vocab=vocabulary(), extra_ids=0)


def clip(config: Mapping[str, Any]) -> CLIPTextModelWithProjection:
    return CLIPTextModelWithProjection(CLIPTextConfig(**config)).eval()


def t5() -> T5EncoderModel:
    return T5EncoderModel(T5Config(**T5)).eval()


@dataclass(frozen=True)
class Kind:
    """A family's tiny networks by component, and its scheduler's config. `prefixes`: of components in one file."""

    family: str
    make: Callable[[], dict[str, torch.nn.Module]]
    pipeline: str
    scheduler: Mapping[str, Any] = field(default_factory=dict)
    prefixes: Mapping[str, str] = field(default_factory=dict)
    call: Callable[[torch.Tensor, float], dict[str, Any]] = lambda x, scale: {"latents": x, "guidance_scale": scale}
    """(latents, guidance scale) -> what the pipeline is told of them."""


def sd3() -> dict[str, torch.nn.Module]:
    transformer = SD3Transformer2DModel(
        sample_size=8, num_layers=2, num_attention_heads=2, attention_head_dim=64, caption_projection_dim=128,
        joint_attention_dim=256, pooled_projection_dim=64 + zoo.WIDE, pos_embed_max_size=12, dual_attention_layers=(0,),
        qk_norm="rms_norm",
    )  # fmt: skip
    vae = AutoencoderKL(**KL | {"scaling_factor": 1.5305, "shift_factor": 0.0609})
    texts = {"text_encoder": clip(zoo.CLIP_L), "text_encoder_2": clip(zoo.CLIP_G), "text_encoder_3": t5()}
    return {"transformer": transformer, "vae": vae, **texts}


def flux(guided: bool = True) -> dict[str, torch.nn.Module]:
    transformer = FluxTransformer2DModel(
        num_layers=1, num_single_layers=2, num_attention_heads=1, joint_attention_dim=256, pooled_projection_dim=64,
        guidance_embeds=guided,
    )  # fmt: skip
    vae = AutoencoderKL(**KL | {"scaling_factor": 0.3611, "shift_factor": 0.1159})
    text = CLIPTextModel(CLIPTextConfig(**zoo.CLIP_L))
    return {"transformer": transformer, "vae": vae, "text_encoder": text, "text_encoder_2": t5()}


FLUX_PREFIXES = {
    "transformer": "model.diffusion_model.", "vae": "vae.",
    "text_encoder": "text_encoders.clip_l.transformer.text_model.",
    "text_encoder_2": "text_encoders.t5xxl.transformer.",
}  # fmt: skip


VIDEO = {"base_dim": 8, "z_dim": 16}


def qwen_image() -> dict[str, torch.nn.Module]:
    transformer = QwenImageTransformer2DModel(num_layers=2, num_attention_heads=1, joint_attention_dim=128)
    text = {"vocab_size": 512, "hidden_size": 128, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 1, "num_key_value_heads": 1, "rms_norm_eps": 1e-6,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}}  # fmt: skip
    seeing = {"depth": 1, "hidden_size": 32, "num_heads": 2, "intermediate_size": 32, "out_hidden_size": 128}
    config = Qwen2_5_VLConfig(text_config=text, vision_config=seeing)
    return {"transformer": transformer, "vae": AutoencoderKLQwenImage(**VIDEO),
            "text_encoder": Qwen2_5_VLForConditionalGeneration(config)}  # fmt: skip


def qwen_tokenizer() -> Qwen2Tokenizer:
    """All bytes, pairs of some letters, and the marks of a chat."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = [("z", "e"), ("ze", "b"), ("b", "l"), ("\u0120", "a")]
    pieces = {piece: i for i, piece in enumerate([*letters, *("".join(pair) for pair in pairs)])}
    made = Qwen2Tokenizer(vocab=pieces, merges=pairs)
    made.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    return made


def wan() -> dict[str, torch.nn.Module]:
    transformer = WanTransformer3DModel(num_layers=2, num_attention_heads=1, text_dim=256, ffn_dim=64, freq_dim=32)
    text = UMT5EncoderModel(UMT5Config(**T5))
    return {"transformer": transformer, "vae": AutoencoderKLWan(**VIDEO), "text_encoder": text}


def framed(x: torch.Tensor, scale: float) -> dict[str, Any]:
    return {"latents": x[:, :, None], "guidance_scale": scale, "num_frames": 1, "max_sequence_length": 512}


def packed(x: torch.Tensor, scale: float) -> dict[str, Any]:
    return {"latents": FluxPipeline._pack_latents(x, *x.shape), "true_cfg_scale": scale}


KINDS = {
    "flux dev": Kind("flux", flux, "FluxPipeline", {"use_dynamic_shifting": True}, FLUX_PREFIXES, packed),
    "flux schnell": Kind("flux", lambda: flux(guided=False), "FluxPipeline", {"shift": 1.0}, FLUX_PREFIXES, packed),
    "qwen_image": Kind(
        "qwen_image", qwen_image, "QwenImagePipeline", {"use_dynamic_shifting": True},
        {"transformer": "model.diffusion_model.", "vae": "vae.",
         "text_encoder": "text_encoders.qwen25_7b.transformer."}, packed,
    ),
    "wan": Kind(
        "wan", wan, "WanPipeline", {"shift": 5.0},
        {"transformer": "model.diffusion_model.", "vae": "vae.",
         "text_encoder": "text_encoders.umt5xxl.transformer."}, framed,
    ),
    "sd3": Kind(
        "sd3", sd3, "StableDiffusion3Pipeline", {"shift": 3.0},
        {"transformer": "model.diffusion_model.", "vae": "first_stage_model.",
         "text_encoder": "text_encoders.clip_l.transformer.", "text_encoder_2": "text_encoders.clip_g.transformer.",
         "text_encoder_3": "text_encoders.t5xxl.transformer."},
    ),
}  # fmt: skip


@functools.cache
def networks(name: str) -> dict[str, torch.nn.Module]:
    """The random networks of a kind; their last layers, which start at zero in some, say something too."""
    torch.manual_seed(0)
    found = KINDS[name].make()
    for network in found.values():
        network.eval().requires_grad_(False)
    for parameter in found["transformer"].parameters():
        if not parameter.any() or (parameter == 1).all():
            parameter += torch.randn_like(parameter) * 0.1
    return found


@functools.cache
def tokenizer(component: str, open_clip: bool = False) -> Any:
    if component == "clip":
        return load_tokenizer(CLIP_TOKENIZER, 0 if open_clip else None)
    return t5_tokenizer() if component == "t5" else qwen_tokenizer()


def tokenizers(name: str) -> dict[str, Any]:
    """The tokenizers of a kind, by component, as pipelines take them."""
    found = {}
    for component, network in networks(name).items():
        if component.startswith("text_encoder"):
            is_clip = isinstance(network, CLIPTextModel | CLIPTextModelWithProjection)
            is_t5 = isinstance(network, T5EncoderModel | UMT5EncoderModel)
            wide = is_clip and network.config.hidden_size == zoo.WIDE
            kind = tokenizer("clip", wide) if is_clip else tokenizer("t5" if is_t5 else "qwen2")
            found[component.replace("text_encoder", "tokenizer")] = kind
    return found


def write_folder(folder: Path, name: str) -> Path:
    """Write a diffusers folder."""
    for component, network in networks(name).items():
        network.save_pretrained(folder / component)
    for component, made in tokenizers(name).items():
        if not isinstance(made, CLIPTokenizer):
            made.save_pretrained(folder / component)
        else:
            shutil.copytree(CLIP_TOKENIZER, folder / component)
            settings = folder / component / "tokenizer_config.json"
            settings.write_text(json.dumps(json.loads(settings.read_text()) | {"pad_token": made.pad_token}))
    FlowMatchEulerDiscreteScheduler(**KINDS[name].scheduler).save_pretrained(folder / "scheduler")
    names = [*networks(name), *tokenizers(name), "scheduler"]
    (folder / "model_index.json").write_text(json.dumps({c: ["diffusers", "X"] for c in names}))
    return folder


def write_file(path: Path, name: str, names: Names, components: tuple[str, ...] = ()) -> Path:
    """Write one file with published names and all `components`, by default all, and T5's tokenizer beside it."""
    kind, found, state = KINDS[name], networks(name), {}
    for component in components or tuple(found):
        plain = found[component].state_dict()
        if component == "transformer":
            plain = published(plain, names)
        elif component == "vae" and isinstance(found["vae"], AutoencoderKL):
            plain = tiny.vae_ldm_state(found["vae"])
        state |= {kind.prefixes[component] + k: v for k, v in plain.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous().clone() for k, v in state.items()}, path)
    for model in ("t5", "umt5", "qwen2"):
        folder = path.parent / "tokenizers" / model
        if not folder.is_dir():
            tokenizer(model.removeprefix("um")).save_pretrained(folder)
    return path


def published(state: Mapping[str, torch.Tensor], names: Names) -> dict[str, torch.Tensor]:
    """Weights under their published names: fused layers one below the other, swapped halves swapped back."""
    left, found = dict(state), {}
    if not names:
        return left
    for theirs, layer in names.items():
        for end in ("", ".weight", ".bias"):
            scale = ".scale" if end and theirs.endswith(("query_norm", "key_norm")) else end
            if all(ours + end in left for ours in layer.ours):
                parts = [left.pop(ours + end) for ours in layer.ours]
                parts = list(parts[0].chunk(2))[::-1] if layer.swapped else parts
                found[theirs + scale] = torch.cat(parts)
    assert not left, sorted(left)[:4]
    return found
