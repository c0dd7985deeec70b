"""Weight patches: read from a file or a graph, matched to a loaded module's own parameters, baked by pointer swap.

A patch is a set of changes dW = W' - W, one per parameter, each taken against the model's own W, so that several add up
in any order. Changes of a parameter are added in float32 and cast once. The original parameters are never written to,
so leaving a patch restores the model bit for bit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from engine.diffusion import patch_ops
from engine.diffusion.families.names import Layer
from engine.diffusion.patch_ops import ROLES
from engine.errors import BadFile

MATCH_MIN = 0.5
ALIASES = {"to_out_0": "to_out"}  # the old diffusers layout names the projection without its index
PREFIXES = {
    "text_3": ("lora_te3_", "text_encoder_3.", "text_encoders.t5xxl.transformer.", "t5xxl.transformer."),
    "text_2": (
        "lora_te2_text_model_", "lora_te2_", "base_model.model.text_encoder_2.text_model.",
        "text_encoder_2.text_model.", "text_encoder_2.", "text_encoders.clip_g.transformer.text_model.",
        "clip_g.transformer.text_model.",
    ),
    "text": (
        "lora_te1_text_model_", "lora_te_text_model_", "base_model.model.text_encoder.text_model.",
        "text_encoder.text_model.", "base_model.model.text_model.", "text_model.", "text_encoder.",
        "text_encoders.clip_l.transformer.text_model.", "clip_l.transformer.text_model.",
    ),
    "other": ("bundle_emb.",),
    "unet": (
        "lora_unet_", "oft_unet_", "lycoris_unet_", "lycoris_", "base_model.model.unet.", "unet.",
        "base_model.model.transformer.", "base_model.model.",
        "diffusion_model.", "model.diffusion_model.", "lora_transformer_", "transformer.",
    ),
}  # fmt: skip
"""How keys begin, by what they change. The order is that in which it is asked; what begins otherwise is the U-Net's."""

JOINED = ("clip_l", "clip_g", "t5")
"""What the text encoders are called in a module that holds several."""


@dataclass(frozen=True)
class Report:
    """What became of a patch's entries: applied, without a counterpart in the model, or of another shape."""

    matched: tuple[str, ...] = ()
    unmatched: tuple[str, ...] = ()
    wrong_shape: tuple[str, ...] = ()

    def __str__(self) -> str:
        lists = {"without a counterpart": self.unmatched, "of another shape": self.wrong_shape}
        rest = [f"{len(names)} {what} ({shortened(names)})" for what, names in lists.items() if names]
        return ", ".join([f"{len(self.matched)} matched", *rest])


def shortened(names: Sequence[str]) -> str:
    """Return the first few names."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


@dataclass(frozen=True)
class Changes:
    """A patch as read for one module: parameter name -> change in float32, at strength 1."""

    deltas: Mapping[str, Tensor]
    report: Report = field(default_factory=Report)


# Reading -------------------------------------------------------------------------------------------------------------


def read_lora(tensors: Mapping[str, Tensor], module: nn.Module, component: str) -> Changes:
    """Match a LoRA file (kohya, LyCORIS, diffusers or PEFT names) to a module, by a table made from the module itself.

    `component` is unet or text. BadFile if under half of the component's entries match; none at all is no error, since
    a file may hold only the other component.
    """
    table, elsewhere = key_table(module), layers_elsewhere(module)
    parameters = dict(module.named_parameters())
    deltas: dict[str, Tensor] = {}
    matched, unmatched, wrong = [], [], []
    for (stem, plain), parts in _entries(tensors, module, component).items():
        path = table.get(plain)
        try:
            if plain in elsewhere:
                found = _changed_elsewhere(parts, elsewhere[plain], parameters)
            else:
                found = None if path is None else _changed(parts, path, parameters)
        except (ValueError, RuntimeError, LookupError, ArithmeticError):
            wrong.append(stem)
            continue
        if found is None:
            unmatched.append(stem)
            continue
        for name, delta in found.items():
            deltas[name] = deltas[name] + delta if name in deltas else delta
        matched.append(stem)
    report = Report(tuple(matched), tuple(unmatched), tuple(wrong))
    total = len(matched) + len(unmatched) + len(wrong)
    if total and len(matched) < MATCH_MIN * total:
        raise BadFile(f"The LoRA is for another model: of {total} entries {report}.")
    return Changes(deltas, report)


def _changed(parts: patch_ops.Parts, path: str, parameters: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Return the changes of a layer's weight, and of its bias where the file has one; None if no role is known."""
    bias = path.removesuffix("weight") + "bias"
    found = {
        path: patch_ops.change(parts, parameters[path]),
        bias: patch_ops.bias_change(parts, parameters.get(bias), parameters[path]),
    }
    known = {name: delta for name, delta in found.items() if delta is not None}
    return known or None


def _changed_elsewhere(
    parts: patch_ops.Parts, layer: Layer, parameters: Mapping[str, Tensor]
) -> dict[str, Tensor] | None:
    """Return the same for a layer of another layout, of which several of ours may be parts."""

    def whole(leaf: str) -> Tensor | None:
        there = [parameters[name] for ours in layer.ours if (name := f"{ours}.{leaf}") in parameters]
        return layer.joined(there) if len(there) == len(layer.ours) else None

    weight, bias = whole("weight"), whole("bias")
    if weight is None:
        return None
    found = {"weight": patch_ops.change(parts, weight), "bias": patch_ops.bias_change(parts, bias, weight)}
    return {
        f"{ours}.{leaf}": part
        for leaf, delta in found.items() if delta is not None
        for ours, part in layer.cut(delta).items()
    } or None  # fmt: skip


def read_delta(tensors: Mapping[str, Tensor], module: nn.Module, component: str) -> Changes:
    """Match full changes by the module's own parameter names; every one must fit."""
    parameters = dict(module.named_parameters())
    wrong = [n for n, t in tensors.items() if n not in parameters or parameters[n].shape != t.shape]
    if wrong:
        raise BadFile(f"The patch is for another {component}: {len(wrong)} entries do not fit ({shortened(wrong)}).")
    return Changes({n: t.float() for n, t in tensors.items()}, Report(tuple(tensors)))


Reader = Callable[[Mapping[str, Tensor], nn.Module, str], Changes]
KINDS: Mapping[str, Reader] = {"lora": read_lora, "delta": read_delta}
"""How a `Patch` of that kind is read."""


def key_table(module: nn.Module) -> dict[str, str]:
    """Return, for each layer with a weight, its path with `_` for `.` -> the weight's parameter name.

    `_` is ambiguous, so paths are never taken apart; a name that two layers would share is left out. A module may have
    other names for its layers: pairs (theirs, ours) of beginnings with their dot, in its attribute `names_elsewhere`.
    """
    spelled: dict[str, set[str]] = {}
    for name, _ in module.named_parameters():
        if name.endswith(".weight"):
            for path in _spellings(name.removesuffix("weight"), module):
                spelled.setdefault(path.rstrip(".").replace(".", "_"), set()).add(name)
    return {plain: next(iter(found)) for plain, found in spelled.items() if len(found) == 1}


def layers_elsewhere(module: nn.Module) -> dict[str, Layer]:
    """Return the layers of a module's published layout, in its attribute of that name, by path with `_` for `.`."""
    return {theirs.replace(".", "_"): layer for theirs, layer in getattr(module, "layers_elsewhere", {}).items()}


def _spellings(path: str, module: nn.Module) -> Iterator[str]:
    """Yield how a layer's path, with its last dot, may be written."""
    yield path
    yield path.replace("text_model.", "")
    for tail, alias in ALIASES.items():
        if path.replace(".", "_").endswith(f"{tail}_"):
            yield path.replace(".", "_").removesuffix(f"{tail}_") + alias
    for theirs, ours in getattr(module, "names_elsewhere", ()):
        if path.startswith(ours):
            yield theirs + path.removeprefix(ours)


def _entries(
    tensors: Mapping[str, Tensor], module: nn.Module, component: str
) -> dict[tuple[str, str], dict[str, Tensor]]:
    """Group a component's tensors by layer: (the key without its role, the layer's name in `key_table`) -> by role.

    An unknown role keeps its whole key.
    """
    places = _places(module, component)
    found: dict[tuple[str, str], dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        kind, start = _beginning(key)
        if kind in places:
            suffix = max((s for s in ROLES if key.endswith(s)), key=len, default="")
            stem = key.removesuffix(suffix) if suffix else key
            plain = places[kind] + stem.removeprefix(start).replace(".", "_").replace("_processor_", "_")
            found.setdefault((stem, plain), {})[ROLES.get(suffix, key)] = tensor
    return found


def _places(module: nn.Module, component: str) -> dict[str, str]:
    """Return how paths of a module begin, by what a key changes: several text encoders are counted in their order."""
    there = [name for name in JOINED if hasattr(module, name)] if component == "text" else []
    if not there:
        return {component: ""}
    places = {kind: f"{name}_" for kind, name in zip(("text", "text_2", "text_3"), there, strict=False)}
    return places | ({"text_3": "t5_"} if "t5" in there else {})  # kohya counts T5 as the third even after one CLIP


def _beginning(key: str) -> tuple[str, str]:
    """Return what a key changes, and the beginning that says so."""
    found = ((kind, start) for kind, starts in PREFIXES.items() for start in starts if key.startswith(start))
    return next(found, ("unet", ""))


# Applying ------------------------------------------------------------------------------------------------------------


def bake(module: nn.Module, changes: Sequence[tuple[float, Changes]]) -> dict[str, nn.Parameter]:
    """Return the changed parameters W + sum_i strength_i dW_i by name; strength 0 changes nothing."""
    parameters = dict(module.named_parameters())
    active = [(strength, change) for strength, change in changes if strength]
    baked = {}
    for name in dict.fromkeys(n for _, change in active for n in change.deltas):
        original = parameters[name]
        total = original.detach().float()
        for strength, change in active:
            if name in change.deltas:
                total = total + strength * change.deltas[name].to(total.device)
        baked[name] = nn.Parameter(total.to(original.dtype), requires_grad=False)
    return baked


@contextlib.contextmanager
def swapped(module: nn.Module, parameters: Mapping[str, nn.Parameter]) -> Iterator[None]:
    """Put `parameters` in the place of the module's own while the block runs."""
    split = [(*name.rpartition(".")[::2], new) for name, new in parameters.items()]
    places = [(module.get_submodule(path)._parameters, leaf, new) for path, leaf, new in split]
    originals = [owner[leaf] for owner, leaf, _ in places]
    try:
        for owner, leaf, new in places:
            owner[leaf] = new
        yield
    finally:
        for (owner, leaf, _), original in zip(places, originals, strict=True):
            owner[leaf] = original
