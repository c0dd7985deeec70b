"""Loaded networks inside a memory budget: the executor of `engine.memory`'s plans, and the `Models` of a context."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import nn

from engine.diffusion import families, patches
from engine.diffusion.embeddings import vectors_of
from engine.diffusion.families.base import WHOLE, Source, joined, open_source
from engine.diffusion.families.load import Place
from engine.diffusion.files import Header
from engine.diffusion.library import KINDS, Library
from engine.errors import BadFile
from engine.memory import Evict, Resident, Wanted, plan
from engine.types import Clip, Model, Overlay, Patch, Upscaler, Vae, Weights

PARTS: dict[str, type[Model] | type[Clip] | type[Vae] | type[Upscaler]] = {
    "model": Model, "clip": Clip, "vae": Vae, "upscaler": Upscaler,
}  # fmt: skip
PART_OF = {described: part for part, described in PARTS.items()}
SMALL = 100_000_000  # parameters; below, reduced precision saves nothing worth its error
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
ADDED = ("loras", "embeddings")  # files that are no model of their own
NOTED = ("modelspec.title", "modelspec.architecture", "ss_base_model_version", "ss_network_dim", "ss_network_alpha")
EMBEDDED = Path(__file__).resolve().parents[2] / "models" / "bozzetto"


@dataclass
class _Loaded:
    network: Any
    nbytes: int
    used: int = 0
    pins: int = 0
    baked: dict[Hashable, _Baked] = field(default_factory=dict)  # the last patches laid over it

    @property
    def total(self) -> int:
        """Bytes with the patched parameters."""
        return self.nbytes + sum(baked.nbytes for baked in self.baked.values())


@dataclass(frozen=True)
class _Baked:
    """Parameters with patches in them, and what became of each patch."""

    parameters: dict[str, nn.Parameter]
    reports: tuple[patches.Report, ...]

    @property
    def nbytes(self) -> int:
        return sum(p.nbytes for p in self.parameters.values())


class ModelManager:
    """Finds weights, says what they are, and keeps the networks in use resident within `budget` bytes."""

    def __init__(
        self,
        models_dir: Path,
        data_dir: Path,
        *,
        budget: int | None = None,
        device: str = "cpu",
        embedded: Path = EMBEDDED,
        extra: Path | None = None,
    ) -> None:
        self.library = Library(models_dir, data_dir, embedded=embedded, extra=extra)
        self.budget = budget or half_of_memory()
        self.device = torch.device(device)
        self._loaded: dict[Hashable, _Loaded] = {}
        self._sources: dict[tuple[Path, str], Source] = {}
        self._clock = itertools.count()

    def kinds(self) -> Sequence[str]:
        """Return the kinds of weights."""
        return KINDS

    def names(self, kind: str) -> Sequence[str]:
        """Return the names of the weights of a kind."""
        return list(self.library.paths(kind))

    def find(self, kind: str, name: str) -> Weights:
        """Return the weights called `name`; NotFound names the nearest ones."""
        return self.library.find(kind, name)

    def load(self, weights: Weights, *, family: str = "") -> dict[str, Any]:
        """Return the descriptions of the networks that `weights` hold, by part; BadFile says why there are none."""
        source = self._source(weights)
        found, _ = families.recognise(source, name=family)
        parts = found.parts(source)
        return {name: PARTS[name](found.name, weights, options=part.options) for name, part in parts.items()}

    def card(self, weights: Weights) -> dict[str, Any]:
        """Return what the weights were recognised as: `{"family": ..., "entries": [{"entry", "value", "why"}]}`."""
        source = self._source(weights)
        if weights.kind in ADDED:
            return added_card(weights, source.single)
        family, _ = families.recognise(source)
        reasons = family.card(source)
        entries = [{"entry": r.entry, "value": r.value, "why": r.why} for r in reasons]
        return {"family": family.name, "title": family.title, "entries": entries}

    @contextlib.contextmanager
    def use(self, described: Any, *, working_bytes: int = 0) -> Iterator[Any]:
        """Give the network that a Model, Clip or Vae describes, with its patches, resident until the block ends."""
        loaded = self._resident(described, PART_OF[type(described)], working_bytes)
        loaded.pins += 1
        try:
            yield overlaid(described.options, self._patched(described, loaded))
        finally:
            loaded.pins -= 1

    def _resident(self, described: Any, part: str, working: int) -> _Loaded:
        source = self._source(described.weights)
        family = families.get(described.family)
        wanted = family.parts(source).get(part)
        if wanted is None:
            raise BadFile(f"{described.weights.name} holds no {part}.")
        dtype = DTYPES.get(described.options.get("dtype", ""), choose_dtype(part, wanted.parameters, self.device))
        key = (*(w.digest for w in described.weights.all), part, str(dtype))
        residents = [Resident(k, v.total, v.used, v.pins > 0) for k, v in self._loaded.items()]
        for action in plan(residents, Wanted(key, wanted.parameters * dtype.itemsize, working), self.budget):
            if isinstance(action, Evict):
                del self._loaded[action.key]
        if key not in self._loaded:
            network = family.build(source, part, Place(dtype, self.device))
            self._loaded[key] = _Loaded(network, nbytes_of(network.module))
        self._loaded[key].used = next(self._clock)
        return self._loaded[key]

    def _patched(self, described: Any, loaded: _Loaded) -> Any:
        """Return the network as described: a view that swaps patched parameters in while it is called."""
        network = loaded.network.configured(described.options)
        if isinstance(described, Clip):
            network = replace(network, vectors=partial(self._vectors, described))
        laid = tuple(p for p in described.patches if p.kind in patches.KINDS)
        if not laid:
            return network
        baked = self._baked(laid, loaded)
        return replace(
            network, patched=partial(patches.swapped, network.module, baked.parameters), reports=baked.reports
        )

    def _baked(self, laid: tuple[Patch, ...], loaded: _Loaded) -> _Baked:
        """Return the parameters with patches in them. Those of files are kept until other patches are laid."""
        key = tuple((p.kind, p.component, p.strength, p.weights) for p in laid)
        from_files = all(p.weights for p in laid)
        if from_files and key in loaded.baked:
            return loaded.baked[key]
        module = loaded.network.module
        changes = [(p.strength, self._changes(p, module)) for p in laid]
        baked = _Baked(patches.bake(module, changes), tuple(change.report for _, change in changes))
        if from_files:
            loaded.baked = {key: baked}
        return baked

    def _changes(self, patch: Patch, module: nn.Module) -> patches.Changes:
        tensors = self._tensors(patch.weights) if patch.weights else patch.tensors
        return patches.KINDS[patch.kind](tensors, module, patch.component)

    def _vectors(self, described: Clip, name: str) -> tuple[torch.Tensor, ...]:
        """Return the vectors of a learnt embedding: one laid on `described`, else one in the embeddings folder."""
        laid = [p for p in described.patches if p.kind == "embedding" and p.options.get("name") == name]
        weights = laid[-1].weights if laid else self.find("embeddings", name)
        return tuple(laid[-1].tensors.values()) if weights is None else vectors_of(self._tensors(weights), name)

    def _tensors(self, weights: Weights) -> dict[str, torch.Tensor]:
        return open_source(self.library.path(weights)).tensors(WHOLE)

    def _source(self, weights: Weights) -> Source:
        return joined([self._opened(each) for each in weights.all])

    def _opened(self, weights: Weights) -> Source:
        path = self.library.path(weights)
        if (path, weights.digest) not in self._sources:
            self._sources[path, weights.digest] = open_source(path)
        return self._sources[path, weights.digest]


def overlaid(options: Mapping[str, Any], network: Any) -> Any:
    """Return a network with what its description lays over it."""
    for option in options.values():
        network = option.over(network) if isinstance(option, Overlay) else network
    return network


def added_card(weights: Weights, header: Header) -> dict[str, Any]:
    """Return the card of a file that is laid over a model: its tensors and what its maker wrote down."""
    notes = {k: header.metadata[k][:200] for k in NOTED if k in header.metadata}
    counted = {"entry": "tensors", "value": len(header), "why": "counted in the header"}
    entries = [counted, *({"entry": k, "value": v, "why": "metadata of the file"} for k, v in notes.items())]
    return {"family": weights.kind, "title": f"{len(header)} tensors for {weights.kind}", "entries": entries}


def versions() -> str:
    """Return what numbers depend on beside the code: library versions and the widest vector instructions."""
    libraries = " ".join(f"{name} {metadata.version(name)}" for name in ("torch", "diffusers", "transformers"))
    return f"{libraries} {torch.backends.cpu.get_cpu_capability()}"


def choose_dtype(part: str, parameters: int, device: torch.device) -> torch.dtype:
    """Return the number format to compute in: float32, but half as wide for large denoisers where that is faster."""
    if part != "model" or parameters < SMALL:
        return torch.float32
    if device.type == "cpu":
        return torch.bfloat16 if torch.cpu.get_capabilities().get("avx512_bf16") else torch.float32
    return torch.float16


def nbytes_of(module: nn.Module) -> int:
    """Return the bytes of a module's parameters and buffers."""
    return sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers()))


def half_of_memory() -> int:
    """Return half of the machine's memory in bytes, or 4 GiB where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (ValueError, OSError, AttributeError):
        return 4 << 30
