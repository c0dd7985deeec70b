"""Stable Diffusion XL: CLIP ViT-L and OpenCLIP bigG read together, and the U-Net is told pooled text and sizes.

Podell et al. 2023, arXiv 2307.01952. Both encoders are read at the last layer but one, without the final norm.
"""

from __future__ import annotations

import torch

from engine.diffusion.families import ldm, shapes
from engine.diffusion.families.base import Source
from engine.diffusion.families.clip_text import Reading
from engine.diffusion.families.stable_diffusion import INPUTS, StableDiffusion, TextPart, Traits, folder_signs

SCALE = 0.13025
SIZE_NUMBERS, SIZE_WIDTH = 6, 256  # height and width, crop, target height and width, each as a sinusoid
COLOURS = torch.tensor(
    [[0.235] * 3, [-0.235, -0.02, 0.039], [0.098, 0.059, -0.02], [-0.275, -0.196, -0.137], [0.588, 0.549, 0.51]]
)  # (4 + 1, 3), huggingface.co/blog/TimothyAlexisVass/explaining-the-sdxl-latent-space, for 0..1
CLIP_L = TextPart(
    "text_encoder", ("conditioner.embedders.0.transformer.",), 768, "quick_gelu", Reading(skip=2, norm=False)
)
CLIP_G = TextPart(
    "text_encoder_2", ("conditioner.embedders.1.model.",), 1280, "gelu",
    Reading(skip=2, norm=False, projected=True), pad=0,
)  # fmt: skip
VARIANTS = {
    "edm_mean": "edm_mean (Playground 2.5, trained as EDM)",
    "edm_vpred.sigma_max": "edm_vpred.sigma_max (CosXL, trained as EDM)",
}


class StableDiffusionXL(StableDiffusion):
    """The family object; see `base.Family`."""

    name = "sdxl"
    title = "Stable Diffusion XL architecture"
    order = 30
    traits = Traits((CLIP_L, CLIP_G), scale=SCALE, cells=128, prediction="epsilon", colours=COLOURS)

    def folder_signs(self, source: Source) -> tuple[dict[str, bool], dict[str, bool]]:
        """Look for two text encoders and a U-Net with added text and sizes."""
        unet = source.configs.get("unet", {})
        widths = [source.configs.get(name, {}).get("hidden_size") for name in ("text_encoder", "text_encoder_2")]
        both = sum(w for w in widths if isinstance(w, int))
        signs = {
            **folder_signs(source, 2),
            "unet/config.json: addition_embed_type text_time": unet.get("addition_embed_type") == "text_time",
            "cross_attention_dim = both text encoders' hidden_size": unet.get("cross_attention_dim") == both,
        }
        return signs, {"a scheduler of EDM": "EDM" in str(source.configs.get("scheduler", {}).get("_class_name"))}

    def file_signs(self, header: ldm.Shapes) -> tuple[dict[str, bool], dict[str, bool]]:
        """Look for added embeddings as wide as pooled text and six sizes."""
        facts = shapes.unet_facts(header)
        places = [ldm.text_prefix(header, text.prefixes) for text in self.traits.texts]
        widths = [shapes.text_width(header, p) if p is not None else 0 for p in places]
        pooled = widths[1] or CLIP_G.width
        signs = {
            "input_blocks.0.0.weight with 4, 8 or 9 inputs": facts.inputs in INPUTS,
            f"label_emb.0.0.weight {pooled} + 6 x 256 wide": facts.vector == pooled + SIZE_NUMBERS * SIZE_WIDTH,
        }
        if any(p is not None for p in places):
            signs["two text encoders, together as wide as the cross-attention"] = sum(widths) == facts.context
        else:
            signs["cross-attention 2048 wide"] = facts.context == CLIP_L.width + CLIP_G.width
        return signs, {text: key in header for key, text in VARIANTS.items()}


FAMILY = StableDiffusionXL()
