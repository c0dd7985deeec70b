"""Stable Diffusion 2.x: as 1.x, with OpenCLIP ViT-H's text encoder and linear layers into attention; eps or v.

Which of the two it predicts is in no single file: it is measured when the U-Net is loaded (`unet.measured_prediction`).
"""

from __future__ import annotations

from engine.diffusion.families import ldm, shapes
from engine.diffusion.families.base import Source
from engine.diffusion.families.clip_text import Reading
from engine.diffusion.families.sd1 import COLOURS
from engine.diffusion.families.stable_diffusion import INPUTS, StableDiffusion, TextPart, Traits, folder_signs
from engine.diffusion.families.unet import MEASURED

WIDTH = 1024  # of OpenCLIP ViT-H/14's text states
CLIP_H = TextPart("text_encoder", ("cond_stage_model.model.",), WIDTH, "gelu", Reading(), pad=0, unused=1)


class StableDiffusion2(StableDiffusion):
    """The family object; see `base.Family`."""

    name = "sd2"
    title = "Stable Diffusion 2.x architecture"
    order = 20
    traits = Traits((CLIP_H,), scale=0.18215, cells=96, prediction=MEASURED, colours=COLOURS)

    def folder_signs(self, source: Source) -> tuple[dict[str, bool], dict[str, bool]]:
        """Look for one text encoder as wide as the U-Net's cross-attention, which linear layers enter."""
        unet, text = source.configs.get("unet", {}), source.configs.get("text_encoder", {})
        signs = {
            **folder_signs(source, 1),
            "unet/config.json: use_linear_projection": bool(unet.get("use_linear_projection")),
            "cross_attention_dim = the text encoder's hidden_size": isinstance(unet.get("cross_attention_dim"), int)
            and unet.get("cross_attention_dim") == text.get("hidden_size"),
        }
        return signs, {
            "a second text encoder (SDXL)": "text_encoder_2" in source.configs,
            "added embeddings (SDXL)": unet.get("addition_embed_type") is not None,
            "class embeddings (unCLIP)": unet.get("class_embed_type") is not None,
        }

    def file_signs(self, header: ldm.Shapes) -> tuple[dict[str, bool], dict[str, bool]]:
        """Look for a U-Net entered by linear layers, without added embeddings."""
        facts, text = shapes.unet_facts(header), ldm.text_prefix(header, CLIP_H.prefixes)
        signs = {
            "input_blocks.0.0.weight with 4, 8 or 9 inputs": facts.inputs in INPUTS,
            "a linear layer before attention (proj_in)": facts.linear,
        }
        if text is None:
            signs[f"cross-attention {WIDTH} wide (OpenCLIP ViT-H/14)"] = facts.context == WIDTH
        else:
            width = shapes.text_width(header, text)
            signs["an OpenCLIP text encoder as wide as the cross-attention"] = width == facts.context
        return signs, {
            "added embeddings label_emb (SDXL, unCLIP)": facts.vector > 0,
            "conditioner.embedders (SDXL)": any(k.startswith("conditioner.embedders.") for k in header),
        }


FAMILY = StableDiffusion2()
