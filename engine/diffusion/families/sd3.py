"""Stable Diffusion 3 and 3.5: text and image tokens attend to one another; CLIP-L, CLIP bigG and T5 are read.

Esser et al. 2024, arXiv 2403.03206. Published files name blocks `joint_blocks`, of which `x_block` is the image's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import SD3Transformer2DModel
from torch import Tensor
from torch.nn.functional import pad

from engine.diffusion.families import shapes
from engine.diffusion.families.autoencoder import KNOWN
from engine.diffusion.families.base import Source
from engine.diffusion.families.clip_pair import ClipPair
from engine.diffusion.families.clip_t5 import ClipAndT5
from engine.diffusion.families.clip_text import Reading
from engine.diffusion.families.ldm import Shapes
from engine.diffusion.families.names import Layer, Names, fused, table
from engine.diffusion.families.t5_text import T5Part
from engine.diffusion.families.text_parts import ClipPart
from engine.diffusion.families.transformer import Transformer, TransformerFamily, flow_levels, side
from engine.diffusion.families.vae_parts import KlPart
from engine.diffusion.text import encode
from engine.types import Cond

HEAD = 64
SHIFT = 3.0
T5_LENGTH, T5_WIDTH = 256, 4096
READING = Reading(skip=2, norm=False, projected=True)
TEXTS = (
    ClipPart("text_encoder", ("text_encoders.clip_l.transformer.",), reading=READING),
    ClipPart("text_encoder_2", ("text_encoders.clip_g.transformer.",), width=1280, act="gelu", reading=READING, pad=0),
    T5Part("text_encoder_3", ("text_encoders.t5xxl.transformer.",), optional=True, length=T5_LENGTH),
)
ENDS = {
    "x_embedder.proj": "pos_embed.proj", "t_embedder.mlp.0": "time_text_embed.timestep_embedder.linear_1",
    "t_embedder.mlp.2": "time_text_embed.timestep_embedder.linear_2",
    "y_embedder.mlp.0": "time_text_embed.text_embedder.linear_1",
    "y_embedder.mlp.2": "time_text_embed.text_embedder.linear_2", "context_embedder": "context_embedder",
    "final_layer.linear": "proj_out",
}  # fmt: skip
IMAGE = {"attn.proj": "attn.to_out.0", "attn.ln_q": "attn.norm_q", "attn.ln_k": "attn.norm_k",
         "attn2.proj": "attn2.to_out.0", "attn2.ln_q": "attn2.norm_q", "attn2.ln_k": "attn2.norm_k",
         "adaLN_modulation.1": "norm1.linear", "mlp.fc1": "ff.net.0.proj", "mlp.fc2": "ff.net.2"}  # fmt: skip
TEXT = {"attn.proj": "attn.to_add_out", "attn.ln_q": "attn.norm_added_q", "attn.ln_k": "attn.norm_added_k",
        "adaLN_modulation.1": "norm1_context.linear", "mlp.fc1": "ff_context.net.0.proj",
        "mlp.fc2": "ff_context.net.2"}  # fmt: skip


@dataclass(frozen=True, eq=False)
class SD3(Transformer):
    """SD3Transformer2DModel, told 1000 s; `cond.tokens` are states of CLIP, padded, then of T5."""

    def predict(self, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """Return eps - x0."""
        out: Tensor = self.module(
            x, timestep=c_noise, encoder_hidden_states=cond.tokens, pooled_projections=cond.pooled, return_dict=False
        )[0]
        return out


@dataclass(frozen=True, eq=False)
class SD3Text(ClipAndT5):
    """CLIP-L and bigG, joined by width and padded with zeros, then T5's states, or zeros without T5."""

    def condition(self, prompt: str, *, skip: int | None = None) -> Cond:
        """Turn a prompt into a condition: tokens (1, 77 k + 256, 4096), pooled (1, 768 + 1280)."""
        clips = [encode(each, prompt, skip=skip) for each in self.encoders]
        both = torch.cat([clip.tokens for clip in clips], -1)  # (1, 77 k, 768 + 1280)
        states = torch.zeros(1, T5_LENGTH, T5_WIDTH) if self.line is None else self.line.read(prompt)[0]
        tokens = torch.cat([pad(both, (0, states.shape[-1] - both.shape[-1])), states], 1)
        return Cond(tokens, torch.cat([clip.pooled for clip in clips], -1))


class StableDiffusion3(TransformerFamily):
    """The family object; see `base.Family`."""

    name = "sd3"
    title = "Stable Diffusion 3 architecture"
    order = 100
    network = SD3Transformer2DModel
    texts = TEXTS
    vae = KlPart(KNOWN["sd3"])
    sign = ("joint_blocks.0.context_block.attn.qkv.weight", "time_text_embed.text_embedder.linear_1.weight")

    def signs(self, header: Shapes, prefix: str) -> tuple[dict[str, bool], dict[str, bool]]:
        """Look for joint blocks, and latents of 16 channels."""
        published = prefix + self.sign[0] in header
        entry = f"{prefix}x_embedder.proj.weight" if published else f"{prefix}pos_embed.proj.weight"
        signs = {
            "joint_blocks.0.context_block.attn.qkv.weight": published
            or f"{prefix}transformer_blocks.0.attn.add_q_proj.weight" in header,
            "x_embedder.proj.weight with 16 inputs": side(header, entry, 1) == 16,
            "pos_embed": f"{prefix}pos_embed" in header or f"{prefix}pos_embed.pos_embed" in header,
        }
        return signs, {"a ControlNet": any("controlnet" in key for key in header)}

    def config(self, header: Shapes, prefix: str) -> dict[str, Any]:
        """Read the network's config from shapes: heads are 64 wide, and 3.5 norms queries and keys."""
        published = prefix + self.sign[0] in header
        block = f"{prefix}joint_blocks." if published else f"{prefix}transformer_blocks."
        proj = f"{prefix}x_embedder.proj.weight" if published else f"{prefix}pos_embed.proj.weight"
        table_key = f"{prefix}pos_embed" if published else f"{prefix}pos_embed.pos_embed"
        second, norm = ("x_block.attn2.", "x_block.attn.ln_q") if published else ("attn2.", "attn.norm_q")
        pooled = "y_embedder.mlp.0" if published else "time_text_embed.text_embedder.linear_1"
        last = "final_layer.linear" if published else "proj_out"
        patch, width = max(1, side(header, proj, 2)), side(header, proj, 0)
        layers = shapes.count(header, re.escape(block) + r"(\d{1,4})\.") + 1
        return {
            "_class_name": "SD3Transformer2DModel",
            "sample_size": 128,
            "patch_size": patch,
            "in_channels": side(header, proj, 1),
            "out_channels": side(header, f"{prefix}{last}.weight", 0) // patch**2,
            "num_layers": layers,
            "attention_head_dim": HEAD,
            "num_attention_heads": max(1, width // HEAD),
            "joint_attention_dim": side(header, f"{prefix}context_embedder.weight", 1),
            "caption_projection_dim": side(header, f"{prefix}context_embedder.weight", 0),
            "pooled_projection_dim": side(header, f"{prefix}{pooled}.weight", 1),
            "pos_embed_max_size": math.isqrt(side(header, table_key, 1)),
            "dual_attention_layers": [
                i for i in range(layers) if any(k.startswith(f"{block}{i}.{second}") for k in header)
            ],
            "qk_norm": "rms_norm" if f"{block}0.{norm}.weight" in header else None,
        }

    def names(self, config: Mapping[str, Any]) -> Names:
        """Return its layers' published names."""
        return table(_names(int(config["num_layers"])))

    def adapted(self, module: Any, schedule: Mapping[str, Any], source: Source) -> SD3:
        """Return the adapter around its network."""
        config = module.config
        latents = self.vae.latents(source)
        return SD3(module, flow_levels(schedule, SHIFT), config.in_channels, latents.factor, config.patch_size)

    def joined(self, texts: Sequence[Any]) -> SD3Text:
        """Return the text encoders as one."""
        return SD3Text.of(ClipPair.of(*texts[:2]), texts[2])


def _names(layers: int) -> Iterator[tuple[str, str | Layer]]:
    yield from ENDS.items()
    yield "pos_embed", "pos_embed.pos_embed"
    yield "final_layer.adaLN_modulation.1", Layer(("norm_out.linear",), swapped=True)
    for i in range(layers):
        theirs, ours = f"joint_blocks.{i}.", f"transformer_blocks.{i}."
        for attn in ("attn", "attn2"):
            yield f"{theirs}x_block.{attn}.qkv", fused(f"{ours}{attn}.", ("to_q", "to_k", "to_v"))
        yield f"{theirs}context_block.attn.qkv", fused(f"{ours}attn.", ("add_q_proj", "add_k_proj", "add_v_proj"))
        yield from ((f"{theirs}x_block.{a}", ours + b) for a, b in IMAGE.items())
        yield from ((f"{theirs}context_block.{a}", ours + b) for a, b in TEXT.items())
    last = f"joint_blocks.{layers - 1}.context_block.adaLN_modulation.1"
    yield last, Layer((f"transformer_blocks.{layers - 1}.norm1_context.linear",), swapped=True)


FAMILY = StableDiffusion3()
