"""ControlNet: a copy of a U-Net's encoder that reads a picture, and what it adds to the U-Net's skips.

Zhang, Rao and Agrawala 2023, arXiv 2302.05543. Read from a file with LDM's or diffusers' keys, alone or beside the
model that it was trained on (which is left aside); every figure is read from shapes. A file of differences is added to
the encoder of the model that comes with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers import ControlNetModel
from torch import Tensor

from engine.diffusion.companions import Call, Residuals, fitted, kept
from engine.diffusion.families import ldm, shapes
from engine.diffusion.families.base import WHOLE, Part, Reason, Source, Verdict
from engine.diffusion.families.load import Place, assign, on_meta
from engine.diffusion.files import Header
from engine.diffusion.patches import Report
from engine.errors import BadFile

PREFIX = "control_model."
HINT, LDM_HINT = "controlnet_cond_embedding.", re.compile(r"input_hint_block\.(\d{1,4})\.weight")
ZERO = re.compile(r"zero_convs\.(\d{1,4})\.")
ADDED = ("controlnet_down_blocks.0.weight", "zero_convs.0.0.weight")
DIFFERENCE = "difference"  # a key that says that the weights are to be added to a model's
BASE = "1"  # the component of that model, where it comes along
VARIANTS = {
    "lora_controlnet": "lora_controlnet (a Control-LoRA)",
    "task_embedding": "task_embedding (a union of several kinds of pictures)",
}
POOLED, SHUFFLE = "pooled", "shuffle"  # the names of files whose residuals are averaged over the picture say so
COMPARED = {
    "cross_attention_dim": "it reads text {} wide, the model text {} wide",
    "block_out_channels": "its layers are {} wide, the model's {}",
    "layers_per_block": "it has {} layers at each level, the model {}",
    "in_channels": "it reads latents of {} channels, the model's have {}",
}


@dataclass(frozen=True, eq=False)
class ControlNetwork:
    """A ControlNet; see `companions.ControlNetwork`. `pooled`: what it adds is averaged over the picture."""

    module: Any  # ControlNetModel, which has no types
    pooled: bool = False
    reports: tuple[Report, ...] = ()

    def configured(self, options: Mapping[str, Any]) -> ControlNetwork:
        """Return this network as a description says."""
        return replace(self, pooled=bool(options.get(POOLED)))

    def misfit(self, config: Any) -> str:
        """Say what about a U-Net's config does not fit."""
        theirs = {**config, "in_channels": config["out_channels"]}  # without what inpainting models read beside
        own = {**self.module.config, "cross_attention_dim": self.module.config.cross_attention_dim or None}
        for name, sentence in COMPARED.items():
            mine, wanted = (_listed(c[name]) for c in (own, theirs))
            if mine and mine != wanted:
                return sentence.format(mine, wanted)
        if self.module.config.addition_embed_type != config["addition_embed_type"]:
            return "one of the two is made for Stable Diffusion XL"
        return ""

    def prepared(self, hint: Tensor, size: tuple[int, int]) -> Tensor:
        """Return hints (n, H, W, 3) as planes (n, c, f h, f w), f = 8 for Stable Diffusion's."""
        factor = 2 ** (len(self.module.config.conditioning_embedding_out_channels) - 1)
        planes = fitted(hint, size[0] * factor, size[1] * factor)
        planes = planes if self.module.config.conditioning_channels == 3 else planes.mean(1, keepdim=True)
        return planes.to(kept(self.module))

    def residuals(self, prepared: Tensor, rows: Tensor, call: Call) -> Residuals:
        """Return what to add to skips and middle."""
        skips, middle = self.module(
            call.x,
            call.timesteps,
            encoder_hidden_states=call.tokens,
            controlnet_cond=prepared[rows.to(prepared.device)],
            added_cond_kwargs=call.added,
            return_dict=False,
        )
        added = (*skips, middle)
        return Residuals(tuple(r.mean((2, 3), keepdim=True) for r in added) if self.pooled else added)


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value or "")


class ControlNet:
    """The family object; see `base.Family`."""

    name = "controlnet"
    title = "ControlNet"
    order = 5  # before Stable Diffusion, whose encoder it copies

    def recognise(self, source: Source) -> Verdict:
        """Look for an encoder that reads a picture, and for what it adds to a U-Net's skips."""
        header = _own(source)
        reads = len(_hint_layers(header)) > 1
        signs = {
            "layers for the picture (input_hint_block, controlnet_cond_embedding)": reads,
            "layers for the skips (zero_convs, controlnet_down_blocks)": any(key in header for key in ADDED),
            "a U-Net's encoder with them": reads and ldm.unet_prefix(header) is not None,
        }
        return Verdict.of(self.name, signs, {text: key in header for key, text in VARIANTS.items()})

    def card(self, source: Source) -> tuple[Reason, ...]:
        """Return family, layout, text width, channels of the picture and kind of weights, with their reasons."""
        header, config = _own(source), _config(source)
        layout = "diffusers keys" if ldm.is_diffusers(header, "") else "LDM"
        kind = "differences from a model" if DIFFERENCE in header else "whole"
        return (
            Reason("family", self.title, "; ".join(self.recognise(source).found)),
            Reason("layout", layout, "names of the encoder's blocks"),
            Reason("text width", config["cross_attention_dim"], "shapes in the file"),
            Reason("channels of the picture", config["conditioning_channels"], "shapes in the file"),
            Reason("weights", kind, f"{'a' if DIFFERENCE in header else 'no'} key {DIFFERENCE!r}"),
            Reason("averaged over the picture", _averages(source), f"whether the file's name says {SHUFFLE}"),
        )

    def parts(self, source: Source) -> dict[str, Part]:
        """Return the one part there is."""
        options = {DIFFERENCE: DIFFERENCE in _own(source), POOLED: _averages(source)}
        return {"control": Part(_own(source).size, {name: True for name, there in options.items() if there})}

    def build(self, source: Source, part: str, place: Place) -> ControlNetwork:
        """Build the network at `place`, its differences added to the model's weights if it holds such."""
        header, config = _own(source), _config(source)
        module = on_meta(lambda: ControlNetModel(**config), config, "ControlNet")
        start = PREFIX if source.single is not header else ""
        tensors = source.tensors(WHOLE, lambda key: key.startswith(start) and key.removeprefix(start) != DIFFERENCE)
        weights = ldm.unet_weights(tensors, _encoder(config), start, _more_names(header))
        if DIFFERENCE in header:
            weights = _added_to(_base(source), weights)
        return ControlNetwork(assign(module, weights, place, "ControlNet"))


def _own(source: Source) -> Header:
    """Return the header of the ControlNet alone, without its prefix."""
    kept: Header = source.worked_out.setdefault("controlnet header", _stripped(source.single))
    return kept


def _stripped(header: Header) -> Header:
    if not any(key.startswith(PREFIX) for key in header):
        return header
    own = {k.removeprefix(PREFIX): v for k, v in header.tensors.items() if k.startswith(PREFIX)}
    flag = {k: v for k, v in header.tensors.items() if k == DIFFERENCE}
    return Header({**own, **flag}, header.metadata)


def _config(source: Source) -> dict[str, Any]:
    """Read the config of diffusers' class from shapes."""
    header = _own(source)
    encoder = shapes.encoder_config(header)
    hint = [shapes.header_shape(header, f"{layer}weight") for layer in _hint_layers(header)]
    if any(len(shape) != 4 for shape in hint) or len(hint) % 2:
        raise BadFile("The ControlNet's layers for the picture follow no regular plan; the file is damaged.")
    attends = encoder["transformer_layers_per_block"][-1] > 0
    return {
        **encoder,
        "conditioning_channels": hint[0][1],
        "conditioning_embedding_out_channels": [shape[0] for shape in hint[:-1:2]],  # every second halves the picture
        "mid_block_type": "UNetMidBlock2DCrossAttn" if attends else "UNetMidBlock2D",
    }


def _averages(source: Source) -> bool:
    return SHUFFLE in source.path.name.lower()


def _hint_layers(header: Header) -> list[str]:
    """Return the prefixes of the convolutions that read the picture, in order."""
    numbers = sorted(int(m[1]) for key in header if (m := LDM_HINT.fullmatch(key)))
    if numbers:
        return [f"input_hint_block.{n}." for n in numbers]
    blocks = 1 + shapes.count(header, re.escape(HINT) + r"blocks\.(\d{1,4})\.", none=-1)
    names = ["conv_in.", *(f"blocks.{i}." for i in range(blocks)), "conv_out."]
    return [HINT + name for name in names if f"{HINT}{name}weight" in header]


def _more_names(header: Header) -> Iterator[tuple[str, str]]:
    """Yield (LDM prefix, diffusers prefix) of the layers that a ControlNet has beside a U-Net's encoder."""
    *layers, last = _hint_layers(header)
    ours = ["conv_in.", *(f"blocks.{i}." for i in range(len(layers) - 1))]
    yield from ((theirs, HINT + name) for theirs, name in zip(layers, ours, strict=True))
    yield last, f"{HINT}conv_out."
    count = 1 + shapes.count(header, ZERO.pattern, none=-1)
    yield from ((f"zero_convs.{i}.0.", f"controlnet_down_blocks.{i}.") for i in range(count))
    yield "middle_block_out.0.", "controlnet_mid_block."


def _encoder(config: Mapping[str, Any]) -> dict[str, Any]:
    return {**config, "up_block_types": ()}


def _base(source: Source) -> dict[str, Tensor]:
    """Return the weights of the model that differences are taken from, under diffusers' names."""
    if BASE not in source.headers:
        raise BadFile(
            f"{source.path.name} holds differences from a model's weights: load it with Load ControlNet difference, "
            "which takes the model too."
        )
    header = source.headers[BASE]
    prefix = ldm.unet_prefix(header)
    if prefix is None:
        raise BadFile("The model that comes with the differences has no U-Net.")
    tensors = source.tensors(BASE, lambda key: key.startswith(prefix))
    return ldm.unet_weights(tensors, shapes.unet_config(header), prefix)


def _added_to(base: Mapping[str, Tensor], differences: Mapping[str, Tensor]) -> dict[str, Tensor]:
    wrong = [k for k, d in differences.items() if k in base and base[k].shape != d.shape]
    if wrong:
        raise BadFile(f"The differences are those from another model: {len(wrong)} tensors do not fit ({wrong[0]}).")
    return {
        k: torch.add(d.float(), base[k].float()).to(d.dtype) if k in base else d for k, d in differences.items()
    }  # fmt: skip


FAMILY = ControlNet()
