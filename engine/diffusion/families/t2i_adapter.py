"""T2I-Adapter: a small network that turns a picture into features for each level of a U-Net's encoder, once.

Mou et al. 2023, arXiv 2302.08453. Full adapters, their SDXL form and light ones are read, with the authors' or
diffusers' keys; every figure is read from shapes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import T2IAdapter
from torch import Tensor

from engine.diffusion.companions import Call, Residuals, fitted, kept
from engine.diffusion.families import shapes
from engine.diffusion.families.base import WHOLE, Part, Reason, Source, Verdict
from engine.diffusion.families.load import Place, assign, on_meta
from engine.diffusion.patches import Report
from engine.errors import BadFile

PREFIX = "adapter."
CONV, FIRST = "conv_in.weight", "body.0.in_conv.weight"
BODY, NUMBERED = re.compile(r"body\.(\d{1,4})\."), re.compile(r"body\.\d{1,4}\.block1\.")
LIGHT = re.compile(r"^(body\.\d{1,4})\.body\.(\d{1,4})\.")
BLOCK = re.compile(r"body\.(\d{1,4})\.resnets\.(\d{1,4})\.block1\.weight")
UNSHUFFLED = {1: "grey", 3: "coloured"}  # channels of pictures
XL_FOLD = 16  # pixels a side that SDXL's adapters fold into channels; the others fold 8
RESNETS = 2  # of a full adapter's level


@dataclass(frozen=True)
class Plan:
    """What the shapes of an adapter say. `fold`: pixels a side of the picture that become channels."""

    kind: str
    channels: tuple[int, ...]
    resnets: int
    colours: int
    fold: int


@dataclass(frozen=True, eq=False)
class Adapter:
    """A T2I-Adapter; see `companions.ControlNetwork`."""

    module: Any  # T2IAdapter, which has no types
    plan: Plan
    reports: tuple[Report, ...] = ()

    def configured(self, options: Mapping[str, Any]) -> Adapter:
        """Return itself: it has no settings."""
        return self

    def misfit(self, config: Any) -> str:
        """Say what about a U-Net's config does not fit."""
        if (self.plan.kind == "full_adapter_xl") != (config["addition_embed_type"] == "text_time"):
            return "one of the two is made for Stable Diffusion XL"
        wanted = tuple(config["block_out_channels"])
        if self.plan.channels[: len(wanted)] != wanted:
            ours, theirs = (", ".join(map(str, each)) for each in (self.plan.channels, wanted))
            return f"its levels are {ours} wide, the model's {theirs}"
        return ""

    def prepared(self, hint: Tensor, size: tuple[int, int]) -> tuple[Tensor, ...]:
        """Return the features (n, C, h, w) of hints (n, H, W, 3) for each level: they do not depend on time."""
        h, w = ((side + 1) // 2 for side in size) if self.plan.kind == "full_adapter_xl" else size
        planes = fitted(hint, h * self.plan.fold, w * self.plan.fold)
        planes = planes if self.plan.colours == 3 else planes.mean(1, keepdim=True)
        with torch.no_grad():
            return tuple(self.module(planes.to(kept(self.module))))

    def residuals(self, prepared: tuple[Tensor, ...], rows: Tensor, call: Call) -> Residuals:
        """Return what to add at the end of each level."""
        return Residuals(levels=tuple(level[rows.to(level.device)] for level in prepared))


class T2IAdapters:
    """The family object; see `base.Family`."""

    name = "t2i_adapter"
    title = "T2I-Adapter"
    order = 6

    def recognise(self, source: Source) -> Verdict:
        """Look for residual blocks at every level and nothing of a U-Net."""
        names = _renamed(source.single)
        blocks = "body.0.resnets.0.block1.weight" in names
        signs = {
            "body.0.resnets.0.block1.weight, or body.0.block1.weight": blocks,
            "a conv_in.weight, or a light adapter's body.0.in_conv.weight": blocks
            and (CONV in names or FIRST in names),
        }
        against = {
            "skep (a layer on the way around a block)": any(".skep." in key for key in names),
            "down_opt (a layer that halves the picture)": any(".down_opt." in key for key in names),
            "time_embedding (a network that is told the time)": any("time_embed" in key for key in names),
        }
        return Verdict.of(self.name, signs, against)

    def card(self, source: Source) -> tuple[Reason, ...]:
        """Return family, form, widths and the picture that it reads, with their reasons."""
        plan = _plan(source)
        return (
            Reason("family", self.title, "; ".join(self.recognise(source).found)),
            Reason("form", plan.kind.replace("_", " "), f"shapes in the file; {plan.fold} pixels a side are folded"),
            Reason("widths", ", ".join(map(str, plan.channels)), "shapes in the file"),
            Reason("picture", UNSHUFFLED[plan.colours], "input channels of the first layer"),
        )

    def parts(self, source: Source) -> dict[str, Part]:
        """Return the one part there is."""
        return {"control": Part(source.single.size)}

    def build(self, source: Source, part: str, place: Place) -> Adapter:
        """Build the network at `place`."""
        plan = _plan(source)
        config = {
            "in_channels": plan.colours, "num_res_blocks": plan.resnets, "downscale_factor": plan.fold,
            # the last level of a light adapter is as wide as the one before it, and not named
            "channels": list(plan.channels[:-1] if plan.kind == "light_adapter" else plan.channels),
        }  # fmt: skip
        module = on_meta(lambda: T2IAdapter(adapter_type=plan.kind, **config), config, "T2I-Adapter")
        weights = {PREFIX + name: tensor for name, tensor in _renamed(source.tensors(WHOLE)).items()}
        return Adapter(assign(module, weights, place, "T2I-Adapter"), plan)


def _plan(source: Source) -> Plan:
    """Read an adapter's plan from its shapes; BadFile if they follow none."""
    names = _renamed(source.single)
    light = CONV not in names
    blocks = [(int(m[1]), int(m[2])) for key in names if (m := BLOCK.fullmatch(key))]
    levels = range(1 + max(level for level, _ in blocks))
    last = "out_conv.weight" if light else "resnets.0.block1.weight"
    widths = [shapes.header_shape(names, f"body.{i}.{last}")[:1] for i in levels]
    first = shapes.header_shape(names, FIRST if light else CONV)
    if not all(widths) or len(first) != 4:
        raise BadFile("The T2I-Adapter's levels follow no regular plan; the file is damaged.")
    colours, fold = _folded(first[1])
    xl = "full_adapter_xl" if fold == XL_FOLD else "full_adapter"
    return Plan(
        "light_adapter" if light else xl, tuple(w for (w,) in widths), 1 + max(j for _, j in blocks), colours, fold
    )


def _folded(channels: int) -> tuple[int, int]:
    """Return how many colours, and pixels a side, the first layer's channels are made of: 192 is 3 x 8^2."""
    found = [(c, 2**k) for c in UNSHUFFLED for k in range(7) if c * 4**k == channels]
    if not found:
        raise BadFile(f"The T2I-Adapter takes {channels} channels; 64, 192, 256 and 768 are known.")
    return found[0]


def _renamed(named: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is named in either layout under diffusers' names; the authors number a full adapter's blocks on."""
    plain = {key.removeprefix(PREFIX): value for key, value in named.items()}
    through = any(NUMBERED.match(key) for key in plain)
    return {_through(key) if through else LIGHT.sub(r"\1.resnets.\2.", key): value for key, value in plain.items()}


def _through(key: str) -> str:
    found = BODY.match(key)
    if not found:
        return key
    level, block = divmod(int(found[1]), RESNETS)
    rest = key[found.end() :]
    return f"body.{level}.{rest}" if rest.startswith("in_conv.") else f"body.{level}.resnets.{block}.{rest}"


FAMILY = T2IAdapters()
