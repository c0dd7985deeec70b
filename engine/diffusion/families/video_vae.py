"""The autoencoder of Wan 2.1 and of Qwen-Image: causal 3-D convolutions, of which pictures use one frame.

Both have the same layers and latents of the same mean and deviation (Wan Team 2025, arXiv 2503.20314). It is also found
as a file of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.diffusion.families import ldm, shapes
from engine.diffusion.families.autoencoder import Autoencoder, LatentFormat, build_autoencoder, decode_widths
from engine.diffusion.families.base import WHOLE, Part, Reason, Source, Verdict
from engine.diffusion.families.load import Place
from engine.diffusion.families.vae_parts import FOLDER
from engine.errors import BadFile

MEAN = (-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508, 0.4134, -0.0715, 0.5517, -0.3632, -0.1922,
        -0.9497, 0.2503, -0.2921)  # fmt: skip
DEVIATION = (2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743, 3.2687, 2.1526, 2.8652, 1.5579, 1.6382,
             1.1253, 2.8251, 1.9160)  # fmt: skip
OWN = LatentFormat(len(MEAN), 8, tuple(1 / d for d in DEVIATION), MEAN)
PUBLISHED, DIFFUSERS = "decoder.middle.0.residual.0.gamma", "decoder.mid_block.resnets.0.norm1.gamma"
PREFIXES = ("vae.", "first_stage_model.", "")


@dataclass(frozen=True)
class VideoPart:
    """It as a `vae_parts.VaePart`; `cls`: its name in diffusers."""

    cls: str = "AutoencoderKLWan"

    def place(self, source: Source) -> tuple[str, str] | None:
        """Return component and prefix of its keys."""
        if source.configs:
            return (FOLDER, "") if FOLDER in source.headers else None
        header = source.single
        return next(((WHOLE, p) for p in PREFIXES if p + PUBLISHED in header or p + DIFFUSERS in header), None)

    def latents(self, source: Source) -> LatentFormat:
        """Return its latent format."""
        config = self._config(source)
        return LatentFormat.of(config) if config else OWN

    def options(self, source: Source) -> dict[str, Any]:
        """Return the options of its description."""
        latents = self.latents(source)
        return {"channels": latents.channels, "factor": latents.factor, "width": decode_widths(self._config(source))}

    def build(self, source: Source, place: Place) -> Autoencoder:
        """Build it."""
        config = self._config(source)
        if source.configs:
            return build_autoencoder(config, source.tensors(FOLDER), place)
        _, prefix = self.place(source) or (WHOLE, "")
        weights = {k.removeprefix(prefix): v for k, v in source.tensors(WHOLE, lambda k: k.startswith(prefix)).items()}
        if PUBLISHED in weights:
            try:
                weights = ldm.converters.convert_wan_vae_to_diffusers(weights)
            except (ValueError, IndexError) as error:
                raise BadFile(f"The autoencoder's layers are named as none of its kind: {error}.") from error
        return build_autoencoder(config, weights, place)

    def _config(self, source: Source) -> Mapping[str, Any]:
        """Return its config; empty if it is not there. All that are known have the same plan."""
        place = self.place(source)
        if place is None:
            return {}
        if source.configs:
            return source.configs.get(FOLDER, {})
        name = "encoder.conv1.weight" if place[1] + PUBLISHED in source.single else "encoder.conv_in.weight"
        base = (*shapes.header_shape(source.single, place[1] + name), 1)[0]
        return {"_class_name": self.cls, "base_dim": base, "z_dim": len(MEAN), "dim_mult": [1, 2, 4, 4],
                "latents_mean": list(MEAN), "latents_std": list(DEVIATION)}  # fmt: skip


class VideoVae:
    """The family object of a file of its own; see `base.Family`."""

    name = "video_vae"
    title = "Autoencoder of Wan 2.1 and Qwen-Image"
    order = 51
    part = VideoPart()

    def recognise(self, source: Source) -> Verdict:
        """Look for causal convolutions and latents of 16 channels, and no other network."""
        header, (_, prefix) = source.single, self.part.place(source) or (WHOLE, "")
        entries = (f"{prefix}{name}.weight" for name in ("decoder.conv1", "decoder.conv_in"))
        shape = next((s for key in entries if (s := shapes.header_shape(header, key))), ())
        signs = {
            PUBLISHED: self.part.place(source) is not None and not source.configs,
            f"latents of {len(MEAN)} channels, in frames": len(shape) == 5 and shape[1] == len(MEAN),
        }
        return Verdict.of(self.name, signs, {"a diffusion network": any("diffusion_model." in key for key in header)})

    def card(self, source: Source) -> tuple[Reason, ...]:
        """Return family, layout and latent format with their reasons."""
        layout = "published names" if any(p + PUBLISHED in source.single for p in PREFIXES) else "diffusers names"
        why = "not stored in a file; the same for both"
        return (
            Reason("family", self.title, "; ".join(self.recognise(source).found)),
            Reason("layout", layout, "names of the middle block"),
            *self.part.latents(source).reasons("shapes in the file", why),
        )

    def parts(self, source: Source) -> dict[str, Part]:
        """Return the one part there is."""
        return {"vae": Part(source.single.size, self.part.options(source))}

    def build(self, source: Source, part: str, place: Place) -> Autoencoder:
        """Build the autoencoder at `place`."""
        return self.part.build(source, place)


FAMILY = VideoVae()
