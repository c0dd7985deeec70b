"""What the families of Stable Diffusion share: a U-Net that cross-attends to one or two CLIP texts, an autoencoder.

Read from a diffusers folder (every figure from its configs), from a single file with all parts, or from a file that
holds one part alone (every figure from its shapes). A family is a `StableDiffusion` with its own `Traits` and signs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from engine.diffusion import preview
from engine.diffusion.families import ldm, shapes
from engine.diffusion.families.autoencoder import CLASSES, LatentFormat, build_autoencoder, decode_widths
from engine.diffusion.families.base import WHOLE, Part, Reason, Source, Verdict
from engine.diffusion.families.clip_pair import ClipPair
from engine.diffusion.families.clip_text import CLIP_TOKENIZER, ClipText, Reading, build_clip_text
from engine.diffusion.families.load import Place, whole
from engine.diffusion.families.unet import MEASURED, UNet, build_unet
from engine.errors import BadFile

PREVIEW_MAX = 20_000_000  # parameters of an autoencoder that is asked for its colours when a model is loaded
PREVIEW_SAMPLES = 4
INPUTS = {
    4: "a text-to-image model",
    8: "an editing model: noisy latent, picture to edit",
    9: "an inpainting model: noisy latent, mask, masked picture",
}
NOT_STORED = "not stored in a file; {title} was trained so"


@dataclass(frozen=True)
class TextPart:
    """One text encoder. `folder`: its component in diffusers' layout; `prefixes`: of its keys in a single file.

    `width` tells it from others where it has a file of its own; `unused`: layers at the end that nobody reads.
    """

    folder: str
    prefixes: tuple[str, ...]
    width: int
    act: str
    reading: Reading
    pad: int | None = None
    unused: int = 0


@dataclass(frozen=True)
class Traits:
    """What a family does not store in its files. `cells`: latent cells per side of the pictures it was made for;
    `colours`: factors (C + 1, 3) from latent channels to a preview.
    """

    texts: tuple[TextPart, ...]
    scale: float
    cells: int
    prediction: str
    colours: Tensor


class StableDiffusion(ABC):
    """A family of Stable Diffusion; see `base.Family`."""

    name: str
    title: str
    order: int
    traits: Traits

    def recognise(self, source: Source) -> Verdict:
        """Look at configs, or at keys and shapes of a file with all parts or with one."""
        if source.configs:
            return Verdict.of(self.name, *self.folder_signs(source))
        if self._only_text(source):
            found = {f"the text encoder of {self.title}": self._holds_texts(source)}
            return Verdict.of(self.name, found, {"a second file": len(source.headers) > len(self.traits.texts)})
        return Verdict.of(self.name, *self.file_signs(source.single))

    @abstractmethod
    def folder_signs(self, source: Source) -> tuple[dict[str, bool], dict[str, bool]]:
        """Return what speaks for and against in a diffusers folder."""

    @abstractmethod
    def file_signs(self, header: ldm.Shapes) -> tuple[dict[str, bool], dict[str, bool]]:
        """Return what speaks for and against in a single file with a U-Net."""

    def card(self, source: Source) -> tuple[Reason, ...]:
        """Return family, layout, prediction, channels, latent format, sizes, text width, parts, with reasons."""
        found = self._configs(source)
        parts = self.parts(source)
        reasons = [Reason("family", self.title, "; ".join(self.recognise(source).found)), found.layout()]
        if "model" in parts:
            unet = found.unet
            inputs = whole(unet, "in_channels", 4)
            plain = inputs == parts["model"].options["channels"]
            kind = INPUTS[4] if plain else INPUTS.get(inputs, "of its own kind")
            reasons += [
                Reason("prediction", *found.prediction()),
                Reason("input channels", inputs, f"{found.why['unet']}: {kind}"),
                Reason("own size", parts["model"].options["size"], found.why["size"]),
                Reason("text width", unet["cross_attention_dim"], f"{found.why['unet']}: cross_attention_dim"),
            ]
        if "model" in parts or "vae" in parts:
            reasons += found.latents.reasons(found.why["vae"], found.why["scale"])
        formats = ", ".join(sorted({t.dtype for h in source.headers.values() for t in h.values()}))
        reasons.append(Reason("stored as", formats, "types of the tensors"))
        return (*reasons, Reason("parts", ", ".join(parts), "tensors present"))

    def parts(self, source: Source) -> dict[str, Part]:
        """Return model, clip and vae as far as they are there."""
        found = self._configs(source)
        sizes = {
            "model": _size(source, *found.place("unet")),
            "clip": sum(_size(source, *place) for place in found.text_places()),
            "vae": _size(source, *found.place("vae")),
        }
        if self.traits.texts and len(list(found.text_places())) < len(self.traits.texts):
            sizes["clip"] = 0  # half of a pair of text encoders is none
        return {part: Part(size, self._options(part, found)) for part, size in sizes.items() if size}

    def _options(self, part: str, found: _Configs) -> dict[str, Any]:
        latents = {"channels": found.latents.channels, "factor": found.latents.factor}
        if part == "model":
            channels = whole(found.unet, "out_channels", 4)
            return {**latents, "channels": channels, "size": found.size()}
        return {**latents, "width": decode_widths(found.vae)} if part == "vae" else {}

    def build(self, source: Source, part: str, place: Place) -> Any:
        """Build one part (UNet, ClipText or ClipPair, Autoencoder) at `place`."""
        found = self._configs(source)
        if part == "model":
            weights = _tensors(source, *found.place("unet"))
            if not source.configs:
                weights = ldm.unet_weights(weights, found.unet, found.place("unet")[1] or "")
            unet = build_unet(found.unet, weights, found.schedule, place, factor=found.latents.factor)
            return replace(unet, preview=self._preview(source, unet))
        if part == "clip":
            return _joined([self._text(source, found, i, place) for i in range(len(self.traits.texts))])
        weights = _tensors(source, *found.place("vae"))
        if not source.configs:
            weights = ldm.vae_weights(weights, found.vae, found.place("vae")[1] or "")
        return build_autoencoder(found.vae, weights, place)

    def _text(self, source: Source, found: _Configs, index: int, place: Place) -> ClipText:
        text, (component, prefix) = self.traits.texts[index], found.text_place(index)
        config = found.text(index)
        weights = _tensors(source, component, prefix)
        if source.configs:
            tokenizer = source.path / text.folder.replace("text_encoder", "tokenizer")
            return build_clip_text(config, weights, tokenizer, place, reading=text.reading)
        weights = ldm.text_weights(weights, prefix or "", config["num_hidden_layers"])
        return build_clip_text(config, weights, CLIP_TOKENIZER, place, reading=text.reading, pad=text.pad)

    def _preview(self, source: Source, unet: UNet) -> Tensor | None:
        """Return colours for the latent's channels: fitted to a small autoencoder, known for Stable Diffusion's own."""
        vae = self.parts(source).get("vae")
        if vae and vae.parameters < PREVIEW_MAX:
            autoencoder = self.build(source, "vae", Place())
            latents = torch.randn(PREVIEW_SAMPLES, unet.channels, 16, 16, generator=torch.Generator().manual_seed(0))
            return preview.fit(latents, autoencoder.decode(latents))
        return self.traits.colours if unet.channels == len(self.traits.colours) - 1 else None

    def _configs(self, source: Source) -> _Configs:
        kept: _Configs = source.worked_out.setdefault(self.name, _Configs(self, source))
        return kept

    def _only_text(self, source: Source) -> bool:
        return all(ldm.unet_prefix(h) is None and ldm.vae_prefix(h) is None for h in source.headers.values())

    def _holds_texts(self, source: Source) -> bool:
        found = self._configs(source)
        return len(list(found.text_places())) == len(self.traits.texts) > 0


class _Configs:
    """The configs of a source's parts, where they come from, and where the parts lie."""

    def __init__(self, family: StableDiffusion, source: Source) -> None:
        self.family, self.source, self.folder = family, source, bool(source.configs)
        shaped = "shapes in the file"
        not_stored = NOT_STORED.format(title=family.title)
        self.why = {"unet": shaped, "vae": shaped, "size": not_stored, "schedule": not_stored, "scale": not_stored}
        if self.folder:
            self.why = {
                "unet": "unet/config.json", "vae": "vae/config.json", "size": "unet/config.json: sample_size x factor",
                "schedule": "scheduler/scheduler_config.json", "scale": "vae/config.json",
            }  # fmt: skip

    @cached_property
    def unet(self) -> Mapping[str, Any]:
        """The U-Net's config."""
        return self.source.configs["unet"] if self.folder else shapes.unet_config(self.source.single)

    @cached_property
    def vae(self) -> Mapping[str, Any]:
        """The autoencoder's config; empty if there is none."""
        if self.folder:
            return self.source.configs.get("vae", {})
        there = ldm.vae_prefix(self.source.single) is not None
        return shapes.vae_config(self.source.single, self.family.traits.scale) if there else {}

    @property
    def latents(self) -> LatentFormat:
        """The latent format; the family's own where there is no autoencoder to say."""
        return LatentFormat.of(self.vae or {"scaling_factor": self.family.traits.scale})

    @property
    def schedule(self) -> Mapping[str, Any]:
        """The noise schedule, as a diffusers scheduler config."""
        if self.folder:
            return self.source.configs.get("scheduler", {})
        return {"prediction_type": self.prediction()[0], "rescale_betas_zero_snr": "ztsnr" in self.source.single}

    def prediction(self) -> tuple[str, str]:
        """Return what the network predicts, and why."""
        if self.folder:
            said = self.source.configs.get("scheduler", {}).get("prediction_type", "epsilon")
            return str(said), self.why["schedule"]
        header = self.source.single
        noted = header.metadata.get("modelspec.prediction_type", "")
        if "v_pred" in header or noted.startswith("v"):
            return "v_prediction", "the file is marked so"
        if noted.startswith("eps"):
            return "epsilon", "metadata of the file"
        own = self.family.traits.prediction
        why = "not stored in the file; measured when it is loaded, from what pure noise gives"
        return own, why if own == MEASURED else self.why["schedule"]

    def size(self) -> int:
        """Return the pixels per side that the model was made for."""
        if not self.folder:
            return self.family.traits.cells * self.latents.factor
        return whole(self.unet, "sample_size", 64) * self.latents.factor

    def layout(self) -> Reason:
        """Return how the source is laid out."""
        if self.folder:
            return Reason("layout", "diffusers folder", "model_index.json")
        prefix = ldm.unet_prefix(self.source.single)
        if prefix is None:
            return Reason("layout", "text encoder", "no other network in the file")
        kind = "diffusers keys" if ldm.is_diffusers(self.source.single, prefix) else "LDM"
        return Reason("layout", f"single file, {kind}", "names of the U-Net's blocks")

    def place(self, part: str) -> tuple[str, str | None]:
        """Return component and key prefix of unet or vae; a prefix None says that it is not there."""
        if self.folder:
            return part, "" if part in self.source.headers else None
        find = ldm.unet_prefix if part == "unet" else ldm.vae_prefix
        return WHOLE, find(self.source.single)

    def text_places(self) -> Iterator[tuple[str, str | None]]:
        """Yield component and key prefix of every text encoder that is there."""
        yield from (p for p in map(self.text_place, range(len(self.family.traits.texts))) if p[1] is not None)

    def text_place(self, index: int) -> tuple[str, str | None]:
        """Return component and key prefix of a text encoder; a prefix None says that it is not there."""
        text = self.family.traits.texts[index]
        if self.folder:
            return text.folder, "" if text.folder in self.source.headers else None
        for component, header in self.source.headers.items():
            prefix = ldm.text_prefix(header, text.prefixes)
            if prefix is not None:
                return component, prefix
            prefix = ldm.text_prefix(header, ("",))
            if prefix is not None and shapes.text_width(header, "") == text.width:
                return component, prefix
        return WHOLE, None

    def text(self, index: int) -> Mapping[str, Any]:
        """Return a text encoder's config."""
        text, (component, prefix) = self.family.traits.texts[index], self.text_place(index)
        if self.folder:
            return self.source.configs[text.folder]
        if prefix is None:
            raise BadFile(f"{self.source.path.name} holds no {text.folder.replace('_', ' ')} of {self.family.title}.")
        header = self.source.headers[component]
        config = shapes.text_config(header, prefix)
        unused = text.unused if ldm.is_open_clip(header, prefix) else 0  # transformers' layout leaves them out
        return {**config, "hidden_act": text.act, "num_hidden_layers": config["num_hidden_layers"] - unused}


def _size(source: Source, component: str, prefix: str | None) -> int:
    if prefix is None or component not in source.headers:
        return 0
    return sum(t.size for k, t in source.headers[component].items() if k.startswith(prefix))


def _tensors(source: Source, component: str, prefix: str | None) -> dict[str, Tensor]:
    """Map the tensors of a part into memory."""
    if prefix is None:
        raise BadFile(f"{source.path.name} does not hold this part.")
    return source.tensors(component, lambda key: key.startswith(prefix))


def _joined(texts: list[ClipText]) -> ClipText | ClipPair:
    return texts[0] if len(texts) == 1 else ClipPair.of(*texts)


def folder_signs(source: Source, texts: int) -> dict[str, bool]:
    """Return what every Stable Diffusion folder with that many text encoders shows."""
    unet, vae = source.configs.get("unet", {}), source.configs.get("vae", {})
    names = ["text_encoder", "text_encoder_2"][:texts]
    return {
        "unet/config.json: UNet2DConditionModel": unet.get("_class_name") == "UNet2DConditionModel",
        f"vae/config.json: {' or '.join(CLASSES)}": str(vae.get("_class_name")) in CLASSES,
        "U-Net, text encoder and autoencoder weights": {"unet", "vae", *names} <= source.headers.keys(),
    }
