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
    AutoencoderDC,
    AutoencoderKL,
    AutoencoderKLQwenImage,
    AutoencoderKLWan,
    FluxPipeline,
    FluxTransformer2DModel,
    PixArtTransformer2DModel,
    QwenImageTransformer2DModel,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    WanTransformer3DModel,
    ZImageTransformer2DModel,
)
from safetensors.torch import save_file
from tokenizers import pre_tokenizers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizer,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3Model,
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
    """A family's tiny networks by component, and its scheduler's config. `prefixes`: of components in one file.

    `unread`: shapes of what its published file holds beside; `negative`: options with which the pipeline's negative
    prompt is read; `same`: beginnings of keys that its published file and diffusers write alike.
    """

    family: str
    make: Callable[[], dict[str, torch.nn.Module]]
    pipeline: str
    scheduler: Mapping[str, Any] = field(default_factory=dict)
    prefixes: Mapping[str, str] = field(default_factory=dict)
    call: Callable[[torch.Tensor, float], dict[str, Any]] = lambda x, scale: {"latents": x, "guidance_scale": scale}
    """(latents, guidance scale) -> what the pipeline is told of them."""
    unread: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    negative: Mapping[str, Any] = field(default_factory=dict)
    same: tuple[str, ...] = ()


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
    made.chat_template = (
        "{% for said in messages %}<|im_start|>{{ said.role }}\n{{ said.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    return made


def wan() -> dict[str, torch.nn.Module]:
    transformer = WanTransformer3DModel(num_layers=2, num_attention_heads=1, text_dim=256, ffn_dim=64, freq_dim=512)
    text = UMT5EncoderModel(UMT5Config(**T5))
    return {"transformer": transformer, "vae": AutoencoderKLWan(**VIDEO), "text_encoder": text}


def pixart(cells: int, sized: bool, scale: float) -> dict[str, torch.nn.Module]:
    transformer = PixArtTransformer2DModel(
        num_attention_heads=2, num_layers=2, cross_attention_dim=144, sample_size=cells, caption_channels=256,
        use_additional_conditions=sized,
    )  # fmt: skip
    vae = AutoencoderKL(**tiny.VAE | {"scaling_factor": scale})
    return {"transformer": transformer, "vae": vae, "text_encoder": t5()}


def unbinned(x: torch.Tensor, scale: float) -> dict[str, Any]:
    return {"latents": x, "guidance_scale": scale, "use_resolution_binning": False, "clean_caption": False}


def sana() -> dict[str, torch.nn.Module]:
    transformer = SanaTransformer2DModel(
        num_attention_heads=7, num_cross_attention_heads=2, cross_attention_dim=224, num_layers=2, caption_channels=64
    )
    levels = {"block_out_channels": (16, 16, 32), "layers_per_block": (1, 1, 1), "qkv_multiscales": ((), (), (5,)),
              "block_types": ("ResBlock", "ResBlock", "EfficientViTBlock")}  # fmt: skip
    sides = {f"{side}_{name}": value for name, value in levels.items() for side in ("encoder", "decoder")}
    vae = AutoencoderDC(scaling_factor=0.41407, **sides)
    text = Gemma2Config(vocab_size=512, hidden_size=64, intermediate_size=64, num_hidden_layers=2,
                        num_attention_heads=1, num_key_value_heads=1)  # fmt: skip
    return {"transformer": transformer, "vae": vae, "text_encoder": Gemma2Model(text)}


def gemma_tokenizer() -> GemmaTokenizer:
    """Some words, letters, and bytes for all others."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    letters = [*(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", "\n", *(chr(c) for c in range(33, 127))]
    pairs = [("z", "e"), ("ze", "b"), ("b", "l"), ("\u2581", "a"), ("\u2581", "o")]
    pieces = {piece: i for i, piece in enumerate([*special, *letters, *("".join(pair) for pair in pairs)])}
    made = GemmaTokenizer(vocab=pieces, merges=pairs)
    made.add_bos_token = True
    return made


def z_image() -> dict[str, torch.nn.Module]:
    transformer = ZImageTransformer2DModel(
        dim=128, n_layers=2, n_refiner_layers=1, n_heads=1, n_kv_heads=1, cap_feat_dim=128
    )
    vae = AutoencoderKL(**KL | {"scaling_factor": 0.3611, "shift_factor": 0.1159})
    text = Qwen3Config(
        vocab_size=512, hidden_size=128, intermediate_size=64, num_hidden_layers=3, num_attention_heads=1,
        num_key_value_heads=1, head_dim=128, rope_parameters={"rope_type": "default", "rope_theta": 1e6},
    )  # fmt: skip
    return {"transformer": transformer, "vae": vae, "text_encoder": Qwen3Model(text)}


def z_image_guided(x: torch.Tensor, scale: float) -> dict[str, Any]:
    """Its pipeline counts from the prediction with the prompt: c + s (c - u)."""
    return {"latents": x, "guidance_scale": scale - 1}


def framed(x: torch.Tensor, scale: float) -> dict[str, Any]:
    return {"latents": x[:, :, None], "guidance_scale": scale, "num_frames": 1, "max_sequence_length": 512}


def packed(x: torch.Tensor, scale: float) -> dict[str, Any]:
    return {"latents": FluxPipeline._pack_latents(x, *x.shape), "true_cfg_scale": scale}


LINEAR = {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}
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
    "pixart sigma": Kind(
        "pixart_sigma", lambda: pixart(64, False, 0.13025), "PixArtSigmaPipeline", LINEAR,
        {"transformer": "model.diffusion_model.", "vae": "vae.", "text_encoder": "text_encoders.t5xxl.transformer."},
        unbinned,
        {"pos_embed": (1, 32 * 32, 144), "y_embedder.y_embedding": (300, 256)},
    ),
    "pixart alpha": Kind(
        "pixart_alpha", lambda: pixart(128, True, 0.18215), "PixArtAlphaPipeline", LINEAR,
        {"transformer": "model.diffusion_model.", "vae": "vae.", "text_encoder": "text_encoders.t5xxl.transformer."},
        unbinned,
        {"pos_embed": (1, 64 * 64, 144), "y_embedder.y_embedding": (120, 256)},
    ),
    "sana": Kind(
        "sana", sana, "SanaPipeline", {"flow_shift": 3.0},
        {"transformer": "model.diffusion_model.", "text_encoder": "text_encoders.gemma2_2b.transformer."}, unbinned,
        {"pos_embed": (1, 32 * 32, 224), "y_embedder.y_embedding": (300, 64)}, {"instructed": False},
    ),
    "z_image": Kind(
        "z_image", z_image, "ZImagePipeline", {"shift": 3.0},
        {"transformer": "model.diffusion_model.", "vae": "vae.", "text_encoder": "text_encoders.qwen3_4b.transformer."},
        z_image_guided, same=("cap_", "x_pad_token", "t_embedder", "layers", "noise_refiner", "context_refiner"),
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
    return {"t5": t5_tokenizer, "qwen": qwen_tokenizer, "gemma": gemma_tokenizer}[component]()


ENCODERS = {
    "t5": T5EncoderModel | UMT5EncoderModel, "qwen": Qwen2_5_VLForConditionalGeneration | Qwen3Model,
    "gemma": Gemma2Model,
}  # fmt: skip
TOKENIZERS = {"t5": "t5", "umt5": "t5", "qwen2": "qwen", "qwen3": "qwen", "gemma2": "gemma"}
"""Folder beside files -> which tokenizer."""


def tokenizers(name: str) -> dict[str, Any]:
    """The tokenizers of a kind, by component, as pipelines take them."""
    found = {}
    for component, network in networks(name).items():
        if component.startswith("text_encoder"):
            is_clip = isinstance(network, CLIPTextModel | CLIPTextModelWithProjection)
            other = next((n for n, cls in ENCODERS.items() if isinstance(network, cls)), "")
            wide = is_clip and network.config.hidden_size == zoo.WIDE
            kind = tokenizer("clip", wide) if is_clip else tokenizer(other)
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
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(KINDS[name].scheduler))
    names = {c: ["diffusers", "X"] for c in [*networks(name), *tokenizers(name), "scheduler"]}
    (folder / "model_index.json").write_text(json.dumps({"_class_name": KINDS[name].pipeline, **names}))
    return folder


def write_file(path: Path, name: str, names: Names, components: tuple[str, ...] = ()) -> Path:
    """Write one file with published names and `components`, by default all that it may hold, and tokenizers beside."""
    kind, found, state = KINDS[name], networks(name), {}
    for component in components or tuple(kind.prefixes):
        plain = found[component].state_dict()
        if component == "transformer":
            plain = published(plain, names, kind.same) | {key: torch.zeros(shape) for key, shape in kind.unread.items()}
        elif component == "vae" and isinstance(found["vae"], AutoencoderKL):
            plain = tiny.vae_ldm_state(found["vae"])
        state |= {kind.prefixes[component] + k: v for k, v in plain.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous().clone() for k, v in state.items()}, path)
    for model, made in TOKENIZERS.items():
        folder = path.parent / "tokenizers" / model
        if not folder.is_dir():
            tokenizer(made).save_pretrained(folder)
    return path


def published(state: Mapping[str, torch.Tensor], names: Names, same: tuple[str, ...] = ()) -> dict[str, torch.Tensor]:
    """Weights under their published names: fused layers one below the other, swapped halves swapped back."""
    left, found = dict(state), {}
    if not names:
        return left
    for theirs, layer in names.items():
        for end in ("", ".weight", ".bias"):
            scale = ".scale" if end and theirs.endswith(("query_norm", "key_norm")) else end
            if layer.ours and all(ours + end in left for ours in layer.ours):
                parts = [left.pop(ours + end) for ours in layer.ours]
                parts = list(parts[0].chunk(2))[::-1] if layer.swapped else parts
                found[theirs + scale] = torch.cat(parts)
    assert all(key.startswith(same) for key in left), sorted(left)[:4]
    return found | left
