"""Loaded networks inside a memory budget: the executor of `engine.memory`'s plans, and the `Models` of a context."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import nn

from engine.diffusion import families, patches
from engine.diffusion.backends import Backend
from engine.diffusion.companions import Companions
from engine.diffusion.embeddings import vectors_of
from engine.diffusion.families.base import WHOLE, Source, joined, open_source
from engine.diffusion.families.load import Place
from engine.diffusion.files import Header
from engine.diffusion.library import KINDS, Library
from engine.diffusion.shelf import Baked, Loaded, Shelf, bake
from engine.diffusion.working import WorkingMemory
from engine.errors import BadFile, OutOfMemory
from engine.types import Clip, ControlNet, DualEncoder, Gligen, Model, Overlay, Patch, Upscaler, Vae, Weights

Described = Model | Clip | Vae | Upscaler | ControlNet | Gligen | DualEncoder
PARTS: dict[str, type[Described]] = {
    "model": Model, "clip": Clip, "vae": Vae, "upscaler": Upscaler, "control": ControlNet, "gligen": Gligen,
    "dual": DualEncoder,
}  # fmt: skip
PART_OF = {described: part for part, described in PARTS.items()}
SMALL = 100_000_000  # parameters; below, reduced precision saves nothing worth its error
LARGE_VAE = 20_000_000  # the same for autoencoders, whose few parameters are used on many pixels
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
STORED = {"float8": torch.float8_e4m3fn}
ADDED = ("loras", "embeddings")  # files that are no model of their own
NOTED = ("modelspec.title", "modelspec.architecture", "ss_base_model_version", "ss_network_dim", "ss_network_alpha")
EMBEDDED = Path(__file__).resolve().parents[2] / "models" / "bozzetto"


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
        self.device = torch.device(device)
        working = WorkingMemory(data_dir / "working.sqlite")
        self.shelf = Shelf(budget or half_of_memory(), Backend(self.device), working)
        self._sources: dict[tuple[Path, str], Source] = {}

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
        key, build = self._wanted(described, PART_OF[type(described)])
        with (
            self.shelf.take(key, build, working_bytes) as loaded,
            Companions(partial(self._beside, working_bytes)) as beside,
        ):
            network = self._patched(described, loaded)
            network = replace(network, companions=beside) if hasattr(network, "companions") else network
            yield overlaid(described.options, network)

    @contextlib.contextmanager
    def _beside(self, working_bytes: int, described: Any) -> Iterator[Any]:
        """Give a network beside one in use, which is streamed if there is not room for both."""
        with contextlib.ExitStack() as stack:
            try:
                network = stack.enter_context(self.use(described, working_bytes=working_bytes))
            except OutOfMemory:
                self.shelf.offload_unused()
                network = stack.enter_context(self.use(described, working_bytes=working_bytes))
            yield network

    def _wanted(self, described: Any, part: str) -> tuple[Hashable, Callable[[], Any]]:
        """Return what tells a network from all others, and how to build it."""
        source = self._source(described.weights)
        family = families.get(described.family)
        wanted = family.parts(source).get(part)
        if wanted is None:
            raise BadFile(f"{described.weights.name} holds no {part}.")
        dtype = DTYPES.get(described.options.get("dtype", ""))
        place = choose_place(part, wanted.parameters, self.device) if dtype is None else Place(dtype, self.device)
        place = replace(place, stored=STORED.get(described.options.get("storage", "")))
        key = (*(w.digest for w in described.weights.all), part, *map(str, (place.dtype, place.products, place.stored)))
        return key, lambda: family.build(source, part, place)

    def _patched(self, described: Any, loaded: Loaded) -> Any:
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

    def _baked(self, laid: tuple[Patch, ...], loaded: Loaded) -> Baked:
        """Return the parameters with patches in them. Those of files are kept until other patches are laid."""
        from_files = all(p.weights for p in laid)
        key = tuple((p.kind, p.component, p.strength, p.weights) for p in laid) if from_files else None
        module = loaded.network.module

        def make() -> Baked:
            changes = [(p.strength, self._changes(p, module)) for p in laid]
            return Baked(patches.bake(module, changes), tuple(change.report for _, change in changes))

        return bake(loaded, key, make)

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
        return torch.bfloat16 if has_bfloat16() else torch.float32
    return torch.float16


def choose_place(part: str, parameters: int, device: torch.device) -> Place:
    """Return where and how to compute. A large autoencoder multiplies in bfloat16 and keeps its states in float32."""
    narrow = part == "vae" and parameters >= LARGE_VAE and device.type == "cpu" and has_bfloat16()
    return Place(choose_dtype(part, parameters, device), device, torch.bfloat16 if narrow else None)


def has_bfloat16() -> bool:
    """Say whether the CPU multiplies in bfloat16."""
    return bool(torch.cpu.get_capabilities().get("avx512_bf16"))


def half_of_memory() -> int:
    """Return half of the machine's memory in bytes, or 4 GiB where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (ValueError, OSError, AttributeError):
        return 4 << 30
