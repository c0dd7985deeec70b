"""An autoencoder (AutoencoderKL) in a file of its own, with LDM's or diffusers' keys; Stable Diffusion 1.x latents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.diffusion.families import ldm
from engine.diffusion.families.autoencoder import Autoencoder, build_autoencoder, decode_widths, factor_of
from engine.diffusion.families.base import WHOLE, Part, Reason, Source, Verdict
from engine.diffusion.families.load import Place

LDM_SIGN, DIFFUSERS_SIGN = "decoder.mid.block_1.conv1.weight", "decoder.mid_block.resnets.0.conv1.weight"


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
            "a diffusion network": any(k.startswith(ldm.UNET) for k in header),
            "layers for video": len(_decoder_in(header)) == 5,
        }
        return Verdict.of(self.name, signs, against)

    def card(self, source: Source) -> tuple[Reason, ...]:
        """Return family, layout, channels and factor with their reasons."""
        config = _config(source.single)
        layout = "diffusers" if _is_diffusers(source.single) else "LDM"
        return (
            Reason("family", self.title, "; ".join(self.recognise(source).found)),
            Reason("layout", layout, "names of the middle block"),
            Reason("latent channels", config["latent_channels"], "shape of decoder.conv_in.weight"),
            Reason("latent factor", factor_of(config), "levels that halve the side"),
            Reason("latent scale", config["scaling_factor"], "not stored in a file; Stable Diffusion 1.x's"),
        )

    def parts(self, source: Source) -> dict[str, Part]:
        """Return the one part there is."""
        config = _config(source.single)
        options = {"channels": config["latent_channels"], "factor": factor_of(config), "width": decode_widths(config)}
        return {"vae": Part(source.single.size, options)}

    def build(self, source: Source, part: str, place: Place) -> Autoencoder:
        """Build the autoencoder at `place`."""
        config, tensors = _config(source.single), source.tensors(WHOLE)
        if not _is_diffusers(source.single):
            tensors = ldm.converted("vae", tensors, {"vae": config}, ldm.vae_prefix(source.single) or "")
        return build_autoencoder(config, tensors, place)


def _is_diffusers(header: Mapping[str, Any]) -> bool:
    return DIFFUSERS_SIGN in header


def _decoder_in(header: Mapping[str, Any]) -> tuple[int, ...]:
    key = f"{ldm.vae_prefix(header) or ''}decoder.conv_in.weight"
    return tuple(header[key].shape) if key in header else ()


def _config(header: Mapping[str, Any]) -> dict[str, Any]:
    return ldm.vae_config(header, *(ldm.DIFFUSERS_VAE if _is_diffusers(header) else ldm.LDM_VAE))


FAMILY = StandaloneVae()
