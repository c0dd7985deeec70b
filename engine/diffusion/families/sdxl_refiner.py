"""SDXL's refiner: an expert for low noise, with OpenCLIP bigG alone and an aesthetic score in the target size's place.

Podell et al. 2023, arXiv 2307.01952, section 2.5.
"""

from __future__ import annotations

from dataclasses import replace

from engine.diffusion.families import ldm, shapes
from engine.diffusion.families.base import Source
from engine.diffusion.families.sdxl import CLIP_G, COLOURS, SCALE, SIZE_WIDTH
from engine.diffusion.families.stable_diffusion import INPUTS, StableDiffusion, Traits, folder_signs

SIZE_NUMBERS = 5
TEXT = replace(CLIP_G, prefixes=("conditioner.embedders.0.model.",))


class Refiner(StableDiffusion):
    """The family object; see `base.Family`."""

    name = "sdxl_refiner"
    title = "Stable Diffusion XL refiner"
    order = 31
    traits = Traits((TEXT,), scale=SCALE, cells=128, prediction="epsilon", colours=COLOURS)

    def folder_signs(self, source: Source) -> tuple[dict[str, bool], dict[str, bool]]:
        """Look for the second text encoder alone, and a U-Net with added text and sizes."""
        unet = source.configs.get("unet", {})
        width = source.configs.get("text_encoder_2", {}).get("hidden_size")
        signs = {
            **folder_signs(source, 0),
            "text_encoder_2 weights": "text_encoder_2" in source.headers,
            "unet/config.json: addition_embed_type text_time": unet.get("addition_embed_type") == "text_time",
            "cross_attention_dim = the text encoder's hidden_size": unet.get("cross_attention_dim") == width,
        }
        return signs, {"a first text encoder (SDXL)": "text_encoder" in source.headers}

    def file_signs(self, header: ldm.Shapes) -> tuple[dict[str, bool], dict[str, bool]]:
        """Look for added embeddings as wide as pooled text and five numbers."""
        facts, place = shapes.unet_facts(header), ldm.text_prefix(header, TEXT.prefixes)
        width = TEXT.width if place is None else shapes.text_width(header, place)
        return {
            "input_blocks.0.0.weight with 4, 8 or 9 inputs": facts.inputs in INPUTS,
            f"label_emb.0.0.weight {width} + 5 x 256 wide": facts.vector == width + SIZE_NUMBERS * SIZE_WIDTH,
            "one text encoder as wide as the cross-attention": facts.context == width,
        }, {}


FAMILY = Refiner()
