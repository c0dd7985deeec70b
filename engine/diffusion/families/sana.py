"""SANA: linear attention over cells of 32 x 32 pixels; Gemma 2 reads a prompt behind an instruction to embellish it.

Xie et al. 2024, arXiv 2410.10629 (1.0) and 2025, arXiv 2501.18427 (1.5, which norms queries and keys).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import SanaTransformer2DModel
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.functional import pad
from transformers import Gemma2Config, Gemma2Model

from engine.diffusion import levels as noise_levels
from engine.diffusion.families import shapes
from engine.diffusion.families.autoencoder import LatentFormat
from engine.diffusion.families.base import Source
from engine.diffusion.families.ldm import Shapes
from engine.diffusion.families.llm_text import LlmPart, LlmText, rope_theta
from engine.diffusion.families.load import Place, number, whole
from engine.diffusion.families.names import Layer, Names, crossed
from engine.diffusion.families.text_parts import refuse_skip
from engine.diffusion.families.tokenizer import BEGIN, spaced_pairs
from engine.diffusion.families.transformer import Transformer, TransformerFamily, positioned, side
from engine.diffusion.families.vae_parts import KlPart
from engine.types import Cond

HEAD, READING_HEADS = 32, (112, 72)  # widths of self- and of cross-attention's heads, the first that divides
CELLS = 32  # channels of a latent cell
SHIFT = 3.0
LENGTH = 300
STRETCH = {64: 1.0, 128: 2.0}  # only networks made for 2048 and 4096 pixels are told positions
INSTRUCTION = "\n".join(
    [
        "Given a user prompt, generate an 'Enhanced prompt' that provides detailed visual descriptions suitable for "
        "image generation. Evaluate the level of detail in the user prompt:",
        "- If the prompt is simple, focus on adding specifics about colors, shapes, sizes, textures, and spatial "
        "relationships to create vivid and concrete scenes.",
        "- If the prompt is already detailed, refine and enhance the existing details slightly without "
        "overcomplicating.",
        "Here are examples of how to transform or refine prompts:",
        "- User Prompt: A cat sleeping -> Enhanced: A small, fluffy white cat curled up in a round shape, sleeping "
        "peacefully on a warm sunny windowsill, surrounded by pots of blooming red flowers.",
        "- User Prompt: A busy city street -> Enhanced: A bustling city street scene at dusk, featuring glowing street "
        "lamps, a diverse crowd of people in colorful clothing, and a double-decker bus passing by towering glass "
        "skyscrapers.",
        "Please generate only the enhanced description for the prompt below and avoid including any additional "
        "commentary or evaluations:",
        "User Prompt: ",
    ]
)
"""What the model was trained to read before a prompt, word for word."""

ENDS: dict[str, str | Layer] = {
    "x_embedder.proj": "patch_embed.proj", "t_embedder.mlp.0": "time_embed.emb.timestep_embedder.linear_1",
    "t_embedder.mlp.2": "time_embed.emb.timestep_embedder.linear_2", "t_block.1": "time_embed.linear",
    "y_embedder.y_proj.fc1": "caption_projection.linear_1", "y_embedder.y_proj.fc2": "caption_projection.linear_2",
    "attention_y_norm": "caption_norm", "final_layer.linear": "proj_out",
    "final_layer.scale_shift_table": "scale_shift_table", "y_embedder.y_embedding": Layer(()), "pos_embed": Layer(()),
}  # fmt: skip
BLOCK = {
    "scale_shift_table": "scale_shift_table", "attn.proj": "attn1.to_out.0", "attn.q_norm": "attn1.norm_q",
    "attn.k_norm": "attn1.norm_k", "cross_attn.q_linear": "attn2.to_q", "cross_attn.proj": "attn2.to_out.0",
    "cross_attn.q_norm": "attn2.norm_q", "cross_attn.k_norm": "attn2.norm_k",
    "mlp.inverted_conv.conv": "ff.conv_inverted", "mlp.depth_conv.conv": "ff.conv_depth",
    "mlp.point_conv.conv": "ff.conv_point",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Sana(Transformer):
    """SanaTransformer2DModel, told 1000 s times a factor of its own."""

    reads: ClassVar[str] = "caption_channels"

    def predict(self, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """Return eps - x0."""
        out: Tensor = self.module(
            x,
            encoder_hidden_states=cond.tokens,
            timestep=c_noise * self.module.config.timestep_scale,
            encoder_attention_mask=cond.extra.get("mask"),
            return_dict=False,
        )[0]
        return out[:, : self.channels]


@dataclass(frozen=True, eq=False)
class SanaText(LlmText):
    """Gemma 2. `instructed`: whether a prompt that says something is read behind the instruction."""

    instructed: bool = True

    def condition(self, prompt: str, *, skip: int | None = None) -> Cond:
        """Turn a prompt into a condition: tokens (1, 300, D) without the instruction's, and `mask` (1, 300)."""
        refuse_skip(skip)
        text = prompt.lower().strip()
        before = INSTRUCTION if text and self.instructed else ""
        skipped = len(self._ids(before)) or 1
        ids = [*self._ids(BEGIN), *self._ids(before + text)][: skipped + LENGTH - 1]
        states = self._states(ids)[:, [0, *range(skipped, len(ids))]]  # (1, k, D)
        fill = LENGTH - states.shape[1]
        mask = torch.tensor([[1] * states.shape[1] + [0] * fill])
        return Cond(pad(states, (0, 0, 0, fill)), extra={"mask": mask})

    def configured(self, options: Mapping[str, Any]) -> SanaText:
        """Return this network with what a Clip's options say: `instructed`."""
        return replace(self, instructed=bool(options.get("instructed", True)))

    def _ids(self, text: str) -> list[int]:
        found: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return found

    def _states(self, ids: list[int]) -> Tensor:
        """Return states (1, L, D) in float32; a causal model needs no padding."""
        with self.patched():
            found = self.module(torch.tensor([ids], device=self.module.norm.weight.device), use_cache=False)
        states: Tensor = found.last_hidden_state
        return states.float().cpu()


@dataclass(frozen=True)
class GemmaPart(LlmPart):
    """Gemma 2."""

    head: int = 256

    def is_kind(self, header: Shapes, start: str) -> bool:
        """Say whether it is a Gemma 2: with norms around its layers, and without norms of queries."""
        first = f"{start}layers.0."
        return f"{first}pre_feedforward_layernorm.weight" in header and f"{first}self_attn.q_norm.weight" not in header

    def made(self, sizes: Mapping[str, Any], config: Mapping[str, Any]) -> Any:
        """Make the module."""
        wide = {name: whole(config, name, 256) for name in ("head_dim", "query_pre_attn_scalar")}
        return Gemma2Model(
            Gemma2Config(
                **sizes, **wide, rms_norm_eps=number(config, "rms_norm_eps", 1e-6),
                attn_logit_softcapping=number(config, "attn_logit_softcapping", 50.0),
                rope_parameters={"rope_type": "default", "rope_theta": rope_theta(config, 1e4)},
            )
        )  # fmt: skip

    def tokens(self, folder: Path) -> Tokenizer:
        """Load its tokenizer."""
        return spaced_pairs(folder)

    def built(self, source: Source, config: Mapping[str, Any], weights: Mapping[str, Tensor], place: Place) -> SanaText:
        """Build it; the factor of its embeddings is in no file."""
        text = super().built(source, config, weights, place)
        embed = text.module.embed_tokens
        embed.register_buffer("embed_scale", torch.tensor(embed.scalar_embed_scale, device=place.device), False)
        return SanaText(text.module, text.tokenizer, text.template)


@dataclass(frozen=True)
class DcPart(KlPart):
    """AutoencoderDC in a folder; in a file it comes alone (`dc_ae.py`)."""

    def place(self, source: Source) -> tuple[str, str] | None:
        """Return component and prefix of its keys."""
        return super().place(source) if source.configs else None


class SanaFamily(TransformerFamily):
    """The family object; see `base.Family`."""

    name = "sana"
    title = "SANA architecture"
    order = 140
    network = SanaTransformer2DModel
    own_cells = 32
    why_size = "as many places as its table of positions has"
    texts = (GemmaPart("text_encoder", ("text_encoders.gemma2_2b.transformer.",), name="gemma2",
                       origin="google/gemma-2-2b-it"),)  # fmt: skip
    vae = DcPart(LatentFormat(CELLS, 32, 0.41407))
    sign = ("blocks.0.mlp.inverted_conv.conv.weight", "transformer_blocks.0.ff.conv_inverted.weight")

    def signs(self, header: Shapes, prefix: str) -> tuple[dict[str, bool], dict[str, bool]]:
        """Look for convolutions behind attention, one modulation for all blocks, and latents of 32 channels."""
        published = prefix + self.sign[0] in header
        modulation, entry = ("t_block.1", "x_embedder.proj") if published else ("time_embed.linear", "patch_embed.proj")
        signs = {
            "blocks.0.mlp.inverted_conv.conv.weight": any(prefix + key in header for key in self.sign),
            "t_block.1.weight": f"{prefix}{modulation}.weight" in header,
            "x_embedder.proj.weight with 32 inputs": side(header, f"{prefix}{entry}.weight", 1) == CELLS,
        }
        against = {
            "an embedder of guidance (SANA-Sprint)": any(
                key.startswith((f"{prefix}cfg_embedder.", f"{prefix}time_embed.guidance_embedder.")) for key in header
            ),
            "a ControlNet": any("controlnet" in key for key in header),
        }
        return signs, against

    def folder_signs(self, config: Mapping[str, Any]) -> tuple[dict[str, bool], dict[str, bool]]:
        """Look for what distilled networks have."""
        return {}, {"guidance_embeds (SANA-Sprint)": bool(config.get("guidance_embeds"))}

    def config(self, header: Shapes, prefix: str) -> dict[str, Any]:
        """Read the network's config from shapes: heads are 32 wide, those that read text 112 or 72."""
        published = prefix + self.sign[0] in header
        entry, last, caption, block, inverted, norm = (
            ("x_embedder.proj", "final_layer.linear", "y_embedder.y_proj.fc1", "blocks.",
             "mlp.inverted_conv.conv", "attn.q_norm") if published
            else ("patch_embed.proj", "proj_out", "caption_projection.linear_1", "transformer_blocks.",
                  "ff.conv_inverted", "attn1.norm_q")
        )  # fmt: skip
        width, patch = side(header, f"{prefix}{entry}.weight", 0), max(1, side(header, f"{prefix}{entry}.weight", 2))
        head = next((h for h in READING_HEADS if width % h == 0), HEAD)
        cells = math.isqrt(side(header, f"{prefix}pos_embed", 1)) * patch or self.own_cells
        return {
            "_class_name": "SanaTransformer2DModel",
            "sample_size": cells,
            "interpolation_scale": STRETCH.get(cells),
            "patch_size": patch,
            "in_channels": side(header, f"{prefix}{entry}.weight", 1),
            "out_channels": side(header, f"{prefix}{last}.weight", 0) // patch**2,
            "num_layers": shapes.count(header, re.escape(prefix + block) + r"(\d{1,4})\.") + 1,
            "attention_head_dim": HEAD,
            "num_attention_heads": max(1, width // HEAD),
            "cross_attention_head_dim": head,
            "num_cross_attention_heads": max(1, width // head),
            "cross_attention_dim": width,
            "caption_channels": side(header, f"{prefix}{caption}.weight", 1),
            "mlp_ratio": side(header, f"{prefix}{block}0.{inverted}.weight", 0) / 2 / max(1, width),
            "qk_norm": "rms_norm_across_heads" if f"{prefix}{block}0.{norm}.weight" in header else None,
        }

    def names(self, config: Mapping[str, Any]) -> Names:
        """Return its layers' published names."""
        return crossed(ENDS, BLOCK, int(config["num_layers"]))

    def completed(self, module: Any, place: Place) -> Any:
        """Compute the table of positions, if it reads one."""
        if module.patch_embed.pos_embed is not None:
            positioned(module.patch_embed, module.config.num_attention_heads * module.config.attention_head_dim, place)
        return module

    def adapted(self, module: Any, schedule: Mapping[str, Any], source: Source) -> Sana:
        """Return the adapter around its network."""
        config = module.config
        shift = number(schedule, "flow_shift", number(schedule, "shift", SHIFT))
        factor = self.vae.latents(source).factor
        return Sana(module, noise_levels.flow(shift=shift), config.in_channels, factor, config.patch_size)

    def joined(self, texts: Sequence[Any]) -> SanaText:
        """Return the text encoder."""
        text: SanaText = texts[0]
        return text


FAMILY = SanaFamily()
