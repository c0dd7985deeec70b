"""The autoencoder: 128 x 128 pictures to 16 x 16 x 16 latents (residual space-to-channel, `AutoencoderDC`)."""

import cv2
import numpy as np
import torch
from diffusers import AutoencoderDC
from torch import Tensor
from torch.nn import functional as F

from models.bozzetto.pictures import psnr, to_images, to_tensor
from models.bozzetto.scenes import START, WIDE, scene
from models.bozzetto.scenes.holdout import FIRST_HELD_OUT_SEED
from models.bozzetto.train.loop import Settings
from models.bozzetto.train.ranks import Ranks

CHANNELS = 16


def build(widths: tuple[int, ...] = (32, 64, 128, 128), latent: int = CHANNELS) -> AutoencoderDC:
    """Convolutions only, none at full resolution: most of the work is done at 16 x 16 and 32 x 32."""
    return AutoencoderDC(
        in_channels=3, latent_channels=latent, encoder_block_types="ResBlock", decoder_block_types="ResBlock",
        encoder_block_out_channels=widths, decoder_block_out_channels=widths,
        encoder_layers_per_block=(0, 1, 1, 3), decoder_layers_per_block=(0, 2, 2, 3),
        encoder_qkv_multiscales=((),) * len(widths), decoder_qkv_multiscales=((),) * len(widths),
        upsample_block_type="pixel_shuffle", downsample_block_type="pixel_unshuffle",
        decoder_norm_types="rms_norm", decoder_act_fns="silu", scaling_factor=1.0,
    )  # fmt: skip


def _gradients(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]


def reconstruction_loss(y: Tensor, x: Tensor) -> Tensor:
    """L1 + MSE + gradient L1, of (B, 3, H, W) batches."""
    edges = sum((a - b).abs().mean() for a, b in zip(_gradients(y), _gradients(x), strict=True))
    return (y - x).abs().mean() + (y - x).square().mean() + 0.3 * edges


def whiteness_loss(z: Tensor) -> Tensor:
    """Distance of the channels of (B, C, h, w) from zero mean and unit, uncorrelated variance."""
    flat = z.float().transpose(0, 1).flatten(1)
    mean = flat.mean(1, keepdim=True)
    covariance = (flat - mean) @ (flat - mean).T / flat.shape[1]
    return (covariance - torch.eye(len(flat))).square().sum() / len(flat) + mean.square().mean()


class AutoencoderJob:
    """Trained on fresh scenes for ever: 60 % of the start world, 40 % of all icons, so the vocabulary can grow."""

    def __init__(self, settings: Settings, widths: tuple[int, ...] = (32, 64, 128, 128)) -> None:
        cv2.setNumThreads(1)
        torch.manual_seed(settings.seed)
        self.settings = settings
        self.model = build(widths).to(memory_format=torch.channels_last)
        self.held_out = to_tensor([scene(FIRST_HELD_OUT_SEED + i, START).image for i in range(64)])

    def loss(self, step: int, ranks: Ranks) -> tuple[Tensor, dict[str, float]]:
        """Reconstruction, white latents, and decoding of a halved latent to the halved picture."""
        s, share = self.settings, ranks.share(self.settings.batch)
        seeds = [step * s.batch + i for i in range(s.batch)][share]
        x = to_tensor([scene(seed, WIDE if seed % 5 < 2 else START).image for seed in seeds])
        noise = torch.randn((s.batch, CHANNELS, 16, 16), generator=torch.Generator().manual_seed(step))[share]
        half = x[: max(1, len(x) // 2)]
        with torch.autocast("cpu", torch.bfloat16):
            z = self.model.encode(x).latent
            y = self.model.decode(z + 0.05 * noise).sample
            # A latent that survives being halved is smooth over space, and smooth latents are easier to diffuse.
            y_half = self.model.decode(F.avg_pool2d(z[: len(half)], 2)).sample
        picture = reconstruction_loss(y.float(), x)
        smooth = reconstruction_loss(y_half.float(), F.avg_pool2d(half, 2))
        loss = picture + 0.25 * smooth + 0.01 * whiteness_loss(z)
        return loss, {"picture": float(picture.detach()), "smooth": float(smooth.detach())}

    def measure(self, step: int) -> dict[str, float]:
        """PSNR on 64 held-out scenes and the spread of the latent's channels."""
        with torch.no_grad():
            z = self.model.encode(self.held_out).latent
            decibels = psnr(self.model.decode(z).sample.clamp(-1, 1), self.held_out)
            flat = z.transpose(0, 1).flatten(1)
            eigen = torch.linalg.eigvalsh(torch.cov(flat))
            smooth = (z[..., 1:] * z[..., :-1]).mean() / z.square().mean()
        return {"psnr": round(float(decibels.mean()), 3), "psnr_worst": round(float(decibels.min()), 2),
                "eigen_low": round(float(eigen[0]), 3), "eigen_high": round(float(eigen[-1]), 3),
                "std": round(float(z.std()), 4), "neighbour": round(float(smooth), 3)}  # fmt: skip

    def sheet(self, step: int) -> np.ndarray:
        """Twelve held-out scenes above their reconstructions."""
        with torch.no_grad():
            x = self.held_out[:24]
            y = self.model.decode(self.model.encode(x).latent).sample
        rows = [np.hstack(list(to_images(part))) for part in (x[:12], y[:12], x[12:], y[12:])]
        return np.vstack(rows)
