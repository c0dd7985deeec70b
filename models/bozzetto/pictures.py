"""Pictures as tensors and back, and how far apart two of them are."""

import numpy as np
import torch
from torch import Tensor


def to_tensor(images: list[np.ndarray] | np.ndarray) -> Tensor:
    """uint8 (H, W, 3) pictures to a (B, 3, H, W) float32 batch in -1..1."""
    batch = torch.from_numpy(np.stack(list(images))).permute(0, 3, 1, 2).float()
    return (batch / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def to_images(batch: Tensor) -> np.ndarray:
    """(B, 3, H, W) in -1..1 to (B, H, W, 3) uint8."""
    pixels: np.ndarray = ((batch.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return pixels


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """(B,) dB between two (B, 3, H, W) batches in -1..1."""
    return 10 * torch.log10(4 / (a - b).float().square().mean((1, 2, 3)).clamp_min(1e-12))
