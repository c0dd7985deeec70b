"""From a config and a state dict to a module, without ever holding the weights twice: meta init, strict assign."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from engine.diffusion import residency
from engine.errors import BadFile

M = TypeVar("M", bound=nn.Module)
CPU = torch.device("cpu")
SIZE_MAX, DEPTH_MAX = 1 << 20, 256
CONFIG_ERRORS = (  # what diffusers and transformers raise for configs of other shapes
    TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RuntimeError, AssertionError,
)  # fmt: skip


def on_meta(make: Callable[[], Any], config: Mapping[str, Any], what: str) -> Any:
    """Make a module of `config` without memory for its weights; BadFile if the config is not one of such a module."""
    check_config(config, what)
    try:
        with torch.device("meta"):
            return make()
    except CONFIG_ERRORS as error:
        raise BadFile(f"The config of the {what} does not fit: {str(error)[:200]}.") from error


def check_config(config: Mapping[str, Any], what: str) -> None:
    """Refuse numbers so large, and lists so long, that making the module alone would take for ever."""
    for name, value in config.items():
        each = value if isinstance(value, list) else [value]
        limit = DEPTH_MAX if "layers" in name or "depth" in name else SIZE_MAX
        if len(each) > DEPTH_MAX or any(isinstance(v, int) and abs(v) > limit for v in each):
            raise BadFile(f"The config of the {what} says {name} = {str(value)[:40]}, which is out of all bounds.")


def whole(config: Mapping[str, Any], name: str, default: int) -> int:
    """Return a positive whole number of a config, the first if it is a list; BadFile if it is none."""
    value = config.get(name)
    value = value[0] if isinstance(value, list) and value else value
    value = default if value is None else value
    if type(value) is not int or not 0 < value <= SIZE_MAX:
        raise BadFile(f"A config says {name} = {str(value)[:40]}; a positive whole number is needed.")
    return value


def number(config: Mapping[str, Any], name: str, default: float) -> float:
    """Return a finite number of a config; BadFile if it is none."""
    value = config.get(name)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadFile(f"A config says {name} = {str(value)[:40]}; a number is needed.")
    return float(value)


@dataclass(frozen=True)
class Place:
    """Where weights go: a number format and a device.

    `products`: a narrower format to multiply in, `stored`: one to keep large weights in; None = the same.
    """

    dtype: torch.dtype = torch.float32
    device: torch.device = CPU
    products: torch.dtype | None = None
    stored: torch.dtype | None = None

    def put(self, tensor: Tensor) -> Tensor:
        """Move one tensor; integers keep their type."""
        return tensor.to(self.device, self.dtype if tensor.is_floating_point() else tensor.dtype)

    def holds(self, tensor: Tensor) -> bool:
        """Say whether a weight stays in its file, with another form of it made for computing."""
        narrow = torch.bfloat16 in (self.dtype, self.products)
        other = tensor.dtype != self.dtype or tensor.device != self.device
        return tensor.is_floating_point() and (other or narrow or self.stored is not None)


def assign(module: M, weights: Mapping[str, Tensor], place: Place, what: str) -> M:
    """Give a module on the meta device its weights; BadFile names what is missing, left over or of another shape."""
    wanted = module.state_dict()
    missing = sorted(wanted.keys() - weights.keys())
    extra = sorted(weights.keys() - wanted.keys())
    wrong = [k for k in wanted.keys() & weights.keys() if wanted[k].shape != weights[k].shape]
    if missing or extra or wrong:
        raise BadFile(f"The {what} does not fit its file: {_few('missing', missing)}{_few('left over', extra)}"
                      f"{_few('of another shape', wrong)}".rstrip("; ") + ".")  # fmt: skip
    held = {k: layer for k, layer in residency.holdable(module).items() if place.holds(weights[k])}
    put = {k: v if k in held else place.put(v) for k, v in weights.items()}
    module.load_state_dict(put, strict=True, assign=True)
    residency.hold(held.values(), place.products or place.dtype, place.device, place.dtype, place.stored)
    return module.eval().requires_grad_(False)


def _few(what: str, names: list[str]) -> str:
    return f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''}); " if names else ""
