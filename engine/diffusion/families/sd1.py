"""Stable Diffusion 1.x and its kin: a CLIP text encoder, a U-Net that cross-attends to it, an autoencoder.

Rombach et al. 2022, arXiv 2112.10752.
"""

from __future__ import annotations

import torch

from engine.diffusion.families import ldm, shapes
from engine.diffusion.families.base import Source
from engine.diffusion.families.clip_text import Reading
from engine.diffusion.families.stable_diffusion import INPUTS, StableDiffusion, TextPart, Traits, folder_signs

WIDTH = 768  # of CLIP ViT-L/14's text states
COLOURS = torch.tensor(
    [[0.149, 0.1035, 0.104], [0.0935, 0.143, 0.0865], [-0.079, 0.0945, 0.132], [-0.092, -0.1355, -0.2365], [0.5] * 3]
)  # (4 + 1, 3), the linear approximation known since 2022 (discuss.huggingface.co/t/23204), halved for 0..1
CLIP_L = TextPart("text_encoder", ("cond_stage_model.transformer.",), WIDTH, "quick_gelu", Reading())


class StableDiffusion1(StableDiffusion):
    """The family object; see `base.Family`."""

    name = "sd1"
    title = "Stable Diffusion 1.x architecture"
    order = 10
    traits = Traits((CLIP_L,), scale=0.18215, cells=64, prediction="epsilon", colours=COLOURS)

    def folder_signs(self, source: Source) -> tuple[dict[str, bool], dict[str, bool]]:
        """Look for one CLIP text encoder as wide as the U-Net's cross-attention."""
        unet, text = source.configs.get("unet", {}), source.configs.get("text_encoder", {})
        signs = {
            **folder_signs(source, 1),
            "text_encoder/config.json: CLIP text model": text.get("model_type") == "clip_text_model",
            "cross_attention_dim = the text encoder's hidden_size": isinstance(unet.get("cross_attention_dim"), int)
            and unet.get("cross_attention_dim") == text.get("hidden_size"),
            "tokenizer/vocab.json": (source.path / "tokenizer" / "vocab.json").is_file(),
        }
        return signs, {
            "a second text encoder (SDXL)": "text_encoder_2" in source.configs,
            "added embeddings (SDXL)": unet.get("addition_embed_type") is not None,
            "class embeddings": unet.get("class_embed_type") is not None,
            "use_linear_projection (SD 2.x)": bool(unet.get("use_linear_projection")),
        }

    def file_signs(self, header: ldm.Shapes) -> tuple[dict[str, bool], dict[str, bool]]:
        """Look for a U-Net entered by 1x1 convolutions, with neither added embeddings nor another text encoder."""
        facts, text = shapes.unet_facts(header), ldm.text_prefix(header, CLIP_L.prefixes)
        signs = {
            "input_blocks.0.0.weight with 4, 8 or 9 inputs": facts.inputs in INPUTS,
            "cross-attention in the U-Net": facts.context > 0,
            "a 1x1 convolution before attention (proj_in)": facts.context > 0 and not facts.linear,
        }
        if text is None:  # a U-Net alone carries no text encoder; then CLIP's own width must do
            signs[f"cross-attention {WIDTH} wide (CLIP ViT-L/14)"] = facts.context == WIDTH
        else:
            width = shapes.text_width(header, text)
            signs["a CLIP text encoder as wide as the cross-attention"] = width == facts.context
        return signs, {
            "added embeddings label_emb (SDXL, unCLIP)": facts.vector > 0,
            "conditioner.embedders (SDXL)": any(k.startswith("conditioner.embedders.") for k in header),
            "an OpenCLIP text encoder (SD 2.x)": "cond_stage_model.model.positional_embedding" in header,
        }


FAMILY = StableDiffusion1()
