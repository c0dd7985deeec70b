"""Weight patches: read from a file or a graph, matched to a loaded module's own parameters, baked by pointer swap.

A patch is a set of changes dW = W' - W, one per parameter. Changes of a parameter are added in float32 and cast once.
The original parameters are never written to, so leaving a patch restores the model bit for bit.
LoRA: Hu et al. 2021, arXiv 2106.09685: dW = (alpha / r) B A.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from engine.errors import BadFile

Parts = Mapping[str, Tensor]
"""The tensors of one parameter's change, by role."""

Op = Callable[[Parts, Tensor], Tensor]
"""(parts, weight) -> dW in float32, of the weight's shape; ValueError if the shapes do not fit."""

MATCH_MIN = 0.5
ALIASES = {"to_out_0": "to_out"}  # the old diffusers layout names the projection without its index
PREFIXES = {
    "text": (
        "lora_te1_text_model_", "lora_te_text_model_", "base_model.model.text_encoder.text_model.",
        "text_encoder.text_model.", "base_model.model.text_model.", "text_model.", "text_encoder.",
    ),
    "unet": (
        "lora_unet_", "lycoris_unet_", "base_model.model.unet.", "unet.", "base_model.model.", "diffusion_model.",
    ),
}  # fmt: skip
OTHER_TEXT = ("lora_te2_", "text_encoder_2.")  # the second encoder of SDXL
ROLES = {
    ".lora_down.weight": "down", ".lora_A.weight": "down", ".lora_A.default.weight": "down",
    "_lora.down.weight": "down", ".lora.down.weight": "down", ".lora_linear_layer.down.weight": "down",
    ".lora_up.weight": "up", ".lora_B.weight": "up", ".lora_B.default.weight": "up",
    "_lora.up.weight": "up", ".lora.up.weight": "up", ".lora_linear_layer.up.weight": "up",
    ".lora_mid.weight": "mid", ".alpha": "alpha", ".diff": "diff", ".diff_b": "diff_b",
}  # fmt: skip


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
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


@dataclass(frozen=True)
class Changes:
    """A patch as read for one module: parameter name -> change in float32, at strength 1."""

    deltas: Mapping[str, Tensor]
    report: Report = field(default_factory=Report)


# Reading -------------------------------------------------------------------------------------------------------------


def low_rank(parts: Parts, weight: Tensor) -> Tensor:
    """Return (alpha / r) B A; with `mid` C the Tucker form sum_rs B_or C_rs A_si. Without alpha the factor is 1."""
    down, up = parts["down"].float(), parts["up"].float()
    rank = down.shape[0]
    scale = float(parts["alpha"]) / rank if "alpha" in parts else 1.0
    if not math.isfinite(scale):
        raise ValueError("alpha is not a number")
    if "mid" in parts:
        delta = torch.einsum("or,rskl,si->oikl", up.flatten(1), parts["mid"].float(), down.flatten(1))
    else:
        if up.flatten(1).shape[1] != rank:
            raise ValueError(f"ranks {up.flatten(1).shape[1]} and {rank} differ")
        delta = up.flatten(1) @ down.flatten(1)  # (out, r) (r, in k k)
    if delta.shape[0] != weight.shape[0] or delta.numel() != weight.numel():
        raise ValueError(f"{tuple(delta.shape)} does not fit {tuple(weight.shape)}")
    return scale * delta.reshape(weight.shape)


def difference(parts: Parts, weight: Tensor) -> Tensor:
    """Return the stored difference itself."""
    if parts["diff"].shape != weight.shape:
        raise ValueError(f"{tuple(parts['diff'].shape)} does not fit {tuple(weight.shape)}")
    return parts["diff"].float()


OPS: Mapping[frozenset[str], Op] = {frozenset({"down", "up"}): low_rank, frozenset({"diff"}): difference}
"""An op by the roles that it cannot do without; `alpha` and `mid` are optional."""


def read_lora(tensors: Mapping[str, Tensor], module: nn.Module, component: str) -> Changes:
    """Match a LoRA file (kohya, diffusers or PEFT names) to a module, by a table made from the module itself.

    `component` is unet or text. BadFile if under half of the component's entries match; none at all is no error, since
    a file may hold only the other component.
    """
    table = key_table(module)
    parameters = dict(module.named_parameters())
    deltas: dict[str, Tensor] = {}
    matched, unmatched, wrong = [], [], []
    for stem, parts in _entries(tensors, component).items():
        path = table.get(_plain(stem, component))
        ops = [op for needed, op in OPS.items() if needed <= parts.keys()]
        if path is None or not ops:
            unmatched.append(stem)
            continue
        try:
            found = {path: ops[0](parts, parameters[path])}
            if "diff_b" in parts:
                bias = path.removesuffix("weight") + "bias"
                found[bias] = difference({"diff": parts["diff_b"]}, parameters[bias])
        except (ValueError, RuntimeError, LookupError, ArithmeticError):
            wrong.append(stem)
            continue
        for name, delta in found.items():
            deltas[name] = deltas[name] + delta if name in deltas else delta
        matched.append(stem)
    report = Report(tuple(matched), tuple(unmatched), tuple(wrong))
    total = len(matched) + len(unmatched) + len(wrong)
    if total and len(matched) < MATCH_MIN * total:
        raise BadFile(f"The LoRA is for another model: of {total} entries {report}.")
    return Changes(deltas, report)


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

    `_` is ambiguous, so paths are never taken apart; a name that two layers would share is left out.
    """
    names = [name for name, _ in module.named_parameters() if name.endswith(".weight")]
    spelled: dict[str, list[str]] = {}
    for name in names:
        plain = name.removesuffix(".weight").replace(".", "_")
        spelled.setdefault(plain, []).append(name)
        for tail, alias in ALIASES.items():
            if plain.endswith(tail):
                spelled.setdefault(plain.removesuffix(tail) + alias, []).append(name)
    return {plain: found[0] for plain, found in spelled.items() if len(found) == 1}


def _entries(tensors: Mapping[str, Tensor], component: str) -> dict[str, dict[str, Tensor]]:
    """Group a file's tensors by layer, for one component; an unknown role keeps its whole key."""
    found: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if _component(key) == component:
            suffix = max((s for s in ROLES if key.endswith(s)), key=len, default="")
            found.setdefault(key.removesuffix(suffix) if suffix else key, {})[ROLES.get(suffix, key)] = tensor
    return found


def _component(key: str) -> str:
    if key.startswith(OTHER_TEXT):
        return "text_2"
    return "text" if key.startswith(PREFIXES["text"]) else "unet"


def _plain(stem: str, component: str) -> str:
    prefix = next((p for p in PREFIXES.get(component, ()) if stem.startswith(p)), "")
    return stem.removeprefix(prefix).replace(".", "_").replace("_processor_", "_")


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
