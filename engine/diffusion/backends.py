"""Devices behind one small interface: CUDA, ROCm, XPU and MPS through `torch.accelerator`, the CPU through /proc."""

from __future__ import annotations

import gc
import os
import re
from dataclasses import dataclass
from pathlib import Path

import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # what clears VmHWM when written there


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
        """Collect what is dead and empty the allocator's caches."""
        gc.collect()
        if self.accelerator:
            torch.accelerator.empty_cache()

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


def _status(name: str) -> int:
    """Return a line of this process's memory status in bytes, 0 where there is none."""
    found = re.search(rf"^{name}:\s+(\d+) kB", STATUS.read_text(), re.MULTILINE) if STATUS.exists() else None
    return int(found[1]) * 1024 if found else 0
