"""DC-AE, SANA's autoencoder (AutoencoderDC), in a file of its own: 32 x 32 pixels to a cell of 32 channels.

Chen et al. 2024, arXiv 2410.10733. Its config is read from the shapes, after diffusers' own converter has named the
layers of a file in the published layout.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from diffusers.loaders.single_file_utils import convert_autoencoder_dc_checkpoint_to_diffusers
from torch import Tensor

from engine.diffusion.families import shapes
from engine.diffusion.families.autoencoder import Autoencoder, LatentFormat, build_autoencoder, decode_widths
from engine.diffusion.families.base import WHOLE, Part, Reason, Source, Verdict
from engine.diffusion.families.ldm import Shapes
from engine.diffusion.families.load import Place
from engine.errors import BadFile

SCALE = 0.41407
HEAD = 32
PUBLISHED, NAMED = "encoder.project_in.conv.weight", "encoder.conv_in.weight"
RES, ATTENTION = "conv1.weight", "attn.to_q.weight"  # what tells the two kinds of blocks


class StandaloneDc:
    """The family object; see `base.Family`."""

    name = "dc_ae"
    title = "DC-AE, SANA's autoencoder"
    order = 51

    def recognise(self, source: Source) -> Verdict:
        """Look for stages of blocks on both sides, and latents of 32 channels."""
        header = source.single
        stages = ("encoder.stages.0.op_list.0.", "encoder.down_blocks.0.0.")
        first = ("decoder.project_in.conv.weight", "decoder.conv_in.weight")
        signs = {
            "encoder.stages": any(key.startswith(stages) for key in header),
            "encoder.project_in": PUBLISHED in header or NAMED in header,
            "decoder.project_in with 32 inputs": any(shapes.header_shape(header, key)[1:2] == (32,) for key in first),
        }
        against = {"batch norms (ImageNet's)": any(key.endswith("running_mean") for key in header)}
        return Verdict.of(self.name, signs, against)

    def card(self, source: Source) -> tuple[Reason, ...]:
        """Return family, layout and latent format with their reasons."""
        layout = "published names" if PUBLISHED in source.single else "diffusers names"
        return (
            Reason("family", self.title, "; ".join(self.recognise(source).found) or "named by hand"),
            Reason("layout", f"single file, {layout}", "names of the first layer"),
            *LatentFormat.of(_config(source)).reasons("shapes in the file", "not stored in a file; SANA's"),
        )

    def parts(self, source: Source) -> dict[str, Part]:
        """Return the one part there is."""
        config = _config(source)
        latents = LatentFormat.of(config)
        options = {"channels": latents.channels, "factor": latents.factor, "width": decode_widths(config)}
        return {"vae": Part(source.single.size, options)}

    def build(self, source: Source, part: str, place: Place) -> Autoencoder:
        """Build the autoencoder at `place`."""
        return build_autoencoder(_config(source), _named(source.tensors(WHOLE)), place)


def _named(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights under diffusers' names."""
    if PUBLISHED not in weights:
        return dict(weights)
    found: dict[str, Tensor] = convert_autoencoder_dc_checkpoint_to_diffusers(dict(weights))
    return found


def _config(source: Source) -> dict[str, Any]:
    """Return the config by shapes; what the layers are called in the file is found out without their values."""
    kept: dict[str, Any] | None = source.worked_out.get(StandaloneDc.name)
    if kept is None:
        empty = {key: torch.empty(tensor.shape, device="meta") for key, tensor in source.single.items()}
        kept = dc_config(_named(empty))
        source.worked_out[StandaloneDc.name] = kept
    return kept


def dc_config(header: Shapes) -> dict[str, Any]:
    """Read the config from shapes; BadFile if the blocks follow no regular plan."""
    encoder, decoder = (_side(header, f"{side}.") for side in ("encoder.down_blocks", "decoder.up_blocks"))
    widths, inner = encoder["block_out_channels"], decoder["block_out_channels"]
    down = shapes.header_shape(header, f"encoder.down_blocks.0.{encoder['layers_per_block'][0]}.conv.weight")
    up = shapes.header_shape(header, "decoder.up_blocks.0.0.conv.weight")
    return {
        "_class_name": "AutoencoderDC",
        "latent_channels": (*shapes.header_shape(header, "decoder.conv_in.weight"), 0, 0)[1],
        "attention_head_dim": HEAD,
        "scaling_factor": SCALE,
        "downsample_block_type": "Conv" if down[:1] == tuple(widths[1:2]) else "pixel_unshuffle",
        "upsample_block_type": "interpolate" if up[:1] == tuple(inner[:1]) else "pixel_shuffle",
        **{f"encoder_{name}": value for name, value in encoder.items()},
        **{f"decoder_{name}": value for name, value in decoder.items()},
    }


def _side(header: Shapes, start: str) -> dict[str, list[Any]]:
    """Return channels, number, kind and scales of the blocks of each level of one side."""
    found: dict[str, list[Any]] = {
        name: [] for name in ("block_out_channels", "layers_per_block", "block_types", "qkv_multiscales")
    }
    for level in range(1 + shapes.count(header, re.escape(start) + r"(\d{1,2})\.", none=-1)):
        places = [f"{start}{level}.{i}." for i in range(1 + shapes.count(header, rf"{start}{level}\.(\d{{1,2}})\."))]
        blocks = [place for place in places if place + RES in header or place + ATTENTION in header]
        if not blocks:
            raise BadFile("The autoencoder's levels follow no regular plan; the file is damaged or of another family.")
        attends = blocks[-1] + ATTENTION in header
        shape = shapes.header_shape(header, blocks[-1] + (ATTENTION if attends else RES))
        scales = shapes.header_shape(header, f"{blocks[-1]}attn.to_qkv_multiscale.0.proj_in.weight")
        found["block_out_channels"].append((*shape, 0, 0)[1])
        found["layers_per_block"].append(len(blocks))
        found["block_types"].append("EfficientViTBlock" if attends else "ResBlock")
        found["qkv_multiscales"].append(list(scales[2:3]))
    return found


FAMILY = StandaloneDc()
