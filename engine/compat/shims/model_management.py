"""`comfy.model_management`: devices, memory and interruption, as far as one needs it beside a planner of our own."""

from __future__ import annotations

import os
from enum import Enum
from typing import Any

import torch

from engine.compat.graph import CURRENT
from engine.errors import Cancelled

OOM_EXCEPTION = torch.OutOfMemoryError
current_loaded_models: list[Any] = []


class InterruptProcessingException(Cancelled):
    """The job was cancelled."""

    def __init__(self, message: str = "The job was cancelled.") -> None:
        super().__init__(message)


class VRAMState(Enum):
    """How much memory the device has."""

    DISABLED = 0
    NO_VRAM = 1
    LOW_VRAM = 2
    NORMAL_VRAM = 3
    HIGH_VRAM = 4
    SHARED = 5


class CPUState(Enum):
    """What computes."""

    GPU = 0
    CPU = 1
    MPS = 2


vram_state, cpu_state = VRAMState.DISABLED, CPUState.CPU


def get_torch_device() -> torch.device:
    """Return the device that nodes compute on."""
    return torch.device("cpu")


def intermediate_device() -> torch.device:
    """Return the device that values travel on."""
    return torch.device("cpu")


text_encoder_device = text_encoder_offload_device = vae_device = vae_offload_device = get_torch_device
unet_offload_device = text_encoder_initial_device = get_torch_device


def unet_inital_load_device(parameters: int, dtype: torch.dtype) -> torch.device:
    """Return the device that networks are loaded to (the name is misspelt on purpose)."""
    return get_torch_device()


def get_torch_device_name(device: Any) -> str:
    """Return a device in words."""
    return str(device)


def is_intel_xpu() -> bool:
    """Say whether the device is Intel's."""
    return False


is_nvidia = is_amd = is_directml_enabled = is_ascend_npu = is_intel_xpu


def is_device_cpu(device: torch.device) -> bool:
    """Say whether a device is the processor."""
    return device.type == "cpu"


def is_device_mps(device: torch.device) -> bool:
    """Say whether a device is Apple's."""
    return device.type == "mps"


def is_device_cuda(device: torch.device) -> bool:
    """Say whether a device is NVIDIA's or AMD's."""
    return device.type == "cuda"


def should_use_fp16(*args: Any, **kwargs: Any) -> bool:
    """Say whether half precision is of use here."""
    return False


should_use_bf16 = should_use_fp16


def unet_dtype(*args: Any, **kwargs: Any) -> torch.dtype:
    """Return the number format that networks compute in."""
    return torch.float32


vae_dtype = text_encoder_dtype = unet_dtype


def dtype_size(dtype: torch.dtype) -> int:
    """Return the bytes of a number."""
    return dtype.itemsize


def get_total_memory(dev: Any = None, torch_total_too: bool = False) -> Any:
    """Return the memory of the machine in bytes."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return (total, total) if torch_total_too else total


def get_free_memory(dev: Any = None, torch_free_too: bool = False) -> Any:
    """Return the free memory of the machine in bytes."""
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    return (free, free) if torch_free_too else free


def load_models_gpu(models: Any, *args: Any, **kwargs: Any) -> None:
    """Do nothing: networks are loaded when they are used, within the memory budget."""


load_model_gpu = load_models_gpu


def unload_all_models(*args: Any, **kwargs: Any) -> None:
    """Do nothing: networks are unloaded when the memory is needed."""


free_memory = soft_empty_cache = cleanup_models = unload_all_models


def interrupt_current_processing(value: bool = True) -> None:
    """Do nothing: jobs are cancelled by their id."""


def processing_interrupted() -> bool:
    """Say whether the job under way was cancelled."""
    current = CURRENT.get()
    return current is not None and current.context.cancelled()


def throw_exception_if_processing_interrupted() -> None:
    """Raise if the job under way was cancelled."""
    if processing_interrupted():
        raise InterruptProcessingException
