"""Devices behind one small interface: CUDA, ROCm, XPU and MPS through `torch.accelerator`, the CPU through /proc."""

from __future__ import annotations

import ctypes
import gc
import os
import re
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from engine.errors import BadInput

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # what clears VmHWM when written there

Kernel = Literal["flash", "efficient", "cudnn", "math"]
KERNELS: dict[Kernel, SDPBackend] = {
    "flash": SDPBackend.FLASH_ATTENTION, "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION, "math": SDPBackend.MATH,
}  # fmt: skip
OFFERED: dict[str, tuple[Kernel, ...]] = {
    "cuda": get_args(Kernel), "xpu": ("flash", "math"), "mps": ("math",), "cpu": ("flash", "math"),
}  # fmt: skip
WARM_UP = 2  # calls before one is recorded, in which libraries choose their kernels


@dataclass(frozen=True)
class Backend:
    """A device and what can be asked of it."""

    device: torch.device

    @property
    def accelerator(self) -> bool:
        """Whether it has a memory of its own."""
        return self.device.type != "cpu"

    def room(self) -> int:
        """Return the bytes free now."""
        if self.device.type == "cuda":
            return int(torch.cuda.mem_get_info(self.device)[0])
        if self.device.type == "xpu":
            return int(torch.xpu.mem_get_info(self.device)[0])
        if self.device.type == "mps":
            return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")

    def free(self) -> None:
        """Collect what is dead, and give what the allocator keeps back to the device or the system."""
        gc.collect()
        if self.accelerator:
            torch.accelerator.empty_cache()
        trim = _trim()
        if trim is not None:
            trim(0)

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """The kernels of attention that it has."""
        return OFFERED.get(self.device.type, ("math",))

    def attention(self, kernel: Kernel) -> AbstractContextManager[Any]:
        """Compute attention by `kernel`, and by `math` what that one does not take; BadInput if it is not there."""
        if kernel not in self.kernels:
            raise BadInput(
                f"Attention by {kernel!r} is not there on {self.device.type}: it has {', '.join(self.kernels)}.",
                field="kernel",
            )
        return sdpa_kernel([KERNELS[kernel], SDPBackend.MATH], set_priority=True)

    @property
    def records(self) -> bool:
        """Whether a call can be recorded as a graph and replayed."""
        return self.device.type == "cuda"

    def record(self, call: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """Record a call that touches the device's memory alone; return what replays it into the same tensor."""
        stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                call()
        torch.cuda.current_stream(self.device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = call()

        def replay() -> Tensor:
            graph.replay()
            return out

        return replay

    def used(self) -> int:
        """Return the bytes in use now: on the CPU those of this process, without what is only a mapped file."""
        if self.accelerator:
            return int(torch.accelerator.memory_allocated(self.device.index or 0))
        return _status("RssAnon")

    def begin(self) -> None:
        """Begin to watch the peak."""
        if self.accelerator:
            torch.accelerator.reset_peak_memory_stats(self.device.index or 0)
        elif CLEAR.exists():
            CLEAR.write_text(RESET_PEAK)

    def peak(self) -> int:
        """Return the most bytes in use since `begin`; 0 where the system does not tell."""
        if self.accelerator:
            return int(torch.accelerator.max_memory_allocated(self.device.index or 0))
        return max(0, _status("VmHWM") - _status("RssFile") - _status("RssShmem"))


def best_device() -> str:
    """Return the accelerator there is, else the CPU."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return str(found) if found else "cpu"


@cache
def _trim() -> Any:
    """Return glibc's `malloc_trim`: it keeps freed blocks below 32 MB, as most weights are, until it is called."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None


def _status(name: str) -> int:
    """Return a line of this process's memory status in bytes, 0 where there is none."""
    found = re.search(rf"^{name}:\s+(\d+) kB", STATUS.read_text(), re.MULTILINE) if STATUS.exists() else None
    return int(found[1]) * 1024 if found else 0
