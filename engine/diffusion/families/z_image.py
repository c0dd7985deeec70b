"""Z-Image: text and image tokens in one stream, told positions by rotation; Qwen3 reads the prompt as one of a chat.

Tongyi-MAI 2025, arXiv 2511.22699. Its network is told 1 - s and answers x0 - eps.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import ZImageTransformer2DModel
from tokenizers import Tokenizer
from torch import Tensor
from transformers import Qwen3Config, Qwen3Model

from engine.diffusion.families import shapes
from engine.diffusion.families.autoencoder import KNOWN
from engine.diffusion.families.base import Source
from engine.diffusion.families.ldm import Shapes
from engine.diffusion.families.llm_text import LlmPart, LlmText, Template, rope_theta
from engine.diffusion.families.load import number, whole
from engine.diffusion.families.names import Layer, Names, fused, table
from engine.diffusion.families.qwen_image import WORDS
from engine.diffusion.families.tokenizer import byte_pairs
from engine.diffusion.families.transformer import SizedShift, Transformer, TransformerFamily, flow_levels, side
from engine.diffusion.families.vae_parts import KlPart
from engine.types import Cond

HEAD, AXES = 128, [32, 48, 48]  # width of a head, and its shares for the place in the text, row and column
PLACES = [1536, 512, 512]  # at most on each
INPUTS = 64  # 16 latent channels of 2 x 2 cells
SHIFT = 3.0
TEMPLATE = Template("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", length=512)
ONLY = "2-1"  # how diffusers calls the one way of making tokens: 2 x 2 cells of 1 frame
ENDS: dict[str, str | Layer] = {
    "x_embedder": f"all_x_embedder.{ONLY}", "final_layer.linear": f"all_final_layer.{ONLY}.linear",
    "final_layer.adaLN_modulation.1": f"all_final_layer.{ONLY}.adaLN_modulation.1", "norm_final": Layer(()),
}  # fmt: skip
ATTENTION = {"out": "to_out.0", "q_norm": "norm_q", "k_norm": "norm_k"}
STACKS = ("layers", "noise_refiner", "context_refiner")


@dataclass(frozen=True, eq=False)
class ZImage(Transformer):
    """ZImageTransformer2DModel, which takes a list of pictures of one frame (C, 1, h, w)."""

    reads: ClassVar[str] = "cap_feat_dim"

    def predict(self, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """Return eps - x0."""
        frames, texts = list(x[:, :, None]), list(cond.tokens)
        out = self.module(frames, 1 - c_noise / 1000, texts, return_dict=False)[0]
        return -torch.stack(out)[:, :, 0]


@dataclass(frozen=True)
class Qwen3Part(LlmPart):
    """Qwen3."""

    def is_kind(self, header: Shapes, start: str) -> bool:
        """Say whether it is a Qwen3: with norms of queries, and two norms in a layer."""
        first = f"{start}layers.0."
        return f"{first}self_attn.q_norm.weight" in header and f"{first}pre_feedforward_layernorm.weight" not in header

    def made(self, sizes: Mapping[str, Any], config: Mapping[str, Any]) -> Any:
        """Make the module."""
        return Qwen3Model(
            Qwen3Config(
                **sizes, head_dim=whole(config, "head_dim", HEAD), rms_norm_eps=number(config, "rms_norm_eps", 1e-6),
                rope_parameters={"rope_type": "default", "rope_theta": rope_theta(config, 1e6)},
            )
        )  # fmt: skip

    def tokens(self, folder: Path) -> Tokenizer:
        """Load its tokenizer."""
        return byte_pairs(folder, WORDS)


class ZImageFamily(TransformerFamily):
    """The family object; see `base.Family`."""

    name = "z_image"
    title = "Z-Image architecture"
    order = 150
    network = ZImageTransformer2DModel
    texts = (Qwen3Part("text_encoder", ("text_encoders.qwen3_4b.transformer.",), template=TEMPLATE, layer=-2,
                       name="qwen3", origin="Qwen/Qwen3-4B"),)  # fmt: skip
    vae = KlPart(KNOWN["flux"])
    sign = ("layers.0.attention.qkv.weight", "layers.0.attention.to_q.weight")

    def signs(self, header: Shapes, prefix: str) -> tuple[dict[str, bool], dict[str, bool]]:
        """Look for a stream with modulations of one layer, tokens for padding, and inputs of packed latents alone."""
        entry = f"{prefix}x_embedder.weight"
        entry = entry if entry in header else f"{prefix}all_x_embedder.{ONLY}.weight"
        signs = {
            "layers.0.adaLN_modulation.0.weight": f"{prefix}layers.0.adaLN_modulation.0.weight" in header,
            "x_pad_token": f"{prefix}x_pad_token" in header,
            "noise_refiner": any(key.startswith(f"{prefix}noise_refiner.0.") for key in header),
            f"x_embedder.weight with {INPUTS} inputs": side(header, entry, 1) == INPUTS,
        }
        against = {
            "siglip_embedder (Omni)": f"{prefix}siglip_embedder.1.weight" in header,
            "a ControlNet": any(key.startswith(f"{prefix}control_") for key in header),
        }
        return signs, against

    def folder_signs(self, config: Mapping[str, Any]) -> tuple[dict[str, bool], dict[str, bool]]:
        """Look for what reads pictures."""
        return {}, {"siglip_feat_dim (Omni)": bool(config.get("siglip_feat_dim"))}

    def config(self, header: Shapes, prefix: str) -> dict[str, Any]:
        """Read the network's config from shapes: heads are 128 wide."""
        published = prefix + self.sign[0] in header
        entry = f"{prefix}{'x_embedder' if published else f'all_x_embedder.{ONLY}'}.weight"
        norm = "q_norm" if published else "norm_q"
        heads = max(1, side(header, entry, 0) // HEAD)
        return {
            "_class_name": "ZImageTransformer2DModel",
            "in_channels": side(header, entry, 1) // 4,
            "dim": side(header, entry, 0),
            "n_layers": shapes.count(header, re.escape(prefix) + r"layers\.(\d{1,4})\.") + 1,
            "n_refiner_layers": shapes.count(header, re.escape(prefix) + r"noise_refiner\.(\d{1,4})\.") + 1,
            "n_heads": heads,
            "n_kv_heads": heads,
            "qk_norm": f"{prefix}layers.0.attention.{norm}.weight" in header,
            "cap_feat_dim": side(header, f"{prefix}cap_embedder.1.weight", 1),
            "axes_dims": AXES,
            "axes_lens": PLACES,
        }

    def names(self, config: Mapping[str, Any]) -> Names:
        """Return its layers' published names."""
        return table(_names(int(config["n_layers"]), int(config["n_refiner_layers"])))

    def adapted(self, module: Any, schedule: Mapping[str, Any], source: Source) -> ZImage:
        """Return the adapter around its network."""
        factor = self.vae.latents(source).factor
        shift = SizedShift.of(schedule)
        made = ZImage(module, flow_levels(schedule, SHIFT), module.config.in_channels, factor, sized=shift)
        return made if shift is None else made.at_size(self.own_size)

    def joined(self, texts: Sequence[Any]) -> LlmText:
        """Return the text encoder."""
        text: LlmText = texts[0]
        return text


def _names(layers: int, refiners: int) -> Iterator[tuple[str, str | Layer]]:
    yield from ENDS.items()
    for stack, count in zip(STACKS, (layers, refiners, refiners), strict=True):
        for i in range(count):
            start = f"{stack}.{i}.attention."
            yield f"{start}qkv", fused(start, ("to_q", "to_k", "to_v"))
            yield from ((start + a, start + b) for a, b in ATTENTION.items())


FAMILY = ZImageFamily()
