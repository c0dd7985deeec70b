"""The autoencoder of a family with transformers: where it lies in a source, its latent format, how it is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from engine.diffusion.families import ldm, shapes
from engine.diffusion.families.autoencoder import Autoencoder, LatentFormat, build_autoencoder, decode_widths
from engine.diffusion.families.base import WHOLE, Source
from engine.diffusion.families.load import Place
from engine.diffusion.families.text_parts import size_at

FOLDER = "vae"


class VaePart(Protocol):
    """An autoencoder as a family has it."""

    def place(self, source: Source) -> tuple[str, str] | None:
        """Return component and prefix of its keys, or None if it is not there."""

    def latents(self, source: Source) -> LatentFormat:
        """Return its latent format; the family's own where no autoencoder says it."""

    def options(self, source: Source) -> dict[str, Any]:
        """Return the options of its description: `channels`, `factor`, `width`."""

    def build(self, source: Source, place: Place) -> Any:
        """Build it."""


@dataclass(frozen=True)
class KlPart:
    """AutoencoderKL with the latents that a family was trained on, which no file stores: z = (raw - shift) scale."""

    own: LatentFormat

    def place(self, source: Source) -> tuple[str, str] | None:
        """Return component and prefix of its keys."""
        if source.configs:
            return (FOLDER, "") if FOLDER in source.headers else None
        prefix = ldm.vae_prefix(source.single)
        there = prefix is not None and _channels(source.single, prefix) == self.own.channels
        return (WHOLE, prefix) if prefix is not None and there else None

    def latents(self, source: Source) -> LatentFormat:
        """Return its latent format."""
        config = self._config(source)
        return LatentFormat.of(config) if config else self.own

    def options(self, source: Source) -> dict[str, Any]:
        """Return the options of its description."""
        latents, config = self.latents(source), self._config(source)
        return {"channels": latents.channels, "factor": latents.factor, "width": decode_widths(config)}

    def build(self, source: Source, place: Place) -> Autoencoder:
        """Build it."""
        config = self._config(source)
        if source.configs:
            return build_autoencoder(config, source.tensors(FOLDER), place)
        _, prefix = self.place(source) or (WHOLE, "")
        weights = source.tensors(WHOLE, lambda key: key.startswith(prefix))
        return build_autoencoder(config, ldm.vae_weights(weights, config, prefix), place)

    def _config(self, source: Source) -> Mapping[str, Any]:
        """Return its config; empty if it is not there."""
        if source.configs:
            return source.configs.get(FOLDER, {})
        return kl_config(source.single, self.own) if self.place(source) else {}


def kl_config(header: ldm.Shapes, own: LatentFormat) -> dict[str, Any]:
    """Read an AutoencoderKL's config from its shapes, of which newer ones lack two layers."""
    prefix = ldm.vae_prefix(header) or ""
    assert isinstance(own.scale, float)
    return {
        **shapes.vae_config(header, own.scale),
        "shift_factor": own.shift,
        "use_quant_conv": f"{prefix}quant_conv.weight" in header,
        "use_post_quant_conv": f"{prefix}post_quant_conv.weight" in header,
    }


def _channels(header: ldm.Shapes, prefix: str) -> int:
    return (*shapes.header_shape(header, f"{prefix}decoder.conv_in.weight"), 0, 0)[1]


def vae_size(source: Source, part: VaePart) -> int:
    """Return an autoencoder's number of parameters, 0 if it is not there."""
    place = part.place(source)
    return 0 if place is None else size_at(source, *place)
