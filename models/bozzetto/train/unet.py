"""The diffusion model: text encoder and U-Net trained together to predict noise in cached latents."""

from typing import ClassVar

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from transformers import CLIPTextModel

from models.bozzetto.pictures import to_images
from models.bozzetto.sampling import Parts, sample_latents
from models.bozzetto.scenes.holdout import FIRST_HELD_OUT_SEED
from models.bozzetto.train import latents, state, tokenizer
from models.bozzetto.train.autoencoder import CHANNELS
from models.bozzetto.train.loop import Settings
from models.bozzetto.train.ranks import Ranks
from models.bozzetto.train.text import WIDTH

SHARDS = 20  # of 2,048 scenes each
EMPTY = 0.04  # captions dropped on top of the scenes' own 10 % empty ones
MIN_SNR, FLOOR, MOST = 5.0, 0.5, 60.0  # weights of the loss over noise levels
TRIED = (
    "a cat in a field", "a red apple on a beach", "a blue car in a city", "a penguin in the snow",
    "a house in a forest", "a banana on a blue background", "a large yellow teapot in a room", "a rocket in the sky",
    "a purple butterfly in a field", "a dog at night", "a flat illustration of a fish in the water",
    "an ink drawing of a castle in the desert", "pixel art of a mushroom in a forest",
    "a watercolor of a tulip in a field",
    "a green umbrella on a beach", "a cake on a pink background", "a bus at sunset", "a cactus in a desert",
    "a rabbit to the left of a balloon in the snow", "a tree to the right of a red chair on white",
)  # fmt: skip


def build(widths: tuple[int, ...]) -> UNet2DConditionModel:
    """Two levels, 16 x 16 and 8 x 8, self- and cross-attention at both and in the middle."""
    n = len(widths)
    return UNet2DConditionModel(
        sample_size=16, in_channels=CHANNELS, out_channels=CHANNELS, block_out_channels=widths, layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * n, up_block_types=("CrossAttnUpBlock2D",) * n,
        cross_attention_dim=WIDTH, attention_head_dim=4, norm_num_groups=16,
    )  # fmt: skip


def scheduler() -> DDIMScheduler:
    """SD's scaled-linear schedule with a later end: see the card for what its terminal alpha-bar does."""
    return DDIMScheduler(
        beta_start=0.00085, beta_end=0.018, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
        steps_offset=1, prediction_type="epsilon",
    )  # fmt: skip


class Diffuser(nn.Module):
    """The two networks that are trained together."""

    def __init__(self, text: CLIPTextModel, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.text = text
        self.unet = unet


def fresh(widths: tuple[int, ...] = (128, 192)) -> Diffuser:
    """The pre-trained text encoder with a new U-Net."""
    text = CLIPTextModel.from_pretrained(state.run_dir("text") / "text_encoder")
    return Diffuser(text, build(widths).to(memory_format=torch.channels_last))


class UnetJob:
    """Noise prediction on the cached latents; the text encoder learns at a third of the rate."""

    rate_scales: ClassVar = {"text.": 0.3}

    def __init__(self, settings: Settings, shards: int = SHARDS) -> None:
        torch.manual_seed(settings.seed)
        self.settings = settings
        self.latents, self.tokens, self.places = latents.load(shards)
        self.model = fresh()
        self.model.unet.set_attn_processor(AttnProcessor())  # CPU flash attention's backward pass is the slower one
        # Beside the module, whose names and evaluation stay as they are.
        self.predict = torch.compile(self.model.unet) if settings.compile else self.model.unet
        self.alphas = scheduler().alphas_cumprod
        snr = self.alphas / (1 - self.alphas)
        # As an error of the clean latent this is min(SNR, 5) + 0.5: without the floor, composition and prompt,
        # which are settled at high noise where eps differs little, get next to no gradient.
        self.weight = ((snr.clamp(max=MIN_SNR) + FLOOR) / snr).clamp(max=MOST) / 3
        self.tokenizer = tokenizer.load(state.run_dir("text") / "tokenizer")
        self.empty = torch.tensor(tokenizer.encode(self.tokenizer, [""])[0])

    def draw(self, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Latents, places of objects, token ids, times, noise and text jitter of a step, from its number alone."""
        b, g = self.settings.batch, torch.Generator().manual_seed(self.settings.seed * 1_000_003 + step)
        which = torch.randint(len(self.latents), (b,), generator=g)
        ids = self.tokens[which, torch.randint(self.tokens.shape[1], (b,), generator=g)].long()
        ids = torch.where(torch.rand((b, 1), generator=g) < EMPTY, self.empty, ids)
        # One time in each of b equal stretches: the loss of a step varies less than with free draws.
        times = ((torch.randperm(b, generator=g) + torch.rand(b, generator=g)) / b * len(self.alphas)).long()
        noise = torch.randn((b, *self.latents.shape[1:]), generator=g)
        jitter = 0.03 * (torch.rand((b, 1, 1), generator=g) < 0.2) * torch.randn((b, ids.shape[1], WIDTH), generator=g)
        return self.latents[which].float(), self.places[which].float() / 255, ids, times, noise, jitter

    def focus(self, places: Tensor, step: int) -> Tensor:
        """Weight of each place (B, 16, 16), mean 1: `settings.focus` to one for objects against background.

        The noise of the gradient comes from all places, what is to be learned of shapes from a few. Such a weight
        biases the estimate towards places where objects may be, so it goes to 1 with the rate of the cool-down.
        """
        s = self.settings
        cool = min(1.0, (s.steps - step) / s.decay) if s.decay else 1.0
        weight = 1 + (s.focus - 1) * cool * places
        return weight / weight.mean((1, 2), keepdim=True)

    def loss(self, step: int, ranks: Ranks) -> tuple[Tensor, dict[str, float]]:
        """Weighted squared error of the predicted noise."""
        z, places, ids, times, noise, jitter = (part[ranks.share(self.settings.batch)] for part in self.draw(step))
        a = self.alphas[times][:, None, None, None]
        x = (a.sqrt() * z + (1 - a).sqrt() * noise).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            states = self.model.text(ids).last_hidden_state + jitter
            predicted = self.predict(x, times, states).sample
        squared = (predicted.float() - noise).square().mean(1)  # (B, 16, 16)
        error, within = squared.mean((1, 2)), (squared * places).sum((1, 2)) / places.sum((1, 2)).clamp(min=1e-6)
        figures = {"mse": float(error.detach().mean())}
        for low, high in ((0, 200), (400, 600), (800, 1000)):
            inside = (times >= low) & (times < high)
            if bool(inside.any()):
                figures[f"mse_{low}"] = float(error.detach()[inside].mean())
                figures[f"object_{low}"] = float(within.detach()[inside].mean())
        focused = (squared * self.focus(places, step)).mean((1, 2))
        return (focused * self.weight[times]).mean(), figures

    def parts(self) -> Parts:
        """The networks as the sampler wants them."""
        return Parts(self.tokenizer, self.model.text, self.model.unet, latents.frozen_autoencoder(), scheduler())

    def measure(self, step: int) -> dict[str, float]:
        """What the judge reads in pictures of 48 held-out prompts, 16 DDIM steps, guidance 3."""
        from models.bozzetto.evaluate import held_out_specs, judged

        self.model.unet.eval()
        return judged(self.parts(), held_out_specs(48), steps=16, guidance=3.0, seed=FIRST_HELD_OUT_SEED)

    def sheet(self, step: int) -> np.ndarray:
        """The same twenty prompts from the same noise, every time."""
        noise = torch.randn((len(TRIED), CHANNELS, 16, 16), generator=torch.Generator().manual_seed(1))
        parts = self.parts()
        images = to_images(parts.decode(sample_latents(parts, list(TRIED), noise, steps=16, guidance=3.0)))
        return np.vstack([np.hstack(list(images[i : i + 10])) for i in (0, 10)])
