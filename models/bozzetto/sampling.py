"""The components of the model, and a short DDIM loop over them."""

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderDC, DDIMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from models.bozzetto import paths


@dataclass(frozen=True)
class Parts:
    """The five components of a text-to-image latent diffusion model."""

    tokenizer: CLIPTokenizer
    text: CLIPTextModel
    unet: UNet2DConditionModel
    vae: AutoencoderDC
    scheduler: DDIMScheduler

    @torch.no_grad()
    def encode_text(self, prompts: list[str]) -> Tensor:
        """(B, L, D) states of prompts."""
        ids = self.tokenizer(
            prompts,
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        return self.text(ids).last_hidden_state

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """(B, C, 16, 16) latents of (B, 3, 128, 128) pictures in -1..1."""
        return self.vae.encode(images).latent * self.vae.config.scaling_factor

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """(B, 3, 128, 128) pictures in -1..1 of latents."""
        z = (latents / self.vae.config.scaling_factor).contiguous(memory_format=torch.channels_last)
        return self.vae.decode(z).sample.float().clamp(-1, 1)

    @torch.no_grad()
    def noise(self, x: Tensor, time: Tensor, states: Tensor, empty: Tensor, guidance: float) -> Tensor:
        """Predicted noise (B, C, h, w) with classifier-free guidance; `guidance` 1 asks the prompt alone."""
        with torch.autocast("cpu", torch.bfloat16):
            if guidance == 1:
                out = self.unet(x, time, states).sample.float()
            else:
                both = torch.cat([x, x]).contiguous(memory_format=torch.channels_last)
                plain, prompted = self.unet(both, time, torch.cat([empty, states])).sample.float().chunk(2)
                out = plain + guidance * (prompted - plain)
        if self.scheduler.config.prediction_type == "epsilon":
            return out
        a = self.scheduler.alphas_cumprod[time]
        return a.sqrt() * out + (1 - a).sqrt() * x  # v = sqrt(a) noise - sqrt(1 - a) clean (Salimans & Ho 2022)


def load(folder: Path = paths.HERE) -> Parts:
    """The shipped model, in float32."""
    last = {"memory_format": torch.channels_last}
    as_is = {
        "torch_dtype": torch.float32,
        "low_cpu_mem_usage": False,
    }  # the other way needs a further package
    return Parts(
        CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32).eval(),
        UNet2DConditionModel.from_pretrained(folder / "unet", **as_is).eval().to(**last),
        AutoencoderDC.from_pretrained(folder / "vae", **as_is).eval().to(**last),
        DDIMScheduler.from_pretrained(folder / "scheduler"),
    )


def levels(parts: Parts, steps: int) -> tuple[list[int], Tensor]:
    """Times from noisy to clean, and alpha-bar at each of them and, last, at the clean end: (steps + 1,)."""
    parts.scheduler.set_timesteps(steps)
    times = [int(t) for t in parts.scheduler.timesteps]
    return times, torch.cat([parts.scheduler.alphas_cumprod[times], parts.scheduler.final_alpha_cumprod[None]])


def move(x: Tensor, noise: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """One DDIM step of (B, C, h, w) from alpha-bar `a` to alpha-bar `b` (Song et al. 2021, eq. 12, eta 0)."""
    clean = (x - (1 - a).sqrt() * noise) / a.sqrt()
    return b.sqrt() * clean + (1 - b).sqrt() * noise


@torch.no_grad()
def sample_latents(
    parts: Parts, prompts: list[str], noise: Tensor, *, steps: int = 20, guidance: float = 4.0
) -> Tensor:
    """DDIM from (B, C, 16, 16) unit noise to clean latents."""
    times, alphas = levels(parts, steps)
    states, empty = parts.encode_text(prompts), parts.encode_text([""] * len(prompts))
    x = noise
    for i, time in enumerate(times):
        x = move(x, parts.noise(x, torch.tensor(time), states, empty, guidance), alphas[i], alphas[i + 1])
    return x


@torch.no_grad()
def invert(parts: Parts, latents: Tensor, prompts: list[str], *, steps: int = 50) -> Tensor:
    """DDIM inversion without guidance: clean latents to the noise from which sampling gives them back."""
    times, alphas = levels(parts, steps)
    states = parts.encode_text(prompts)
    x = latents
    for i in reversed(range(len(times))):
        x = move(x, parts.noise(x, torch.tensor(times[i]), states, states, 1.0), alphas[i + 1], alphas[i])
    return x
