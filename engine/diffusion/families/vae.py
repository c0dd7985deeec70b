"""An autoencoder (AutoencoderKL) in a file of its own, with LDM's or diffusers' keys: Stable Diffusion's or SDXL's.

The two have the same shapes and differ in the scale of their latents, which no file stores.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.diffusion.families import ldm, shapes
from engine.diffusion.families.autoencoder import Autoencoder, LatentFormat, build_autoencoder, decode_widths
from engine.diffusion.families.base import WHOLE, Part, Reason, Source, Verdict
from engine.diffusion.families.load import Place

LDM_SIGN, DIFFUSERS_SIGN = "decoder.mid.block_1.conv1.weight", "decoder.mid_block.resnets.0.conv1.weight"
SCALES = {"sd": 0.18215, "sdxl": 0.13025}


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
            "latents of 4 channels": len(_decoder_in(header)) == 4 and _decoder_in(header)[1] == 4,
        }
        against = {
            "a diffusion network": ldm.unet_prefix(header) is not None,
            "layers for video": len(_decoder_in(header)) == 5,
        }
        return Verdict.of(self.name, signs, against)

    def card(self, source: Source) -> tuple[Reason, ...]:
        """Return family, layout and latent format with their reasons."""
        layout = "diffusers" if DIFFUSERS_SIGN in source.single else "LDM"
        why = _scale(source)[1]
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


def _scale(source: Source) -> tuple[float, str]:
    """Return the scale of the latents, and why: only the file's name or notes may say that it is SDXL's."""
    said = f"{source.path.name} {source.single.metadata.get('modelspec.architecture', '')}".lower()
    kind = "sdxl" if "xl" in said else "sd"
    named = "its name says XL" if kind == "sdxl" else "not stored in a file; Stable Diffusion 1.x's, as no XL is named"
    return SCALES[kind], named


def _decoder_in(header: Mapping[str, Any]) -> tuple[int, ...]:
    return shapes.header_shape(header, f"{ldm.vae_prefix(header) or ''}decoder.conv_in.weight")


def _config(source: Source) -> dict[str, Any]:
    return shapes.vae_config(source.single, _scale(source)[0])


FAMILY = StandaloneVae()
