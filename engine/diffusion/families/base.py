"""What every model family answers: is this file mine, and why; which parts does it hold; how is each part built.

A new family is one new file in this folder that ends in `FAMILY = ...`; no list is kept. It brings:

1. A detector, `recognise`: `Verdict.of(name, signs, against)` over keys, shapes and configs, never weights. `signs`
   must all be there, `against` may not; their texts name keys and shapes, since people read them when nothing fits.
   Families are asked in the order of `order`: the one with the sharper signs first (PixArt before SANA). 10 to 49 are
   Stable Diffusion's, 50 to 59 parts in files of their own, 100 and up those with transformers.
2. Configs: those of a diffusers folder (`Source.configs`), or read from the shapes of a single file (`shapes.py` does
   it for Stable Diffusion); what no file stores is a constant of the family, and its card says so.
3. `build`: a diffusers or transformers class made with `load.on_meta`, filled by `load.assign` (strict, no copy) from
   keys renamed by the family. It returns a frozen dataclass with `module` (an nn.Module: patches and memory
   look at it), `patched`, `reports` and `configured(options)`, which applies the overrides of a description, and is
   - model: `sample.DiffusionNetwork`, called with (x_in (B, C, h, w), c_noise (B,), cond with B rows); its `denoiser`
     says what it predicts and on which levels (`denoiser.Denoiser`). All conventions of its own stay inside the call:
     packing and unpacking, the unit and direction of time, signs, masks of text, channels to drop. Of a flow model
     x_in is (1 - s) x0 + s eps, c_noise is 1000 s and the answer eps - x0;
   - clip: `condition(prompt, skip=...) -> Cond`, and `text.TextNetwork` where words can be told apart;
   - vae: `autoencoder.Autoencoder`, with its `LatentFormat` (channels, pixels per cell, scale and shift).
   Where LoRA files name layers as an original layout does, `module.names_elsewhere` says so (`patches.key_table`).
   A family with a transformer is a `transformer.TransformerFamily`, `sd3.py` the example: `network` (diffusers' class),
   `sign` (a key of each layout), `signs`, `config` (from shapes), `names` (published layers -> diffusers', `names.py`),
   `texts` (`text_parts.TextPart`: CLIP, T5, `llm_text.LlmPart`), `vae` (`vae_parts.KlPart`, `video_vae.VideoPart`),
   `joined` (texts as one), and `adapted`: a `Transformer` whose `predict` is the call of the module; `completed`
   recomputes tables that no file carries. Tests: a kind in `tests/diffusion_models/modern.py` and a stand-in.
4. `parts`: what is there, its number of parameters, and the options of its description: of a model `channels`,
   `factor`, `size` (pixels per side that it was made for), of a vae `channels`, `factor`, `width` (`decode_widths`).
5. A `card`: one `Reason` per entry, with what in the file says so.

A file that no family takes is "unknown: nearest are ..."; people may still name a family (`families.recognise`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from engine.diffusion.families.load import Place
from engine.diffusion.files import Header, read_config, read_header
from engine.errors import BadFile

SUFFIX = ".safetensors"
INDEX = "model_index.json"
SCALE, SCALE_NOTES = ".scale_weight", (".scale_input", "scaled_fp8")
WHOLE = ""  # the component name of a single file


@dataclass(frozen=True)
class Source:
    """What lies behind one name: a single file or a folder of components, known by headers and configs alone.

    `headers`: component -> checked header (`WHOLE` for a single file); `configs`: component -> its config;
    `files`: component -> its safetensors files. Several files that belong together (`joined`) are components named by
    their place: `WHOLE`, `1`, `2`. `worked_out`: what families read from them, to be kept, by family.
    """

    path: Path
    headers: Mapping[str, Header]
    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    files: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    worked_out: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def single(self) -> Header:
        """The header of a single file; empty for a folder."""
        return self.headers.get(WHOLE, Header({}))

    def tensors(self, component: str, keep: Callable[[str], bool] = lambda key: True) -> dict[str, Tensor]:
        """Map the tensors of a component into memory, those whose key `keep` accepts; nothing is read until used."""
        from safetensors import SafetensorError, safe_open

        found: dict[str, Tensor] = {}
        for path in self.files[component]:
            try:
                with safe_open(path, framework="pt") as file:
                    found |= {key: file.get_tensor(key) for key in file.keys() if keep(key)}  # noqa: SIM118
            except (OSError, SafetensorError) as error:
                raise BadFile(f"{path.name} could not be read: {error}.") from error
        return _unscaled(found)


def _unscaled(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weights times the scales that float8 files keep beside them, `x.scale_weight` for `x.weight`."""
    scales = {k.removesuffix(SCALE): v for k, v in tensors.items() if k.endswith(SCALE)}
    if not scales:
        return tensors
    kept = {k: v for k, v in tensors.items() if not k.endswith((SCALE, *SCALE_NOTES))}
    for stem, scale in scales.items():
        if f"{stem}.weight" in kept:
            kept[f"{stem}.weight"] = kept[f"{stem}.weight"].to(torch.bfloat16) * scale.to(torch.bfloat16)
    return kept


def open_source(path: Path) -> Source:
    """Read headers and configs of a weights file or a diffusers folder; BadFile if they are corrupt."""
    if not path.is_dir():
        return Source(path, {WHOLE: read_header(path)}, files={WHOLE: (path,)})
    configs: dict[str, Mapping[str, Any]] = {WHOLE: read_config(path / INDEX)} if (path / INDEX).is_file() else {}
    headers: dict[str, Header] = {}
    files: dict[str, tuple[Path, ...]] = {}
    for folder in component_folders(path):
        config = next((f for f in (folder / "config.json", folder / "scheduler_config.json") if f.is_file()), None)
        if config:
            configs[folder.name] = read_config(config)
        weights = _weights_in(folder)
        if weights:
            parts = [read_header(f) for f in weights]
            headers[folder.name] = Header({k: v for part in parts for k, v in part.tensors.items()}, parts[0].metadata)
            files[folder.name] = weights
    if not headers:
        raise BadFile(f"{path.name} is a folder without safetensors weights in its component folders.")
    return Source(path, headers, configs, files)


def joined(sources: Sequence[Source]) -> Source:
    """Return several single files as one source, such as the text encoders of a pair."""
    if any(source.configs for source in sources[1:]) or (len(sources) > 1 and sources[0].configs):
        raise BadFile("Only single files can be joined, not folders.")
    if len(sources) == 1:
        return sources[0]
    names = [WHOLE, *map(str, range(1, len(sources)))]
    headers = {name: source.single for name, source in zip(names, sources, strict=True)}
    return Source(sources[0].path, headers, files={n: s.files[WHOLE] for n, s in zip(names, sources, strict=True)})


def component_folders(path: Path) -> list[Path]:
    """Return the component folders that a diffusers folder's index names and that are there."""
    named = read_config(path / INDEX) if (path / INDEX).is_file() else {}
    return sorted(p for p in path.iterdir() if p.name in named and p.is_dir())


def folder_files(path: Path) -> Iterator[Path]:
    """Yield the files that make up a diffusers folder's content: index, configs, tokenizers, the weights used."""
    yield path / INDEX
    for folder in component_folders(path):
        weights = _weights_in(folder)
        yield from (f for f in sorted(folder.iterdir()) if f in weights or f.suffix in {".json", ".txt"})


def _weights_in(folder: Path) -> tuple[Path, ...]:
    """Return the full-precision weights of a component, or one of its variants (`.fp16.`) if there is no other."""
    found = sorted(f for f in folder.iterdir() if f.suffix == SUFFIX)
    plain = [f for f in found if f.name.removesuffix(SUFFIX).count(".") == 0]
    variant = found[:1] if found and "-of-" not in found[0].name else found
    return tuple(plain or variant)


@dataclass(frozen=True)
class Reason:
    """One entry of a model's card: what was recognised, and what in the file says so."""

    entry: str
    value: Any
    why: str


@dataclass(frozen=True)
class Verdict:
    """A family's answer to a file: the signs `found` for it, those `missing` and those that speak `against` it."""

    family: str
    found: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    against: tuple[str, ...] = ()

    @classmethod
    def of(cls, family: str, signs: Mapping[str, bool], against: Mapping[str, bool]) -> Verdict:
        """Sort signs for and against by whether they are there."""
        found = tuple(sign for sign, there in signs.items() if there)
        missing = tuple(sign for sign, there in signs.items() if not there)
        return cls(family, found, missing, tuple(sign for sign, there in against.items() if there))

    @property
    def yes(self) -> bool:
        """Whether the file is of this family: every sign is there and nothing speaks against it."""
        return bool(self.found) and not self.missing and not self.against

    @property
    def likeness(self) -> float:
        """How near the file comes, 0..1; orders the "nearest are ..." list."""
        return len(self.found) / max(1, len(self.found) + len(self.missing) + len(self.against))


@dataclass(frozen=True)
class Part:
    """One network of a model (`model`, `clip` or `vae`): its number of parameters, and options for its description."""

    parameters: int
    options: dict[str, Any] = field(default_factory=dict)


class Family(Protocol):
    """A model family. Its module defines `FAMILY`; discovery asks families in the order of `order`, then name."""

    name: str
    title: str
    order: int

    def recognise(self, source: Source) -> Verdict:
        """Say whether `source` is of this family, from keys, shapes and configs alone."""

    def card(self, source: Source) -> tuple[Reason, ...]:
        """Return what was recognised with the reason for every entry."""

    def parts(self, source: Source) -> dict[str, Part]:
        """Return the networks that `source` holds."""

    def build(self, source: Source, part: str, place: Place) -> Any:
        """Build one of its networks with its weights: a frozen dataclass with `module`, `patched` and `reports`."""


def digest_of(chunks: Iterator[bytes]) -> str:
    """Return the SHA-256 of the joined chunks, in hex."""
    sha = hashlib.sha256()
    for chunk in chunks:
        sha.update(chunk)
    return sha.hexdigest()
