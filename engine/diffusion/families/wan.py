"""Wan 2.1 and 2.2 (A14B) for pictures: a video transformer on a video of one frame, told text by cross-attention.

Wan Team 2025, arXiv 2503.20314. Of 2.2, two experts share the noise levels: each is a network of its own here, to be
joined by the experts' node.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from diffusers import WanTransformer3DModel
from torch import Tensor

from engine.diffusion.families import shapes
from engine.diffusion.families.base import Source
from engine.diffusion.families.ldm import Shapes
from engine.diffusion.families.load import Place, number
from engine.diffusion.families.names import Layer, Names, table
from engine.diffusion.families.t5_text import T5Part, T5Text
from engine.diffusion.families.transformer import Transformer, TransformerFamily, flow_levels, side
from engine.diffusion.families.video_vae import VideoPart
from engine.types import Cond

HEAD = 128
INPUTS = 16
SHIFT = 5.0
ENDS = {
    "patch_embedding": "patch_embedding", "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
    "time_projection.1": "condition_embedder.time_proj", "head.head": "proj_out",
    "head.modulation": "scale_shift_table",
}  # fmt: skip
BLOCK = {"ffn.0": "ffn.net.0.proj", "ffn.2": "ffn.net.2", "norm3": "norm2", "modulation": "scale_shift_table"}
ATTENTION = {"q": "to_q", "k": "to_k", "v": "to_v", "o": "to_out.0", "norm_q": "norm_q", "norm_k": "norm_k"}


@dataclass(frozen=True, eq=False)
class Wan(Transformer):
    """WanTransformer3DModel, told 1000 s; text states of padding are zero."""

    reads: ClassVar[str] = "text_dim"

    def predict(self, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """Return eps - x0."""
        tokens = cond.tokens
        if "mask" in cond.extra:
            tokens = tokens * cond.extra["mask"][:, :, None].to(tokens)
        frame = x[:, :, None]  # (B, C, 1, h, w)
        out: Tensor = self.module(frame, timestep=c_noise, encoder_hidden_states=tokens, return_dict=False)[0]
        return out[:, :, 0]


class WanFamily(TransformerFamily):
    """The family object; see `base.Family`."""

    name = "wan"
    title = "Wan 2.1 and 2.2 (14B, 1.3B) architecture"
    order = 130
    network = WanTransformer3DModel
    texts = (
        T5Part("text_encoder", ("text_encoders.umt5xxl.transformer.",), length=512, masked=True, everywhere=True,
               name="umt5", origin="google/umt5-xxl"),
    )  # fmt: skip
    vae = VideoPart()
    sign = ("head.modulation", "condition_embedder.time_embedder.linear_1.weight")

    def signs(self, header: Shapes, prefix: str) -> tuple[dict[str, bool], dict[str, bool]]:
        """Look for a patch embedding of frames with latents of 16 channels alone."""
        entry = f"{prefix}patch_embedding.weight"
        signs = {
            "head.modulation": any(prefix + key in header for key in self.sign),
            f"patch_embedding.weight with {INPUTS} inputs, in frames": len(shapes.header_shape(header, entry)) == 5
            and side(header, entry, 1) == INPUTS,
        }
        against = {
            "vace_blocks (VACE)": f"{prefix}vace_blocks.0.after_proj.bias" in header,
            "img_emb (picture to video)": f"{prefix}img_emb.proj.0.weight" in header,
            "motion_encoder (Animate)": any(key.startswith(f"{prefix}motion_encoder.") for key in header),
            f"{side(header, entry, 1)} inputs (picture to video, or 2.2 5B)": side(header, entry, 1) > INPUTS,
        }
        return signs, against

    def folder_signs(self, config: Mapping[str, Any]) -> tuple[dict[str, bool], dict[str, bool]]:
        """Look for latents of 16 channels alone."""
        signs = {f"transformer/config.json: in_channels {INPUTS}": config.get("in_channels") == INPUTS}
        return signs, {"image_dim (picture to video)": bool(config.get("image_dim"))}

    def config(self, header: Shapes, prefix: str) -> dict[str, Any]:
        """Read the network's config from shapes: heads are 128 wide."""
        published = prefix + self.sign[0] in header
        entry, text = f"{prefix}patch_embedding.weight", "text_embedding.0"
        inner, time = "ffn.0", "time_embedding.0"
        if not published:
            text, time = (f"condition_embedder.{t}_embedder.linear_1" for t in ("text", "time"))
            inner = "ffn.net.0.proj"
        return {
            "_class_name": "WanTransformer3DModel",
            "patch_size": list(shapes.header_shape(header, entry)[2:]),
            "in_channels": side(header, entry, 1),
            "out_channels": INPUTS,
            "num_layers": shapes.count(header, re.escape(prefix) + r"blocks\.(\d{1,4})\.") + 1,
            "attention_head_dim": HEAD,
            "num_attention_heads": max(1, side(header, entry, 0) // HEAD),
            "text_dim": side(header, f"{prefix}{text}.weight", 1),
            "freq_dim": side(header, f"{prefix}{time}.weight", 1),
            "ffn_dim": side(header, f"{prefix}blocks.0.{inner}.weight", 0),
        }

    def names(self, config: Mapping[str, Any]) -> Names:
        """Return its layers' published names."""
        return table(_names(int(config["num_layers"])))

    def completed(self, module: Any, place: Place) -> Any:
        """Compute the table of rotations by position."""
        rope = module.rope
        fresh = type(rope)(rope.attention_head_dim, rope.patch_size, rope.max_seq_len)
        module.rope = fresh.to(place.device)
        return module

    def adapted(self, module: Any, schedule: Mapping[str, Any], source: Source) -> Wan:
        """Return the adapter around its network; UniPC's config calls the shift `flow_shift`."""
        shift = number(schedule, "flow_shift", SHIFT)
        factor = self.vae.latents(source).factor
        return Wan(module, flow_levels(schedule, shift), module.config.in_channels, factor)

    def joined(self, texts: Sequence[Any]) -> T5Text:
        """Return the text encoder."""
        text: T5Text = texts[0]
        return text


def _names(layers: int) -> Iterator[tuple[str, str | Layer]]:
    yield from ENDS.items()
    for i in range(layers):
        block = f"blocks.{i}."
        yield from ((block + a, block + b) for a, b in BLOCK.items())
        for theirs, ours in (("self_attn", "attn1"), ("cross_attn", "attn2")):
            yield from ((f"{block}{theirs}.{a}", f"{block}{ours}.{b}") for a, b in ATTENTION.items())


FAMILY = WanFamily()
