"""A text encoder of a family with transformers: where it lies in a source, and how it is built."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from engine.diffusion.families import ldm, shapes
from engine.diffusion.families.base import Source
from engine.diffusion.families.clip_text import CLIP_TOKENIZER, ClipText, Reading, build_clip_text
from engine.diffusion.families.ldm import Shapes
from engine.diffusion.families.load import Place
from engine.errors import BadFile, BadInput

PROJECTION = "text_projection.weight"
PLAIN = Reading()


@dataclass(frozen=True)
class TextPart(ABC):
    """One text encoder. `folder`: its component in diffusers' layout; `prefixes`: of its keys in a file with all parts.

    A file of its own has no prefix. `optional`: the family reads prompts without it too, if less well.
    """

    folder: str
    prefixes: tuple[str, ...]
    optional: bool = False

    @abstractmethod
    def is_at(self, header: Shapes, prefix: str) -> bool:
        """Say whether an encoder of this kind lies behind `prefix`."""

    @abstractmethod
    def config(self, header: Shapes, prefix: str) -> Mapping[str, Any]:
        """Return its config, read from shapes."""

    @abstractmethod
    def built(self, source: Source, config: Mapping[str, Any], weights: Mapping[str, Tensor], place: Place) -> Any:
        """Build it from `weights`, named as in their file without prefix."""

    @property
    def tokenizer(self) -> str:
        """The component of its tokenizer in diffusers' layout."""
        return self.folder.replace("text_encoder", "tokenizer")

    def place(self, source: Source) -> tuple[str, str] | None:
        """Return component and prefix of its keys, or None if it is not there."""
        if source.configs:
            return (self.folder, "") if self.folder in source.headers else None
        places = ((c, p) for c, h in source.headers.items() for p in (*self.prefixes, "") if self.is_at(h, p))
        return next(places, None)

    def size(self, source: Source) -> int:
        """Return its number of parameters, 0 if it is not there."""
        place = self.place(source)
        return 0 if place is None else size_at(source, *place)

    def build(self, source: Source, place: Place) -> Any:
        """Build it; BadFile if it is not there."""
        there = self.place(source)
        if there is None:
            raise BadFile(f"{source.path.name} does not hold the {self.folder.replace('_', ' ')} that it needs.")
        component, prefix = there
        try:
            config = source.configs.get(component) or self.config(source.headers[component], prefix)
        except (LookupError, ValueError) as error:
            raise BadFile(f"The {self.folder.replace('_', ' ')} lacks layers that its kind has: {error}.") from error
        weights = source.tensors(component, lambda key: key.startswith(prefix))
        return self.built(source, config, {k.removeprefix(prefix): v for k, v in weights.items()}, place)


@dataclass(frozen=True)
class ClipPart(TextPart):
    """A CLIP text encoder; `width` tells it from others, `pad` is the token that fills a chunk, if not the usual."""

    width: int = 768
    act: str = "quick_gelu"
    reading: Reading = PLAIN
    pad: int | None = None

    def is_at(self, header: Shapes, prefix: str) -> bool:
        """Say whether a CLIP lies behind `prefix`; in a file of its own, one of this width."""
        there = ldm.text_prefix(header, (prefix,)) is not None
        return there and (bool(prefix) or shapes.text_width(header, prefix) == self.width)

    def config(self, header: Shapes, prefix: str) -> Mapping[str, Any]:
        """Return its config, from shapes."""
        return {**shapes.text_config(header, prefix), "hidden_act": self.act}

    def built(self, source: Source, config: Mapping[str, Any], weights: Mapping[str, Tensor], place: Place) -> ClipText:
        """Build it. CLIP-L's own files leave its projection out: then its pooled state is not projected."""
        if source.configs:
            tokenizer = source.path / self.tokenizer
            return build_clip_text(config, weights, tokenizer, place, reading=self.reading)
        weights = ldm.text_weights(weights, "", int(config["num_hidden_layers"]))
        if self.reading.projected and PROJECTION not in weights:
            weights[PROJECTION] = torch.eye(int(config["hidden_size"]), dtype=next(iter(weights.values())).dtype)
        return build_clip_text(config, weights, CLIP_TOKENIZER, place, reading=self.reading, pad=self.pad)


def refuse_skip(skip: int | None) -> None:
    """Refuse to read an earlier layer, of an encoder whose families read one layer alone."""
    if skip is not None:
        raise BadInput("CLIP skip is for CLIP; this text encoder is read at one layer. Remove the node.", field="clip")


def size_at(source: Source, component: str, prefix: str) -> int:
    """Return the number of parameters behind a prefix."""
    return sum(t.size for k, t in source.headers[component].items() if k.startswith(prefix))
