"""Stable Diffusion 1.x and its kin: a CLIP text encoder, a U-Net that cross-attends to it, an autoencoder.

Read from a diffusers folder (every figure from its configs) or from a single LDM file (every figure from its shapes).
Rombach et al. 2022, arXiv 2112.10752.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.diffusion import preview
from engine.diffusion.families import ldm
from engine.diffusion.families.autoencoder import CLASSES, build_autoencoder, decode_widths, factor_of
from engine.diffusion.families.base import WHOLE, Part, Reason, Source, Verdict
from engine.diffusion.families.clip_text import CLIP_TOKENIZER, build_clip_text
from engine.diffusion.families.load import Place, whole
from engine.diffusion.families.unet import UNet, build_unet
from engine.errors import BadFile

COMPONENTS = {"model": "unet", "clip": "text_encoder", "vae": "vae"}
FOLDER_WHY = {"scheduler": "scheduler/scheduler_config.json", "size": "unet/config.json: sample_size x factor"}
WIDTH = 768  # of CLIP ViT-L/14's text states
PREVIEW_MAX = 20_000_000  # parameters of an autoencoder that is asked for its colours when a model is loaded
PREVIEW_SAMPLES = 4
SD_COLOURS = torch.tensor(
    [[0.149, 0.1035, 0.104], [0.0935, 0.143, 0.0865], [-0.079, 0.0945, 0.132], [-0.092, -0.1355, -0.2365], [0.5] * 3]
)  # (4 + 1, 3), the linear approximation known since 2022 (discuss.huggingface.co/t/23204), halved for 0..1


class StableDiffusion1:
    """The family object; see `base.Family`."""

    name = "sd1"
    title = "Stable Diffusion 1.x architecture"
    order = 10

    def recognise(self, source: Source) -> Verdict:
        """Look for a CLIP-conditioned U-Net with neither added embeddings nor a second text encoder."""
        return _recognise_folder(source) if source.configs else _recognise_file(source.single)

    def card(self, source: Source) -> tuple[Reason, ...]:
        """Return family, prediction, channels, sizes, text width and parts with their reasons."""
        configs, why = _configs(source)
        unet, schedule = configs["unet"], configs.get("scheduler", {})
        factor, side = factor_of(configs.get("vae", {})), whole(unet, "sample_size", 64)
        return (
            Reason("family", self.title, "; ".join(self.recognise(source).found)),
            Reason("prediction", schedule.get("prediction_type", "epsilon"), why["scheduler"]),
            Reason("latent channels", whole(unet, "out_channels", 4), f"{why['unet']}: out_channels"),
            Reason("input channels", whole(unet, "in_channels", 4), f"{why['unet']}: in_channels"),
            Reason("latent factor", factor, f"{why['vae']}: levels that halve the side"),
            Reason("own size", side * factor, why["size"]),
            Reason("text width", unet["cross_attention_dim"], f"{why['unet']}: cross_attention_dim"),
            Reason("parts", ", ".join(self.parts(source)), "tensors present"),
        )

    def parts(self, source: Source) -> dict[str, Part]:
        """Return model, clip and vae as far as they are there."""
        configs, _ = _configs(source)
        unet, vae = configs["unet"], configs.get("vae", {})
        factor = factor_of(vae)
        options = {
            "model": {
                "channels": whole(unet, "out_channels", 4),
                "factor": factor,
                "size": whole(unet, "sample_size", 64) * factor,
            },
            "clip": {},
            "vae": {"channels": whole(vae, "latent_channels", 4), "factor": factor, "width": decode_widths(vae)},
        }
        sizes = {part: _part_size(source, part) for part in COMPONENTS}
        return {part: Part(size, options[part]) for part, size in sizes.items() if size}

    def build(self, source: Source, part: str, place: Place) -> Any:
        """Build one part (UNet, ClipText or Autoencoder) at `place`."""
        configs, _ = _configs(source)
        weights = _weights(source, part, configs)
        if part == "model":
            unet = build_unet(configs["unet"], weights, configs.get("scheduler", {}), place)
            return replace(unet, preview=self._preview(source, unet))
        if part == "clip":
            tokenizer = source.path / "tokenizer" if source.configs else CLIP_TOKENIZER
            return build_clip_text(configs["text_encoder"], weights, tokenizer, place)
        return build_autoencoder(configs["vae"], weights, place)

    def _preview(self, source: Source, unet: UNet) -> Tensor | None:
        """Return colours for the latent's channels: fitted to a small autoencoder, known for Stable Diffusion's own."""
        vae = self.parts(source).get("vae")
        if vae and vae.parameters < PREVIEW_MAX:
            autoencoder = self.build(source, "vae", Place())
            latents = torch.randn(PREVIEW_SAMPLES, unet.channels, 16, 16, generator=torch.Generator().manual_seed(0))
            return preview.fit(latents, autoencoder.decode(latents))
        return SD_COLOURS if unet.channels == len(SD_COLOURS) - 1 else None


def _recognise_folder(source: Source) -> Verdict:
    unet, vae = source.configs.get("unet", {}), source.configs.get("vae", {})
    text = source.configs.get("text_encoder", {})
    signs = {
        "unet/config.json: UNet2DConditionModel": unet.get("_class_name") == "UNet2DConditionModel",
        "text_encoder/config.json: CLIP text model": text.get("model_type") == "clip_text_model",
        f"vae/config.json: {' or '.join(CLASSES)}": str(vae.get("_class_name")) in CLASSES,
        "cross_attention_dim = the text encoder's hidden_size": isinstance(unet.get("cross_attention_dim"), int)
        and unet.get("cross_attention_dim") == text.get("hidden_size"),
        "tokenizer/vocab.json": (source.path / "tokenizer" / "vocab.json").is_file(),
        "U-Net, text encoder and autoencoder weights": {"unet", "text_encoder", "vae"} <= source.headers.keys(),
    }
    against = {
        "a second text encoder (SDXL)": "text_encoder_2" in source.configs,
        "added embeddings (SDXL)": unet.get("addition_embed_type") is not None,
        "class embeddings": unet.get("class_embed_type") is not None,
    }
    return Verdict.of(StableDiffusion1.name, signs, against)


def _recognise_file(header: Mapping[str, Any]) -> Verdict:
    conv, text = ldm.UNET + "input_blocks.0.0.weight", ldm.text_prefix(header)
    width = ldm.context_width(header)
    signs = {
        f"{conv} with 4, 8 or 9 inputs": len(_shape(header, conv)) == 4 and _shape(header, conv)[1] in (4, 8, 9),
        "cross-attention in the U-Net": width > 0,
        "a 1x1 convolution before attention (proj_in)": ldm.conv_projection(header),
    }
    if text:  # a U-Net alone carries no text encoder; then CLIP's own width must do
        embedding = _shape(header, f"{text}embeddings.token_embedding.weight")
        signs["a CLIP text encoder as wide as the cross-attention"] = embedding[1:] == (width,)
    else:
        signs[f"cross-attention {WIDTH} wide (CLIP ViT-L/14)"] = width == WIDTH
    against = {
        "added embeddings label_emb (SDXL, unCLIP)": ldm.UNET + "label_emb.0.0.weight" in header,
        "conditioner.embedders (SDXL)": any(k.startswith("conditioner.embedders.") for k in header),
        "an OpenCLIP text encoder (SD 2.x)": "cond_stage_model.model.positional_embedding" in header,
    }
    return Verdict.of(StableDiffusion1.name, signs, against)


def _shape(header: Mapping[str, Any], key: str) -> tuple[int, ...]:
    return tuple(header[key].shape) if key in header else ()


def _configs(source: Source) -> tuple[Mapping[str, Any], dict[str, str]]:
    """Return the configs by component and, for the card, where they come from."""
    if source.configs:
        where = {name: f"{name}/config.json" for name in ("unet", "vae", "text_encoder")}
        return source.configs, {**where, **FOLDER_WHY}
    header = source.single
    configs: dict[str, Any] = {"unet": ldm.unet_config(header), "scheduler": {}}
    if ldm.vae_prefix(header) is not None:
        configs["vae"] = ldm.vae_config(header, *ldm.LDM_VAE)
    if ldm.text_prefix(header):
        configs["text_encoder"] = ldm.text_config(header)
    why = dict.fromkeys(("unet", "vae", "text_encoder"), "shapes in the file")
    return configs, {**why, **dict.fromkeys(FOLDER_WHY, "not stored in a file; Stable Diffusion 1.x was trained so")}


def _part_size(source: Source, part: str) -> int:
    if source.configs:
        component = COMPONENTS[part]
        return source.headers[component].size if component in source.headers else 0
    prefix = ldm.prefix_of(part, source.single)
    return sum(t.size for k, t in source.single.items() if prefix is not None and k.startswith(prefix))


def _weights(source: Source, part: str, configs: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the state dict of a part with diffusers' (or transformers') keys."""
    if source.configs:
        return source.tensors(COMPONENTS[part])
    prefix = ldm.prefix_of(part, source.single)
    if prefix is None:
        raise BadFile(f"{Path(source.path).name} holds no {part}.")
    return ldm.converted(part, source.tensors(WHOLE, lambda key: key.startswith(prefix)), configs, prefix)


FAMILY = StableDiffusion1()
