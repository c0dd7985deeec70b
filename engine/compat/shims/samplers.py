"""`comfy.samplers`: the names that nodes offer."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

KSAMPLER_NAMES = [
    "euler", "euler_ancestral", "heun", "dpm_2", "dpm_2_ancestral", "lms", "dpmpp_2s_ancestral", "dpmpp_sde",
    "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_3m_sde", "ddpm", "lcm", "ddim", "uni_pc", "uni_pc_bh2",
]  # fmt: skip
SCHEDULER_NAMES = [
    "simple", "sgm_uniform", "karras", "exponential", "ddim_uniform", "beta", "normal", "linear_quadratic",
    "kl_optimal",
]  # fmt: skip


def offered(names: Sequence[str], input: str) -> list[str]:
    """Return what the node class KSampler offers here for one of its inputs, else `names`."""
    core: Any = sys.modules["nodes"].__dict__.get("NODE_CLASS_MAPPINGS", {}).get("KSampler")
    found = core.INPUT_TYPES()["required"].get(input) if core else None
    return list(found[0]) if found and isinstance(found[0], (list, tuple)) else list(names)


class _Names:
    """Lists that follow what is there."""

    def __init__(self, names: Sequence[str], input: str) -> None:
        self._names, self._input = names, input

    def __get__(self, instance: object, owner: type) -> list[str]:
        return offered(self._names, self._input)


class KSampler:
    """The names of samplers and schedulers."""

    SAMPLERS = _Names(KSAMPLER_NAMES, "sampler_name")
    SCHEDULERS = _Names(SCHEDULER_NAMES, "scheduler")


SAMPLER_NAMES = KSAMPLER_NAMES
