"""The autoencoder between pixels and latents: AutoencoderKL or AutoencoderDC, whole or in tiles."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from diffusers import AutoencoderDC, AutoencoderKL, AutoencoderKLQwenImage, AutoencoderKLWan
from torch import Tensor

from engine.diffusion import residency
from engine.diffusion.families.base import Reason
from engine.diffusion.families.load import Place, assign, number, on_meta, whole
from engine.diffusion.patches import Report
from engine.diffusion.relief import relieved
from engine.diffusion.tiles import OnTile, silent, tiled
from engine.errors import BadFile, BadInput, NotFinite

VIDEO: dict[str, Any] = {"AutoencoderKLWan": AutoencoderKLWan, "AutoencoderKLQwenImage": AutoencoderKLQwenImage}
CLASSES: dict[str, Any] = {"AutoencoderKL": AutoencoderKL, "AutoencoderDC": AutoencoderDC, **VIDEO}
LEVELS_MAX = 8
OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
TILES = (512, 256, 128)  # pixels
TILE_OVERLAP = 0.25  # of a tile's side: enough for the receptive field of the outer layers to fade out


@dataclass(frozen=True)
class LatentFormat:
    """What a latent is: its channels, pixels per cell, and z = (raw - shift) * scale of about unit variance.

    `scale` and `shift` are one number each, or one per channel.
    """

    channels: int
    factor: int
    scale: float | tuple[float, ...] = 1.0
    shift: float | tuple[float, ...] = 0.0

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> LatentFormat:
        """Read it from an autoencoder's config; those of videos say mean and deviation of each channel."""
        if config.get("_class_name") in VIDEO:
            mean, deviation = _numbers(config, "latents_mean"), _numbers(config, "latents_std")
            scale = tuple(1 / d for d in deviation if d)
            return cls(whole(config, "z_dim", 16), factor_of(config), scale, mean)
        return cls(
            whole(config, "latent_channels", 4),
            factor_of(config),
            number(config, "scaling_factor", 1.0),
            number(config, "shift_factor", 0.0),
        )

    def reasons(self, why: str, why_scale: str) -> list[Reason]:
        """Return its entries of a card."""
        return [
            Reason("latent channels", self.channels, f"{why}: latent_channels"),
            Reason("latent factor", self.factor, f"{why}: levels that halve the side"),
            Reason("latent scale", self.scale, why_scale),
            Reason("latent shift", self.shift, why_scale),
        ]


KNOWN: Mapping[str, LatentFormat] = {
    "sd": LatentFormat(4, 8, 0.18215),
    "sdxl": LatentFormat(4, 8, 0.13025),
    "flux": LatentFormat(16, 8, 0.3611, 0.1159),
    "sd3": LatentFormat(16, 8, 1.5305, 0.0609),
}
"""Latents of AutoencoderKL by the family that was trained on them: no file stores scale and shift."""


@dataclass(frozen=True, eq=False)
class Autoencoder:
    """Pixels (B, H, W, 3) in 0..1 to latents (B, C, H / factor, W / factor) of about unit variance, and back.

    To an autoencoder of videos, a picture is a video of one frame.
    """

    module: Any  # one of CLASSES
    latents: LatentFormat
    patched: Callable[[], AbstractContextManager[None]] = nullcontext
    reports: tuple[Report, ...] = ()

    @property
    def factor(self) -> int:
        """Pixels per latent cell."""
        return self.latents.factor

    @property
    def channels(self) -> int:
        """Channels of a latent."""
        return self.latents.channels

    def configured(self, options: Mapping[str, Any]) -> Autoencoder:
        """Return this network with what a Vae's options say in place of its file: `latents`, one of `KNOWN`."""
        told = KNOWN.get(options.get("latents", ""))
        if told is None:
            return self
        if told.channels != self.channels:
            raise BadInput(
                f"Latents of {options['latents']} have {told.channels} channels, this autoencoder's {self.channels}.",
                field="latents",
            )
        return replace(self, latents=replace(self.latents, scale=told.scale, shift=told.shift))

    def encode(self, pixels: Tensor, *, tile: int = 0, on_tile: OnTile = silent) -> Tensor:
        """Encode; the mode of the posterior, so that it is deterministic. `tile` in pixels, 0 = whole."""
        if pixels.shape[1] % self.factor or pixels.shape[2] % self.factor:
            raise BadInput(f"The picture's sides must be multiples of {self.factor}, got {tuple(pixels.shape[1:3])}.")
        images = pixels.movedim(-1, 1) * 2 - 1  # (B, H, W, 3) in 0..1 -> (B, 3, H, W) in -1..1
        side = tile // self.factor * self.factor

        def encoded(side: int) -> Tensor:
            grid = self.factor
            return tiled(self._encode, images, side, scale=1 / grid, overlap=TILE_OVERLAP, grid=grid, on_tile=on_tile)

        return relieved(partial(encoded, side), *(partial(encoded, s) for s in self._smaller(tile)))

    def decode(self, latents: Tensor, *, tile: int = 0, on_tile: OnTile = silent) -> Tensor:
        """Decode. `tile` in pixels, 0 = whole; tiles overlap and fade into one another."""
        if latents.shape[1] != self.channels:
            raise BadInput(f"The autoencoder takes {self.channels} channels, the latent has {latents.shape[1]}.")
        side = tile // self.factor

        def decoded(side: int) -> Tensor:
            return tiled(self._decode, latents, side, scale=self.factor, overlap=TILE_OVERLAP, on_tile=on_tile)

        images = relieved(partial(decoded, side), *(partial(decoded, s // self.factor) for s in self._smaller(tile)))
        if not images.isfinite().all():
            raise NotFinite("The autoencoder gave values that are not finite; the latent or its weights are damaged.")
        return (images / 2 + 0.5).clamp(0, 1).movedim(1, -1)  # (B, 3, H, W) in -1..1 -> (B, H, W, 3) in 0..1

    def _laid(self, x: Tensor) -> Tensor:
        """Lay the channels last where weights are packed: what convolutions of many pixels are fastest with."""
        return x.contiguous(memory_format=torch.channels_last) if residency.held_of(self.module) else x

    def _smaller(self, tile: int) -> list[int]:
        """Return the tiles to try in turn when memory is short: smaller than `tile` pixels, of whole latent cells."""
        return [s for s in TILES if s % self.factor == 0 and (not tile or s < tile)]

    def _encode(self, images: Tensor) -> Tensor:
        parameter = next(self.module.parameters())
        with self.patched():
            out = self.module.encode(self._framed(images.to(parameter.device, parameter.dtype)))
        found = out.latent_dist.mode() if hasattr(out, "latent_dist") else out.latent
        latents: Tensor = found[:, :, 0] if self._video else found
        return (latents.to(images) - self._per_channel(self.latents.shift)) * self._per_channel(self.latents.scale)

    def _decode(self, latents: Tensor) -> Tensor:
        parameter = next(self.module.parameters())
        raw = latents / self._per_channel(self.latents.scale) + self._per_channel(self.latents.shift)
        with self.patched():
            images: Tensor = self.module.decode(self._framed(raw.to(parameter.device, parameter.dtype))).sample
        return (images[:, :, 0] if self._video else images).to(latents)

    @property
    def _video(self) -> bool:
        return type(self.module).__name__ in VIDEO

    def _framed(self, x: Tensor) -> Tensor:
        """Return (B, C, h, w) as one frame where videos are taken, else with channels last if that is fastest."""
        return x[:, :, None] if self._video else self._laid(x)

    def _per_channel(self, value: float | tuple[float, ...]) -> float | Tensor:
        return value if isinstance(value, float) else torch.tensor(value)[:, None, None]  # (C, 1, 1)


def build_autoencoder(config: Mapping[str, Any], weights: Mapping[str, Tensor], place: Place) -> Autoencoder:
    """Build the autoencoder of `config` around `weights` (diffusers keys)."""
    cls = CLASSES.get(str(config.get("_class_name")))
    if cls is None:
        raise BadFile(f"The autoencoder is of class {config.get('_class_name')!r}; known: {', '.join(CLASSES)}.")
    module = on_meta(lambda: cls.from_config(dict(config)), config, "autoencoder")
    assign(module, {_renamed(k): v for k, v in weights.items()}, place, "autoencoder")
    return Autoencoder(module, LatentFormat.of(config))


def _renamed(key: str) -> str:
    """Return a key as diffusers writes it since 2023; the best-known Stable Diffusion folders are older."""
    for old, new in OLD_NAMES.items():
        key = key.replace(f".attentions.0.{old}.", f".attentions.0.{new}.")
    return key


def factor_of(config: Mapping[str, Any]) -> int:
    """Return the pixels per latent cell: the side halves once per level but the first."""
    return int(2 ** (len(_widths(config, "encoder")) - 1))


def decode_widths(config: Mapping[str, Any]) -> int:
    """Return the channels that live at full resolution while decoding: what its working memory is made of."""
    widths = _widths(config, "decoder")
    return widths[0] + widths[min(1, len(widths) - 1)]


def _widths(config: Mapping[str, Any], side: str) -> list[int]:
    """Return the channels of each level; Stable Diffusion's where the config is silent."""
    if config.get("_class_name") in VIDEO:
        times = config.get("dim_mult")
        times = times if isinstance(times, list) and all(type(t) is int for t in times) else [1, 2, 4, 4]
        return [whole(config, "base_dim", 96) * t for t in times[:LEVELS_MAX]]
    found = config.get("block_out_channels") or config.get(f"{side}_block_out_channels") or [128, 256, 512, 512]
    if not isinstance(found, list) or not 1 <= len(found) <= LEVELS_MAX or not all(type(w) is int for w in found):
        raise BadFile(f"The autoencoder's config lists the channels {str(found)[:60]}.")
    return found


def _numbers(config: Mapping[str, Any], name: str) -> tuple[float, ...]:
    """Return a list of numbers of a config, one per channel."""
    found = config.get(name)
    if not isinstance(found, list) or len(found) != whole(config, "z_dim", 16):
        raise BadFile(f"The autoencoder's config lists {str(found)[:60]} as {name}; a number per channel is needed.")
    return tuple(number({name: value}, name, 0.0) for value in found)
