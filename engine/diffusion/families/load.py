"""From a config and a state dict to a module, without ever holding the weights twice: meta init, strict assign."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from engine.errors import BadFile

M = TypeVar("M", bound=nn.Module)
CPU = torch.device("cpu")


def from_config(cls: Any, config: Mapping[str, Any]) -> Any:
    """Make a diffusers model of `cls` without memory for its weights; BadFile if the config is not one."""
    try:
        with torch.device("meta"):
            return cls.from_config(dict(config))
    except (TypeError, ValueError, KeyError, NotImplementedError, AttributeError, IndexError) as error:
        raise BadFile(f"The config of the {cls.__name__} does not fit: {error}.") from error


@dataclass(frozen=True)
class Place:
    """Where weights go: a number format and a device."""

    dtype: torch.dtype = torch.float32
    device: torch.device = CPU

    def put(self, tensor: Tensor) -> Tensor:
        """Move one tensor; integers keep their type."""
        return tensor.to(self.device, self.dtype if tensor.is_floating_point() else tensor.dtype)


def assign(module: M, weights: Mapping[str, Tensor], place: Place, what: str) -> M:
    """Give a module on the meta device its weights; BadFile names what is missing, left over or of another shape."""
    wanted = module.state_dict()
    missing = sorted(wanted.keys() - weights.keys())
    extra = sorted(weights.keys() - wanted.keys())
    wrong = [k for k in wanted.keys() & weights.keys() if wanted[k].shape != weights[k].shape]
    if missing or extra or wrong:
        raise BadFile(f"The {what} does not fit its file: {_few('missing', missing)}{_few('left over', extra)}"
                      f"{_few('of another shape', wrong)}".rstrip("; ") + ".")  # fmt: skip
    module.load_state_dict({k: place.put(v) for k, v in weights.items()}, strict=True, assign=True)
    return module.eval().requires_grad_(False)


def _few(what: str, names: list[str]) -> str:
    return f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''}); " if names else ""
