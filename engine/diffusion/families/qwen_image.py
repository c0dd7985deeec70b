"""Qwen-Image: text states of Qwen2.5-VL and image tokens in double blocks; guidance keeps the length of each token.

Wu et al. 2025, arXiv 2508.02324. Published files have diffusers' names already.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers import QwenImageTransformer2DModel
from tokenizers import Tokenizer
from torch import Tensor
from transformers import Qwen2_5_VLTextConfig, Qwen2_5_VLTextModel

from engine.diffusion.denoiser import Denoiser, from_x0, to_x0
from engine.diffusion.families import shapes
from engine.diffusion.families.base import Source
from engine.diffusion.families.ldm import Shapes
from engine.diffusion.families.llm_text import LlmPart, LlmText, Template, rope_theta
from engine.diffusion.families.load import Place, number
from engine.diffusion.families.names import Names
from engine.diffusion.families.tokenizer import byte_pairs
from engine.diffusion.families.transformer import (
    SizedShift,
    Transformer,
    TransformerFamily,
    flow_levels,
    packed,
    side,
    unpacked,
)
from engine.diffusion.families.video_vae import VideoPart
from engine.types import Cond

HEAD, INPUTS = 128, 64
SHIFT = SizedShift((0.5, 0.9), (256, 8192))
WORDS = "|".join((
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)", r"[^\r\n\p{L}\p{N}]?\p{L}+", r"\p{N}", r" ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+",
))  # how Qwen2 cuts a text into words before bytes are paired  # fmt: skip
TEMPLATE = Template(
    "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, quantity, text, spatial "
    "relationships of the objects and background:<|im_end|>\n<|im_start|>user\n",
    "<|im_end|>\n<|im_start|>assistant\n",
    drop=34,
    length=512,
)


@dataclass(frozen=True)
class QwenVlPart(LlmPart):
    """The decoder of Qwen2.5-VL."""

    def is_kind(self, header: Shapes, start: str) -> bool:
        """Say whether it is one of Qwen2's: with biases, and without norms of queries."""
        first = f"{start}layers.0.self_attn."
        return f"{first}q_proj.bias" in header and f"{first}q_norm.weight" not in header

    def made(self, sizes: Mapping[str, Any], config: Mapping[str, Any]) -> Any:
        """Make the module."""
        rope = {"rope_type": "default", "rope_theta": rope_theta(config, 1e6), "mrope_section": [16, 24, 24]}
        epsilon = number(config, "rms_norm_eps", 1e-6)
        return Qwen2_5_VLTextModel(Qwen2_5_VLTextConfig(**sizes, rms_norm_eps=epsilon, rope_parameters=rope))

    def tokens(self, folder: Path) -> Tokenizer:
        """Load its tokenizer."""
        return byte_pairs(folder, WORDS)


@dataclass(frozen=True, eq=False)
class QwenImage(Transformer):
    """QwenImageTransformer2DModel, told s."""

    @property
    def denoiser(self) -> Denoiser:
        """The network as D(x, sigma, cond) -> x0, guided by `restored`."""
        return Denoiser(self, self.levels, self.prediction, combine=restored)

    def predict(self, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """Return eps - x0."""
        rows, columns = x.shape[2] // 2, x.shape[3] // 2
        out: Tensor = self.module(
            packed(x),
            timestep=c_noise / 1000,
            encoder_hidden_states=cond.tokens,
            img_shapes=[[(1, rows, columns)]] * len(x),
            return_dict=False,
        )[0]
        return unpacked(out, rows, columns)


def restored(x: Tensor, sigma: float, c: Tensor, u: Tensor, scale: float) -> Tensor:
    """Guide the velocities of predictions x0 c and u, then give each token of 2 x 2 cells the length it has in c."""
    v_c, v_u = (packed(from_x0("flow", x, x0, sigma)) for x0 in (c, u))
    guided = v_u + scale * (v_c - v_u)
    guided = guided * (v_c.norm(dim=-1, keepdim=True) / guided.norm(dim=-1, keepdim=True))
    return to_x0("flow", x, unpacked(guided, x.shape[2] // 2, x.shape[3] // 2), sigma)


class QwenImageFamily(TransformerFamily):
    """The family object; see `base.Family`."""

    name = "qwen_image"
    title = "Qwen-Image architecture"
    order = 120
    network = QwenImageTransformer2DModel
    own_size = 1328
    texts = (
        QwenVlPart("text_encoder", ("text_encoders.qwen25_7b.transformer.",), template=TEMPLATE, name="qwen2",
                   origin="Qwen/Qwen2.5-VL-7B-Instruct"),
    )  # fmt: skip
    vae = VideoPart("AutoencoderKLQwenImage")
    sign = ("txt_norm.weight", "txt_norm.weight")

    def signs(self, header: Shapes, prefix: str) -> tuple[dict[str, bool], dict[str, bool]]:
        """Look for the norm of text states, double blocks, and inputs of packed latents alone."""
        signs = {
            "txt_norm.weight": f"{prefix}txt_norm.weight" in header,
            f"img_in.weight with {INPUTS} inputs": side(header, f"{prefix}img_in.weight", 1) == INPUTS,
            "transformer_blocks.0.attn.add_q_proj.weight": f"{prefix}transformer_blocks.0.attn.add_q_proj.weight"
            in header,
        }
        against = {
            "txt_in.text_norm (Qwen-Image 2.1)": f"{prefix}txt_in.text_norm.weight" in header,
            "addition_t_embedding (layers)": f"{prefix}time_text_embed.addition_t_embedding.weight" in header,
        }
        return signs, against

    def config(self, header: Shapes, prefix: str) -> dict[str, Any]:
        """Read the network's config from shapes: heads are 128 wide."""
        entry = f"{prefix}img_in.weight"
        return {
            "_class_name": "QwenImageTransformer2DModel",
            "in_channels": side(header, entry, 1),
            "out_channels": side(header, f"{prefix}proj_out.weight", 0) // 4,
            "num_layers": shapes.count(header, re.escape(prefix) + r"transformer_blocks\.(\d{1,4})\.") + 1,
            "attention_head_dim": HEAD,
            "num_attention_heads": max(1, side(header, entry, 0) // HEAD),
            "joint_attention_dim": side(header, f"{prefix}txt_in.weight", 1),
        }

    def names(self, config: Mapping[str, Any]) -> Names:
        """Return no names: they are published as diffusers has them."""
        return {}

    def completed(self, module: Any, place: Place) -> Any:
        """Compute the table of rotations by position."""
        rope = module.pos_embed
        module.pos_embed = type(rope)(rope.theta, rope.axes_dim, rope.scale_rope)
        return module

    def adapted(self, module: Any, schedule: Mapping[str, Any], source: Source) -> QwenImage:
        """Return the adapter around its network."""
        shift = SizedShift.of(schedule) if schedule else SHIFT
        factor = self.vae.latents(source).factor
        made = QwenImage(module, flow_levels(schedule, 1.0), module.config.in_channels // 4, factor, sized=shift)
        return made.at_size(self.own_size)

    def joined(self, texts: Sequence[Any]) -> LlmText:
        """Return the text encoder."""
        text: LlmText = texts[0]
        return text


FAMILY = QwenImageFamily()
