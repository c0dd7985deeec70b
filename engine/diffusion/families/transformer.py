"""What families with transformers share: the network contract, and where model, texts and autoencoder lie in a source.

A family (`TransformerFamily`) brings the names and signs of its network, its text encoders (`text_parts.TextPart`), its
autoencoder (`vae_parts.VaePart`), and an adapter (`Transformer`), in which all of its conventions stay.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Self

from diffusers.models.embeddings import get_2d_sincos_pos_embed
from torch import Tensor

from engine.diffusion import levels as noise_levels
from engine.diffusion.denoiser import Denoiser, Prediction, in_halves
from engine.diffusion.families import ldm, shapes
from engine.diffusion.families.base import WHOLE, Part, Reason, Source, Verdict
from engine.diffusion.families.ldm import Shapes
from engine.diffusion.families.load import Place, assign, number, on_meta, whole
from engine.diffusion.families.names import Names, renamed
from engine.diffusion.families.text_parts import TextPart, size_at
from engine.diffusion.families.vae_parts import VaePart, vae_size
from engine.diffusion.levels import Levels
from engine.diffusion.patches import Report
from engine.diffusion.relief import relieved
from engine.errors import BadFile, BadInput
from engine.types import Cond

PREFIXES = ("model.diffusion_model.", "diffusion_model.", "")
FOLDER = "transformer"
STEERING = {
    "attention": "edits of attention", "controls": "ControlNet or T2I-Adapter", "grounding": "grounded boxes",
    "concat": "second picture",
}  # fmt: skip
"""What conditions may carry for U-Nets: to leave it out silently would be another picture than was asked for."""
NOT_STORED = "not stored in a file; {title} was trained so"


@dataclass(frozen=True)
class SizedShift:
    """A shift exp(mu) of flow time whose mu is linear in the number of tokens: `ends` at `tokens`."""

    ends: tuple[float, float] = (0.5, 1.15)
    tokens: tuple[float, float] = (256, 4096)

    @classmethod
    def of(cls, schedule: Mapping[str, Any]) -> SizedShift | None:
        """Read it from a scheduler's config; None if that does not follow the size."""
        if not schedule.get("use_dynamic_shifting"):
            return None
        ends = number(schedule, "base_shift", cls.ends[0]), number(schedule, "max_shift", cls.ends[1])
        few = number(schedule, "base_image_seq_len", cls.tokens[0])
        return cls(ends, (few, number(schedule, "max_image_seq_len", cls.tokens[1])))

    def shift(self, tokens: int) -> float:
        """Return the factor for a picture of so many tokens."""
        (low, high), (few, many) = self.ends, self.tokens
        return math.exp(low + (high - low) * (tokens - few) / (many - few))


@dataclass(frozen=True, eq=False)
class Transformer(ABC):
    """A text-conditioned transformer on latents (B, C, h, w); a family's adapter says how it is called.

    `factor`: pixels per latent cell; `patch`: cells per side of what it takes as one token; `preview`: factors
    (C + 1, 3) from latent channels to colours; `sized`: how its noise levels follow the size, if they do: then
    `levels` are those of its own size.
    """

    module: Any  # a diffusers model, which has no types
    levels: Levels
    channels: int
    factor: int = 8
    patch: int = 2
    preview: Tensor | None = None
    sized: SizedShift | None = None
    patched: Callable[[], AbstractContextManager[None]] = nullcontext
    reports: tuple[Report, ...] = ()
    prediction: ClassVar[Prediction] = "flow"
    reads: ClassVar[str] = "joint_attention_dim"  # what its config calls the width of text states

    @property
    def text_width(self) -> int:
        """Width of the text states that it reads."""
        return int(getattr(self.module.config, self.reads))

    @abstractmethod
    def predict(self, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """Call the module, with its own conventions. All tensors are on its device and in its number format."""

    @property
    def denoiser(self) -> Denoiser:
        """The network as D(x, sigma, cond) -> x0."""
        return Denoiser(self, self.levels, self.prediction)

    def levels_for(self, height: int, width: int) -> Levels:
        """Return the noise levels for latents of height x width cells."""
        if self.sized is None:
            return self.levels
        return noise_levels.flow(shift=self.sized.shift(height // self.patch * (width // self.patch)))

    def at_size(self, pixels: int) -> Self:
        """Return this network with the noise levels of square pictures."""
        return replace(self, levels=self.levels_for(*[pixels // self.factor] * 2))

    def configured(self, options: Mapping[str, Any]) -> Transformer:
        """Return this network with what a Model's options say in place of its file: `shift`."""
        if options.keys() & {"prediction", "zero_snr"}:
            raise BadInput("What a transformer predicts is known by its family: remove the node that says another.")
        if "shift" not in options:
            return self
        return replace(self, levels=noise_levels.flow(shift=float(options["shift"])), sized=None)

    def __call__(self, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """Predict from x (B, C, h, w) at c_noise (B,), for a flow 1000 s, under a condition with B rows."""
        self._check(x, cond)
        whole = partial(self._predict, x, c_noise, cond)
        smaller = () if len(x) == 1 else (partial(in_halves, self, x, c_noise, cond),)
        out: Tensor = relieved(whole, *smaller)
        return out

    def _predict(self, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        weight = next(p for p in self.module.parameters() if p.ndim == 1)  # larger ones may be held in their file

        def there(tensor: Tensor) -> Tensor:
            return tensor.to(weight.device, weight.dtype if tensor.is_floating_point() else tensor.dtype)

        extra = {k: there(v) if isinstance(v, Tensor) else v for k, v in cond.extra.items()}
        pooled = None if cond.pooled is None else there(cond.pooled)
        moved = Cond(there(cond.tokens), pooled, extra=extra)
        with self.patched():
            out = self.predict(there(x), c_noise.to(weight.device), moved)
        return out.to(x)

    def _check(self, x: Tensor, cond: Cond) -> None:
        steered = [what for key, what in STEERING.items() if len(cond.extra.get(key, ()))]
        if steered:
            raise BadInput(f"This model is a transformer and takes no {steered[0]}: that is for U-Nets.", field="model")
        if x.shape[1] != self.channels:
            raise BadInput(f"The model works on latents of {self.channels} channels; {x.shape[1]} came.")
        if x.shape[2] % self.patch or x.shape[3] % self.patch:
            pixels = tuple(side * self.factor for side in x.shape[2:])
            raise BadInput(
                f"The model works on patches of {self.patch} x {self.patch} latent cells: sides must be multiples of "
                f"{self.patch * self.factor} pixels, got {pixels[1]} x {pixels[0]}.", field="latent",
            )  # fmt: skip
        if cond.tokens.shape[-1] != self.text_width:
            raise BadInput(
                f"The model reads text {self.text_width} wide, the conditioning is {cond.tokens.shape[-1]} wide: "
                "it comes from another family's text encoder."
            )
        pooled = getattr(self.module.config, "pooled_projection_dim", None)
        if pooled is not None and (cond.pooled is None or cond.pooled.shape[-1] != pooled):
            raise BadInput("The model needs a pooled text state, as its own text encoders give; this has another.")


class TransformerFamily(ABC):
    """A family of transformers; see `base.Family`.

    `network`: class of its network in diffusers; `own_size`: pixels per side that it was made for, or `own_cells` of
    latents where its config may say others (`sample_size`), and `why_size`, what says so; `predicts`: what it does, in
    words; `texts`: its text encoders in the order in which they are joined.
    """

    name: str
    title: str
    order: int
    network: Any
    own_size = 1024
    own_cells = 0
    why_size = NOT_STORED
    predicts = "velocity"
    texts: tuple[TextPart, ...]
    vae: VaePart

    # What a family says of its network -------------------------------------------------------------------------------

    @abstractmethod
    def signs(self, header: Shapes, prefix: str) -> tuple[dict[str, bool], dict[str, bool]]:
        """Return what speaks for and against in a single file, where `prefix` is that of the network's keys."""

    @property
    @abstractmethod
    def sign(self) -> tuple[str, ...]:
        """A key of the network in each layout that a single file may have: by one of them its prefix is found."""

    def folder_signs(self, config: Mapping[str, Any]) -> tuple[dict[str, bool], dict[str, bool]]:
        """Return what more speaks for and against in the network's config of a diffusers folder."""
        return {}, {}

    @abstractmethod
    def config(self, header: Shapes, prefix: str) -> dict[str, Any]:
        """Read the network's config from shapes; its layers are named as published, or as diffusers does."""

    @abstractmethod
    def names(self, config: Mapping[str, Any]) -> Names:
        """Return its layers' published names."""

    leaves: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def adapted(self, module: Any, schedule: Mapping[str, Any], source: Source) -> Transformer:
        """Return the adapter around its network; `schedule`: the scheduler's config, empty for a single file."""

    @abstractmethod
    def joined(self, texts: Sequence[Any]) -> Any:
        """Return the text encoders, None for those left out, as one."""

    def size(self, source: Source) -> int:
        """Return the pixels per side that its network was made for."""
        place = self._place(source)
        if place is None or not self.own_cells:
            return self.own_size
        config = source.configs.get(FOLDER) or self.config(source.headers[place[0]], place[1])
        return whole(config, "sample_size", self.own_cells) * self.vae.latents(source).factor

    def completed(self, module: Any, place: Place) -> Any:
        """Return the network with what no file carries, such as tables of positions: it was made without memory."""
        return module

    # What is the same for all ----------------------------------------------------------------------------------------

    def recognise(self, source: Source) -> Verdict:
        """Look at configs, or at keys and shapes of a file with all parts or with one."""
        if source.configs:
            config = source.configs.get(FOLDER, {})
            more, against = self.folder_signs(config)
            signs = {
                f"transformer/config.json: {self.network.__name__}":
                    config.get("_class_name") == self.network.__name__,
                "transformer weights": FOLDER in source.headers,
            }  # fmt: skip
            return Verdict.of(self.name, {**signs, **more}, against)
        prefix = self._prefix(source.single)
        if len(source.headers) > 1 or (prefix is None and any(text.place(source) for text in self.texts)):
            return self._recognise_texts(source)
        signs, against = self.signs(source.single, prefix or "")
        return Verdict.of(self.name, signs, against)

    def _recognise_texts(self, source: Source) -> Verdict:
        there = [text for text in self.texts if text.place(source)]
        signs = {f"the text encoders of {self.title}": len(there) == len(self.texts)}
        against = {
            "a further file": len(source.headers) > len(self.texts),
            "an autoencoder": ldm.vae_prefix(source.single) is not None,
        }
        return Verdict.of(self.name, signs, against)

    def card(self, source: Source) -> tuple[Reason, ...]:
        """Return family, layout, prediction, latent format, size, text encoders and parts, with reasons."""
        parts = self.parts(source)
        not_stored = NOT_STORED.format(title=self.title)
        why = "vae/config.json" if source.configs else not_stored
        texts = [text.folder for text in self.texts if text.place(source)]
        formats = ", ".join(sorted({t.dtype for h in source.headers.values() for t in h.values()}))
        return (
            Reason("family", self.title, "; ".join(self.recognise(source).found) or "named by hand"),
            self._layout(source),
            Reason("prediction", self.predicts if "model" in parts else "none", not_stored),
            *self.vae.latents(source).reasons("shapes in the file" if self.vae.place(source) else not_stored, why),
            Reason("own size", self.size(source), self.why_size.format(title=self.title)),
            Reason("text encoders", ", ".join(texts) or "none", "tensors present"),
            Reason("stored as", formats, "types of the tensors"),
            Reason("parts", ", ".join(parts), "tensors present"),
        )

    def _layout(self, source: Source) -> Reason:
        if source.configs:
            return Reason("layout", "diffusers folder", "model_index.json")
        prefix = self._prefix(source.single)
        if prefix is None:
            return Reason("layout", "text encoders", "no other network in the file")
        published = prefix + self.sign[0] in source.single
        kind = "published names" if published else "diffusers names"
        return Reason("layout", f"single file, {kind}", "names of the network's layers")

    def parts(self, source: Source) -> dict[str, Part]:
        """Return model, clip and vae as far as they are there."""
        latents, found = self.vae.latents(source), {}
        place = self._place(source)
        if place is not None:
            options = {"channels": latents.channels, "factor": latents.factor, "size": self.size(source)}
            found["model"] = Part(size_at(source, *place), options)
        sizes = {text: text.size(source) for text in self.texts}
        if any(sizes.values()) and all(size or text.optional for text, size in sizes.items()):
            found["clip"] = Part(sum(sizes.values()))
        if self.vae.place(source):
            found["vae"] = Part(vae_size(source, self.vae), self.vae.options(source))
        return found

    def build(self, source: Source, part: str, place: Place) -> Any:
        """Build one part at `place`: the family's `Transformer`, its text encoders as one, or its autoencoder."""
        if part == "model":
            return self._network(source, place)
        if part == "clip":
            there = [text if text.place(source) or not text.optional else None for text in self.texts]
            return self.joined([text and text.build(source, place) for text in there])
        return self.vae.build(source, place)

    def _network(self, source: Source, place: Place) -> Transformer:
        where = self._place(source)
        if where is None:
            raise BadFile(f"{source.path.name} does not hold the network of {self.title}.")
        component, prefix = where
        tensors = source.tensors(component, lambda key: key.startswith(prefix))
        weights = {k.removeprefix(prefix): v for k, v in tensors.items()}
        config = source.configs.get(FOLDER) or self.config(source.headers[component], prefix)
        if not source.configs and self.sign[0] in weights:
            weights = renamed(weights, self.names(config), self.leaves)
        module = on_meta(lambda: self.network.from_config(dict(config)), config, "transformer")
        assign(module, weights, place, "transformer")
        module.layers_elsewhere = self.names(config)  # for patches
        return self.adapted(self.completed(module, place), source.configs.get("scheduler", {}), source)

    def _place(self, source: Source) -> tuple[str, str] | None:
        """Return component and prefix of the network's keys, or None if it is not there."""
        if source.configs:
            return (FOLDER, "") if FOLDER in source.headers else None
        prefix = self._prefix(source.single)
        return None if prefix is None else (WHOLE, prefix)

    def _prefix(self, header: Shapes) -> str | None:
        return next((p for p in PREFIXES if any(p + key in header for key in self.sign)), None)


def positioned(embed: Any, width: int, place: Place) -> None:
    """Compute the sines and cosines (1, places, width) that a diffusers PatchEmbed adds, and that no file carries."""
    table = get_2d_sincos_pos_embed(
        width, embed.height, base_size=embed.base_size, interpolation_scale=embed.interpolation_scale, output_type="pt"
    )
    embed.register_buffer("pos_embed", table.float()[None].to(place.device), persistent=False)


def packed(x: Tensor) -> Tensor:
    """Return latents (B, C, h, w) as tokens of 2 x 2 cells, (B, h w / 4, 4 C), the channel outermost."""
    b, c, h, w = x.shape
    cells = x.reshape(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return cells.reshape(b, h * w // 4, 4 * c)


def unpacked(tokens: Tensor, rows: int, columns: int) -> Tensor:
    """Return tokens (B, rows columns, 4 C) as latents (B, C, 2 rows, 2 columns)."""
    b, _, c = tokens.shape
    cells = tokens.reshape(b, rows, columns, c // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return cells.reshape(b, c // 4, 2 * rows, 2 * columns)


def flow_levels(schedule: Mapping[str, Any], shift: float) -> Levels:
    """Return a flow's noise levels with the shift that a scheduler's config says, or the family's."""
    return noise_levels.flow(shift=number(schedule, "shift", shift))


def side(header: Shapes, key: str, axis: int) -> int:
    """Return one side of a tensor, 0 if it is not there or has fewer."""
    shape = shapes.header_shape(header, key)
    return shape[axis] if len(shape) > axis else 0
