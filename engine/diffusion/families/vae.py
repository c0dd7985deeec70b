"""An autoencoder (AutoencoderKL) in a file of its own, with LDM's or diffusers' keys.

Those of 4 channels are Stable Diffusion's or SDXL's, those of 16 Flux's or Stable Diffusion 3's. Two of a kind have the
same shapes and differ in scale and shift of their latents, which no file stores.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.diffusion.families import ldm, shapes
from engine.diffusion.families.autoencoder import KNOWN, Autoencoder, LatentFormat, build_autoencoder, decode_widths
from engine.diffusion.families.base import WHOLE, Part, Reason, Source, Verdict
from engine.diffusion.families.load import Place
from engine.diffusion.families.vae_parts import kl_config

LDM_SIGN, DIFFUSERS_SIGN = "decoder.mid.block_1.conv1.weight", "decoder.mid_block.resnets.0.conv1.weight"
CHANNELS = (4, 16)


class StandaloneVae:
    """The family object; see `base.Family`."""

    name = "vae"
    title = "Autoencoder"
    order = 50

    def recognise(self, source: Source) -> Verdict:
        """Look for an encoder and a decoder and no other network."""
        header = source.single
        prefix = ldm.vae_prefix(header)
        signs = {
            "decoder.conv_in.weight": prefix is not None,
            "encoder.conv_in.weight": f"{prefix or ''}encoder.conv_in.weight" in header,
            "a middle block": any((prefix or "") + sign in header for sign in (LDM_SIGN, DIFFUSERS_SIGN)),
            "latents of 4 or 16 channels": len(_decoder_in(header)) == 4 and _decoder_in(header)[1] in CHANNELS,
        }
        against = {
            "a diffusion network": ldm.unet_prefix(header) is not None or any("diffusion_model." in k for k in header),
            "layers for video": len(_decoder_in(header)) == 5,
        }
        return Verdict.of(self.name, signs, against)

    def card(self, source: Source) -> tuple[Reason, ...]:
        """Return family, layout and latent format with their reasons."""
        layout = "diffusers" if DIFFUSERS_SIGN in source.single else "LDM"
        why = _latents(source)[1]
        return (
            Reason("family", self.title, "; ".join(self.recognise(source).found)),
            Reason("layout", layout, "names of the middle block"),
            *LatentFormat.of(_config(source)).reasons("shapes in the file", why),
        )

    def parts(self, source: Source) -> dict[str, Part]:
        """Return the one part there is."""
        config = _config(source)
        latents = LatentFormat.of(config)
        options = {"channels": latents.channels, "factor": latents.factor, "width": decode_widths(config)}
        return {"vae": Part(source.single.size, options)}

    def build(self, source: Source, part: str, place: Place) -> Autoencoder:
        """Build the autoencoder at `place`."""
        config, prefix = _config(source), ldm.vae_prefix(source.single) or ""
        return build_autoencoder(config, ldm.vae_weights(source.tensors(WHOLE), config, prefix), place)


def _latents(source: Source) -> tuple[LatentFormat, str]:
    """Return the latents of its kind, and why: only the file's name or notes may say whose they are."""
    said = f"{source.path.name} {source.single.metadata.get('modelspec.architecture', '')}".lower()
    if (*_decoder_in(source.single), 0, 0)[1] == CHANNELS[0]:
        mark, kind, other = "xl", "sdxl", ("sd", "Stable Diffusion 1.x's")
    else:
        mark, kind, other = "sd3", "sd3", ("flux", "Flux's")
    if mark in said:
        return KNOWN[kind], f"its name says {mark.upper()}"
    return KNOWN[other[0]], f"not stored in a file; {other[1]}, as no {mark.upper()} is named"


def _decoder_in(header: Mapping[str, Any]) -> tuple[int, ...]:
    return shapes.header_shape(header, f"{ldm.vae_prefix(header) or ''}decoder.conv_in.weight")


def _config(source: Source) -> dict[str, Any]:
    return kl_config(source.single, _latents(source)[0])


FAMILY = StandaloneVae()
