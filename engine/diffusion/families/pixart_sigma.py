"""PixArt-Sigma: tokens of 2 x 2 latent cells attend to T5's states, and time shifts and scales all blocks alike.

Chen et al. 2024, arXiv 2403.04692; PixArt-alpha (`pixart_alpha.py`) is the same network. It predicts noise on DDPM's
schedule, and variances as well, which are not used.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from diffusers import PixArtTransformer2DModel
from tokenizers import normalizers
from torch import Tensor

from engine.diffusion.denoiser import Prediction
from engine.diffusion.families import shapes
from engine.diffusion.families.autoencoder import KNOWN
from engine.diffusion.families.base import WHOLE, Source, Verdict
from engine.diffusion.families.ldm import Shapes
from engine.diffusion.families.load import Place
from engine.diffusion.families.names import Layer, Names, crossed
from engine.diffusion.families.t5_text import T5Part, T5Text
from engine.diffusion.families.transformer import FOLDER, Transformer, TransformerFamily, positioned, side
from engine.diffusion.families.unet import levels_of
from engine.diffusion.families.vae_parts import KlPart
from engine.errors import BadInput
from engine.types import Cond

HEAD = 72
CELLS = 4  # channels of a latent cell
OLD_CLASS = "Transformer2DModel"  # what the first folders call the network
SCHEDULE = {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}
CAPTION = "y_embedder.y_embedding"  # states of no caption, as many as captions have tokens
SIZES = "csize_embedder.mlp.0.weight", "adaln_single.emb.resolution_embedder.linear_1.weight"
EMBEDDERS = {"t_embedder": "timestep", "csize_embedder": "resolution", "ar_embedder": "aspect_ratio"}
ENDS: dict[str, str | Layer] = {
    "x_embedder.proj": "pos_embed.proj", "t_block.1": "adaln_single.linear", "final_layer.linear": "proj_out",
    "final_layer.scale_shift_table": "scale_shift_table", "y_embedder.y_proj.fc1": "caption_projection.linear_1",
    "y_embedder.y_proj.fc2": "caption_projection.linear_2", CAPTION: Layer(()), "pos_embed": Layer(()),
    **{f"{theirs}.mlp.{a}": f"adaln_single.emb.{ours}_embedder.linear_{b}"
       for theirs, ours in EMBEDDERS.items() for a, b in ((0, 1), (2, 2))},
}  # fmt: skip
BLOCK = {
    "scale_shift_table": "scale_shift_table", "attn.proj": "attn1.to_out.0", "cross_attn.q_linear": "attn2.to_q",
    "cross_attn.proj": "attn2.to_out.0", "mlp.fc1": "ff.net.0.proj", "mlp.fc2": "ff.net.2",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class PixArt(Transformer):
    """PixArtTransformer2DModel, told the timestep, and in alpha the size (`cond.extra["sizes"]`, as SDXL)."""

    prediction: ClassVar[Prediction] = "eps"
    reads: ClassVar[str] = "caption_channels"

    def configured(self, options: Mapping[str, Any]) -> PixArt:
        """Return this network; BadInput for a shift, since its noise levels are those of a table."""
        if "shift" in options:
            raise BadInput("PixArt's noise levels are those of a table: remove the node that shifts them.")
        super().configured(options)
        return self

    def predict(self, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """Return eps (B, 4, h, w); the variances behind it are dropped."""
        out: Tensor = self.module(
            x,
            encoder_hidden_states=cond.tokens,
            timestep=c_noise,
            encoder_attention_mask=cond.extra.get("mask"),
            added_cond_kwargs=self._sizes(x, cond),
            return_dict=False,
        )[0]
        return out[:, : self.channels]

    def _sizes(self, x: Tensor, cond: Cond) -> dict[str, Tensor | None]:
        """Return height and width in pixels (B, 2) and their ratio (B, 1), where the network reads them."""
        if not self.module.use_additional_conditions:
            return {"resolution": None, "aspect_ratio": None}
        own = x.new_tensor([[side * self.factor for side in x.shape[2:]]])
        size = cond.extra["sizes"][:, :2] if "sizes" in cond.extra else own.expand(len(x), 2)
        return {"resolution": size, "aspect_ratio": size[:, :1] / size[:, 1:]}


@dataclass(frozen=True)
class PixArtT5(T5Part):
    """T5, told which tokens are padding, that reads small letters alone."""

    masked: bool = True

    def built(self, source: Source, config: Mapping[str, Any], weights: Mapping[str, Tensor], place: Place) -> T5Text:
        """Build it."""
        text = super().built(source, config, weights, place)
        own = text.tokenizer.normalizer
        text.tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *([own] if own else [])])
        return text


class PixArtSigma(TransformerFamily):
    """The family object; see `base.Family`. `tokens`: of a caption, which tells it from PixArt-alpha."""

    name = "pixart_sigma"
    title = "PixArt-Sigma architecture"
    order = 130
    pipeline = "PixArtSigmaPipeline"
    network = PixArtTransformer2DModel
    predicts = "epsilon"
    own_cells = 128
    why_size = "as many places as its table of positions has"
    tokens = 300
    texts = (PixArtT5("text_encoder", ("text_encoders.t5xxl.transformer.",), length=300),)
    vae = KlPart(KNOWN["sdxl"])
    sign = ("blocks.0.cross_attn.q_linear.weight", "caption_projection.linear_1.weight")

    def recognise(self, source: Source) -> Verdict:
        """Look at the pipeline that a folder names, since the networks look alike; else as other families do."""
        if not source.configs:
            return super().recognise(source)
        made = source.configs.get(FOLDER, {}).get("_class_name")
        signs = {
            f"model_index.json: {self.pipeline}": source.configs.get(WHOLE, {}).get("_class_name") == self.pipeline,
            f"transformer/config.json: {self.network.__name__}": made in (self.network.__name__, OLD_CLASS),
            "transformer weights": FOLDER in source.headers,
        }
        return Verdict.of(self.name, signs, {})

    def signs(self, header: Shapes, prefix: str) -> tuple[dict[str, bool], dict[str, bool]]:
        """Look for one modulation for all blocks, plain layers behind attention, and captions of its length."""
        published = prefix + self.sign[0] in header
        modulation, inner, entry = (
            ("t_block.1", "blocks.0.mlp.fc1", "x_embedder.proj") if published
            else ("adaln_single.linear", "transformer_blocks.0.ff.net.0.proj", "pos_embed.proj")
        )  # fmt: skip
        signs = {
            "t_block.1.weight": f"{prefix}{modulation}.weight" in header,
            "blocks.0.mlp.fc1.weight": f"{prefix}{inner}.weight" in header,
            "x_embedder.proj.weight with 4 inputs": side(header, f"{prefix}{entry}.weight", 1) == CELLS,
        }
        return signs, self._against(header, prefix)

    def _against(self, header: Shapes, prefix: str) -> dict[str, bool]:
        """Return what only PixArt-alpha has, or a ControlNet."""
        return {
            "captions of other than 300 tokens": side(header, prefix + CAPTION, 0) not in (0, self.tokens),
            "csize_embedder (PixArt-alpha)": any(prefix + key in header for key in SIZES),
            "a ControlNet": any("controlnet" in key for key in header),
        }

    def config(self, header: Shapes, prefix: str) -> dict[str, Any]:
        """Read the network's config from shapes: heads are 72 wide, positions are told for its own size."""
        published = prefix + self.sign[0] in header
        entry, last, caption, block = (
            ("x_embedder.proj", "final_layer.linear", "y_embedder.y_proj.fc1", "blocks.") if published
            else ("pos_embed.proj", "proj_out", "caption_projection.linear_1", "transformer_blocks.")
        )  # fmt: skip
        width, patch = side(header, f"{prefix}{entry}.weight", 0), max(1, side(header, f"{prefix}{entry}.weight", 2))
        cells = math.isqrt(side(header, f"{prefix}pos_embed", 1)) * patch or self.own_cells
        return {
            "_class_name": "PixArtTransformer2DModel",
            "sample_size": cells,
            "interpolation_scale": self.stretch(cells),
            "patch_size": patch,
            "in_channels": side(header, f"{prefix}{entry}.weight", 1),
            "out_channels": side(header, f"{prefix}{last}.weight", 0) // patch**2,
            "num_layers": shapes.count(header, re.escape(prefix + block) + r"(\d{1,4})\.") + 1,
            "attention_head_dim": HEAD,
            "num_attention_heads": max(1, width // HEAD),
            "cross_attention_dim": width,
            "caption_channels": side(header, f"{prefix}{caption}.weight", 1),
            "use_additional_conditions": any(prefix + key in header for key in SIZES),
        }

    def stretch(self, cells: int) -> float:
        """Return the factor between steps of position and tokens, for a network made for so many cells per side."""
        return cells / 64

    def names(self, config: Mapping[str, Any]) -> Names:
        """Return its layers' published names."""
        return crossed(ENDS, BLOCK, int(config["num_layers"]))

    def completed(self, module: Any, place: Place) -> Any:
        """Compute the table of positions."""
        positioned(module.pos_embed, module.inner_dim, place)
        return module

    def adapted(self, module: Any, schedule: Mapping[str, Any], source: Source) -> PixArt:
        """Return the adapter around its network."""
        levels = levels_of({**SCHEDULE, **schedule})
        config = module.config
        return PixArt(module, levels, config.in_channels, self.vae.latents(source).factor, config.patch_size)

    def joined(self, texts: Sequence[Any]) -> T5Text:
        """Return the text encoder."""
        text: T5Text = texts[0]
        return text


FAMILY = PixArtSigma()
