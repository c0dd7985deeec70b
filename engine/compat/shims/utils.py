"""`comfy.utils`: progress, resizing, and reading weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from engine.compat.graph import CURRENT
from engine.errors import BadFile

PROGRESS_BAR_ENABLED = True
PROGRESS_BAR_HOOK: Callable[..., Any] | None = None
LATENT_ONLY = {"bislerp": "bilinear"}


def set_progress_bar_enabled(enabled: bool) -> None:
    """Do nothing: progress is always told."""


def set_progress_bar_global_hook(function: Callable[..., Any] | None) -> None:
    """Do nothing: progress goes to the call under way."""


class ProgressBar:
    """Tells how far a node is. Raises when the job is cancelled."""

    def __init__(self, total: int, node_id: str | None = None) -> None:
        self.total = total
        self.current = 0

    def update(self, value: int) -> None:
        """Go on by `value`."""
        self.update_absolute(self.current + value)

    def update_absolute(self, value: int, total: int | None = None, preview: Any = None) -> None:
        """Stand at `value`; `preview` is (format, PIL picture, size)."""
        self.total = self.total if total is None else total
        self.current = min(value, self.total)
        under_way = CURRENT.get()
        if under_way is None:
            return
        under_way.context.progress(int(self.current), int(self.total))
        if preview is not None and under_way.context.wants_preview():
            import numpy as np

            picture = preview[1].convert("RGB")
            if preview[2] is not None:
                picture.thumbnail((preview[2], preview[2]))
            under_way.context.preview(np.asarray(picture))


def common_upscale(samples: Any, width: int, height: int, upscale_method: str, crop: str) -> Any:
    """Resize (B, C, h, w); `crop` center first cuts the middle that has the proportions wanted.

    `lanczos` goes through Pillow, `bislerp` is bilinear here.
    """
    from torch.nn.functional import interpolate

    if crop == "center":
        samples = _middle(samples, width / height)
    if upscale_method == "lanczos":
        return lanczos(samples, width, height)
    return interpolate(samples, size=(height, width), mode=LATENT_ONLY.get(upscale_method, upscale_method))


def _middle(samples: Any, proportion: float) -> Any:
    h, w = samples.shape[-2:]
    x = round((w - h * proportion) / 2) if w / h > proportion else 0
    y = round((h - w / proportion) / 2) if w / h < proportion else 0
    return samples[..., y : h - y, x : w - x]


def lanczos(samples: Any, width: int, height: int) -> Any:
    """Resize (B, C, h, w) in 0..1 with Pillow's Lanczos filter, in floats."""
    import numpy as np
    import torch
    from PIL import Image

    def resized(plane: Any) -> Any:
        picture = Image.fromarray(np.asarray(plane, np.float32), mode=None)
        return torch.from_numpy(np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS)).copy())

    rows = [torch.stack([resized(plane.float().cpu().numpy()) for plane in sample]) for sample in samples]
    return torch.stack(rows).to(samples)


def repeat_to_batch_size(tensor: Any, batch_size: int, dim: int = 0) -> Any:
    """Repeat or cut a tensor to a batch."""
    count = tensor.shape[dim]
    if count == batch_size:
        return tensor
    times = -(-batch_size // count)
    shape = [times if d == dim else 1 for d in range(tensor.ndim)]
    return tensor.repeat(shape).narrow(dim, 0, batch_size)


def load_torch_file(ckpt: str, safe_load: bool = True, device: Any = None, return_metadata: bool = False) -> Any:
    """Read weights; safetensors alone, as other formats can run code."""
    from safetensors import safe_open

    if not str(ckpt).lower().endswith((".safetensors", ".sft")):
        raise BadFile("Sfumato reads weights from safetensors files alone; convert this one.")
    with safe_open(ckpt, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    return (tensors, metadata) if return_metadata else tensors


def save_torch_file(sd: Mapping[str, Any], ckpt: str, metadata: Mapping[str, str] | None = None) -> None:
    """Write weights as safetensors."""
    from safetensors.torch import save_file

    save_file(dict(sd), ckpt, metadata=dict(metadata) if metadata else None)


def state_dict_prefix_replace(
    state_dict: dict[str, Any], replace_prefix: Mapping[str, str], filter_keys: bool = False
) -> dict[str, Any]:
    """Rename keys that begin with one of these prefixes; with `filter_keys` only those are kept."""
    out: dict[str, Any] = {} if filter_keys else state_dict
    for old, new in replace_prefix.items():
        for key in [k for k in state_dict if k.startswith(old)]:
            out[new + key[len(old) :]] = state_dict.pop(key)
    return out
