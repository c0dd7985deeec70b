"""Flux.1: text and image tokens in double, then in single blocks, told positions by rotation; CLIP-L and T5 are read.

Black Forest Labs 2024; the layout is that of their files: `double_blocks`, `single_blocks`. Latents are packed 2 x 2
into tokens. `dev` is distilled with guidance as an input, `schnell` to few steps.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from diffusers import FluxTransformer2DModel
from torch import Tensor

from engine.diffusion.families import shapes
from engine.diffusion.families.autoencoder import KNOWN
from engine.diffusion.families.base import Source
from engine.diffusion.families.clip_t5 import ClipAndT5
from engine.diffusion.families.ldm import Shapes
from engine.diffusion.families.names import Layer, Names, fused, table
from engine.diffusion.families.t5_text import T5Part
from engine.diffusion.families.text_parts import ClipPart
from engine.diffusion.families.transformer import (
    SizedShift,
    Transformer,
    TransformerFamily,
    flow_levels,
    packed,
    side,
    unpacked,
)  # fmt: skip
from engine.diffusion.families.vae_parts import KlPart
from engine.diffusion.text import encode
from engine.types import Cond

HEAD = 128
INPUTS = 64  # 16 latent channels of 2 x 2 cells
GUIDANCE = 3.5  # what dev is told if nobody says otherwise
SHIFT = SizedShift()
TEXTS = (
    ClipPart("text_encoder", ("text_encoders.clip_l.transformer.",)),
    T5Part("text_encoder_2", ("text_encoders.t5xxl.transformer.",), length=512),
)
ENDS = {
    "img_in": "x_embedder", "txt_in": "context_embedder", "final_layer.linear": "proj_out",
    **{f"{theirs}.{a}_layer": f"time_text_embed.{ours}_embedder.linear_{b}"
       for theirs, ours in (("time_in", "timestep"), ("vector_in", "text"), ("guidance_in", "guidance"))
       for a, b in (("in", 1), ("out", 2))},
}  # fmt: skip
DOUBLE = {
    "img_mod.lin": "norm1.linear", "txt_mod.lin": "norm1_context.linear", "img_attn.proj": "attn.to_out.0",
    "txt_attn.proj": "attn.to_add_out", "img_attn.norm.query_norm": "attn.norm_q",
    "img_attn.norm.key_norm": "attn.norm_k", "txt_attn.norm.query_norm": "attn.norm_added_q",
    "txt_attn.norm.key_norm": "attn.norm_added_k", "img_mlp.0": "ff.net.0.proj", "img_mlp.2": "ff.net.2",
    "txt_mlp.0": "ff_context.net.0.proj", "txt_mlp.2": "ff_context.net.2",
}  # fmt: skip
SINGLE = {
    "modulation.lin": "norm.linear", "linear2": "proj_out", "norm.query_norm": "attn.norm_q",
    "norm.key_norm": "attn.norm_k",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Flux(Transformer):
    """FluxTransformer2DModel, told s; `cond.extra["guidance"]` is what a distilled one is told to follow."""

    def predict(self, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """Return eps - x0."""
        rows, columns = x.shape[2] // 2, x.shape[3] // 2
        guided = self.module.config.guidance_embeds
        guidance = x.new_full((len(x),), float(cond.extra.get("guidance", GUIDANCE))) if guided else None
        out: Tensor = self.module(
            packed(x),
            timestep=c_noise / 1000,
            guidance=guidance,
            encoder_hidden_states=cond.tokens,
            pooled_projections=cond.pooled,
            txt_ids=x.new_zeros(cond.tokens.shape[1], 3),
            img_ids=places(rows, columns).to(x.device),
            return_dict=False,
        )[0]
        return unpacked(out, rows, columns)


def places(rows: int, columns: int) -> Tensor:
    """Return (0, row, column) of each token, (rows columns, 3)."""
    grid = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).reshape(-1, 2)
    return torch.cat([torch.zeros(len(grid), 1), grid], 1)


@dataclass(frozen=True, eq=False)
class FluxText(ClipAndT5):
    """T5's states, and CLIP's pooled state."""

    def condition(self, prompt: str, *, skip: int | None = None) -> Cond:
        """Turn a prompt into a condition: tokens (1, 512, 4096), pooled (1, 768)."""
        assert self.line is not None
        pooled = encode(self.encoders[0], prompt, skip=skip).pooled
        return Cond(self.line.read(prompt)[0], pooled)


class Flux1(TransformerFamily):
    """The family object; see `base.Family`."""

    name = "flux"
    title = "Flux.1 architecture"
    order = 110
    network = FluxTransformer2DModel
    texts = TEXTS
    vae = KlPart(KNOWN["flux"])
    sign = ("double_blocks.0.img_attn.norm.key_norm.scale", "single_transformer_blocks.0.proj_mlp.weight")
    leaves: ClassVar[Mapping[str, str]] = {"scale": "weight"}

    def signs(self, header: Shapes, prefix: str) -> tuple[dict[str, bool], dict[str, bool]]:
        """Look for double and single blocks, and for inputs of packed latents alone."""
        published = prefix + self.sign[0] in header
        entry = f"{prefix}{'img_in' if published else 'x_embedder'}.weight"
        pooled = f"{prefix}{'vector_in.in_layer' if published else 'time_text_embed.text_embedder.linear_1'}.weight"
        signs = {
            "double_blocks.0.img_attn.norm.key_norm.scale": any(prefix + key in header for key in self.sign),
            f"img_in.weight with {INPUTS} inputs": side(header, entry, 1) == INPUTS,
            "vector_in, for pooled text": pooled in header,
        }
        against = {
            "distilled_guidance_layer (Chroma)": f"{prefix}distilled_guidance_layer.in_proj.weight" in header,
            "single_stream_modulation (Flux.2)": f"{prefix}single_stream_modulation.lin.weight" in header,
            f"{side(header, entry, 1)} inputs (Fill, Canny or Depth)": side(header, entry, 1) > INPUTS,
        }
        return signs, against

    def folder_signs(self, config: Mapping[str, Any]) -> tuple[dict[str, bool], dict[str, bool]]:
        """Look for inputs of packed latents alone."""
        return {f"transformer/config.json: in_channels {INPUTS}": config.get("in_channels") == INPUTS}, {}

    def config(self, header: Shapes, prefix: str) -> dict[str, Any]:
        """Read the network's config from shapes: heads are 128 wide."""
        published = prefix + self.sign[0] in header
        entry, text, pooled, guidance, double, single = (
            ("img_in", "txt_in", "vector_in.in_layer", "guidance_in.", "double_blocks", "single_blocks") if published
            else ("x_embedder", "context_embedder", "time_text_embed.text_embedder.linear_1",
                  "time_text_embed.guidance_embedder.", "transformer_blocks", "single_transformer_blocks")
        )  # fmt: skip
        return {
            "_class_name": "FluxTransformer2DModel",
            "in_channels": side(header, f"{prefix}{entry}.weight", 1),
            "num_layers": shapes.count(header, re.escape(f"{prefix}{double}.") + r"(\d{1,4})\.") + 1,
            "num_single_layers": shapes.count(header, re.escape(f"{prefix}{single}.") + r"(\d{1,4})\.") + 1,
            "attention_head_dim": HEAD,
            "num_attention_heads": max(1, side(header, f"{prefix}{entry}.weight", 0) // HEAD),
            "joint_attention_dim": side(header, f"{prefix}{text}.weight", 1),
            "pooled_projection_dim": side(header, f"{prefix}{pooled}.weight", 1),
            "guidance_embeds": any(key.startswith(prefix + guidance) for key in header),
        }

    def names(self, config: Mapping[str, Any]) -> Names:
        """Return its layers' published names."""
        return table(_names(int(config["num_layers"]), int(config["num_single_layers"])))

    def adapted(self, module: Any, schedule: Mapping[str, Any], source: Source) -> Flux:
        """Return the adapter around its network; schnell's shift does not follow the size."""
        guided = bool(module.config.guidance_embeds)
        shift = SizedShift.of(schedule) if schedule else SHIFT if guided else None
        latents = self.vae.latents(source)
        flux = Flux(module, flow_levels(schedule, 1.0), module.config.in_channels // 4, latents.factor, sized=shift)
        return flux.at_size(self.own_size)

    def joined(self, texts: Sequence[Any]) -> FluxText:
        """Return the text encoders as one."""
        return FluxText.of(*texts)


def _names(double: int, single: int) -> Iterator[tuple[str, str | Layer]]:
    yield from ENDS.items()
    yield "final_layer.adaLN_modulation.1", Layer(("norm_out.linear",), swapped=True)
    for i in range(double):
        theirs, ours = f"double_blocks.{i}.", f"transformer_blocks.{i}."
        yield f"{theirs}img_attn.qkv", fused(f"{ours}attn.", ("to_q", "to_k", "to_v"))
        yield f"{theirs}txt_attn.qkv", fused(f"{ours}attn.", ("add_q_proj", "add_k_proj", "add_v_proj"))
        yield from ((theirs + a, ours + b) for a, b in DOUBLE.items())
    for i in range(single):
        theirs, ours = f"single_blocks.{i}.", f"single_transformer_blocks.{i}."
        yield f"{theirs}linear1", fused(ours, ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"), (1, 1, 1, 4))
        yield from ((theirs + a, ours + b) for a, b in SINGLE.items())


FAMILY = Flux1()
