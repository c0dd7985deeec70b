"""The diffusion model: text encoder and U-Net trained together on cached latents."""

from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import Attention
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

SHARDS = 30  # of 2,048 scenes each
EMPTY = 0.04  # captions dropped on top of the scenes' own 10 % empty ones
MIN_SNR, FLOOR = 5.0, 0.5  # weights of the loss over noise levels
# Times are drawn where nouns matter most: shares of the draws, and up to which time they reach.
DRAWN = (0, 0.15, 0.5, 1), (0, 300, 650, 1000)
NAMING, ATTENDING = 0.15, 0.03  # weights of the two losses that are there for training alone
PAIRS = 0.7  # share of scenes with two different objects: which of them goes where is learned last
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
        steps_offset=1, prediction_type="v_prediction",
    )  # fmt: skip


class Attend:
    """Attention spelt out, which keeps the mean over heads of its probabilities where it looks at text.

    Plain matrix products: flash attention's backward pass on CPUs is the slower one.
    """

    def __init__(self, kept: list[Tensor]) -> None:
        self.kept = kept

    def __call__(
        self, attn: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **_: object
    ) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        source = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        q = attn.head_to_batch_dim(attn.to_q(hidden_states))  # (B * heads, N, d)
        k = attn.head_to_batch_dim(attn.to_k(source))
        v = attn.head_to_batch_dim(attn.to_v(source))
        probabilities = attn.get_attention_scores(q, k)  # (B * heads, N, M)
        if encoder_hidden_states is not None:
            self.kept.append(probabilities.unflatten(0, (-1, attn.heads)).mean(1))
        return attn.to_out[0](attn.batch_to_head_dim(torch.bmm(probabilities, v)))  # type: ignore[no-any-return]


class Watched(nn.Module):
    """The U-Net, and two views into it that training uses: what it names at each place, and where words look."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.unet = unet
        self.maps: list[Tensor] = []
        self.features: list[Tensor] = []
        unet.set_attn_processor(Attend(self.maps))
        unet.up_blocks[0].register_forward_hook(lambda _module, _given, out: self.features.append(out))

    def forward(self, x: Tensor, times: Tensor, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Prediction (B, C, 16, 16), features (B, D, 16, 16), attention at 16 x 16 to the words (B, 256, L)."""
        self.maps.clear()
        self.features.clear()
        out = self.unet(x, times, states).sample
        fine = [m for m in self.maps if m.shape[1] == x.shape[2] * x.shape[3]]
        return out, self.features[0], torch.stack(fine).mean(0)


class Diffuser(nn.Module):
    """The two networks that are trained together, and a head that only training has."""

    def __init__(self, text: CLIPTextModel, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.text = text
        self.unet = unet
        self.name = nn.Conv2d(unet.config.block_out_channels[-1], len(latents.WORLD.objects) + 1, 1)


def fresh(widths: tuple[int, ...] = (128, 192)) -> Diffuser:
    """The pre-trained text encoder with a new U-Net."""
    text = CLIPTextModel.from_pretrained(state.run_dir("text") / "text_encoder", dtype=torch.float32)
    return Diffuser(text, build(widths).to(memory_format=torch.channels_last))


class UnetJob:
    """v-prediction on the cached latents; the text encoder learns at a third of the rate.

    Two more losses say what the picture alone says slowly: the features of the first up block name the object at each
    place (as REPA, Yu et al. 2025, with the truth for a teacher), and a noun's attention lies where its object is
    (FastComposer, Xiao et al. 2023, eq. 5). Neither leaves a trace in the shipped network.
    """

    rate_scales: ClassVar = {"text.": 0.3}

    def __init__(self, settings: Settings, shards: int = SHARDS) -> None:
        torch.manual_seed(settings.seed)
        self.settings = settings
        self.cached = latents.load(shards)
        first, second = self.cached.nouns[:, 0], self.cached.nouns[:, 1]
        pair = (second >= 0) & (second != first)
        self.odds = torch.where(pair, PAIRS / pair.sum(), (1 - PAIRS) / (~pair).sum())
        self.model = fresh()
        watched = Watched(self.model.unet)
        # Beside the module, whose names and evaluation stay as they are.
        self.predict = torch.compile(watched) if settings.compile else watched
        self.alphas = scheduler().alphas_cumprod
        snr = self.alphas / (1 - self.alphas)
        # As an error of the clean latent this is min(SNR, 5) + 0.5: without the floor, composition and prompt,
        # which are settled at high noise, get next to no gradient. An error of v is SNR + 1 times one of the latent.
        self.weight = (snr.clamp(max=MIN_SNR) + FLOOR) / (snr + 1)
        self.tokenizer = tokenizer.load(state.run_dir("text") / "tokenizer")
        self.empty = torch.tensor(tokenizer.encode(self.tokenizer, [""])[0])
        # The token by which a caption names an object: the last one of its noun, which has read all of it.
        self.noun_tokens = torch.tensor([self.tokenizer(n).input_ids[-2] for n in latents.WORLD.objects])

    def inner_matrices(self, name: str, p: Tensor) -> bool:
        """Which weights Muon trains: those of the U-Net between its first and its last convolution."""
        return name.startswith("unet.") and p.ndim > 1 and not name.startswith(("unet.conv_in", "unet.conv_out"))

    def draw(self, step: int) -> tuple[Tensor, ...]:
        """Latents, cells, nouns, token ids, times, noise and text jitter of a step, from its number alone."""
        b, g = self.settings.batch, torch.Generator().manual_seed(self.settings.seed * 1_000_003 + step)
        data = self.cached
        which = torch.multinomial(self.odds, b, replacement=True, generator=g)
        ids = data.tokens[which, torch.randint(data.tokens.shape[1], (b,), generator=g)].long()
        ids = torch.where(torch.rand((b, 1), generator=g) < EMPTY, self.empty, ids)
        # One time in each of b equal stretches: the loss of a step varies less than with free draws.
        spread = (torch.randperm(b, generator=g) + torch.rand(b, generator=g)) / b
        times = torch.from_numpy(np.interp(spread.numpy(), *DRAWN)).long()
        noise = torch.randn((b, *data.latents.shape[1:]), generator=g)
        jitter = 0.03 * (torch.rand((b, 1, 1), generator=g) < 0.2) * torch.randn((b, ids.shape[1], WIDTH), generator=g)
        z, cells, nouns = data.latents[which].float(), data.cells[which].float() / 255, data.nouns[which].long()
        return z, cells, nouns, ids, times, noise, jitter

    def focus(self, places: Tensor, step: int) -> Tensor:
        """Weight of each place (B, 16, 16), mean 1: `settings.focus` to one for objects against background.

        The noise of the gradient comes from all places, what is to be learned of shapes from a few. Such a weight
        biases the estimate towards places where objects may be, so it goes to 1 with the rate of the cool-down.
        """
        s = self.settings
        cool = min(1.0, (s.steps - step) / s.decay) if s.decay else 1.0
        weight = 1 + (s.focus - 1) * cool * places
        return weight / weight.mean((1, 2), keepdim=True)

    def naming(self, features: Tensor, cells: Tensor, nouns: Tensor) -> Tensor:
        """Cross-entropy (B, 16, 16) of the object that covers most of a cell, or of there being none."""
        most, which = cells.max(1)
        truth = torch.where(most > 0.4, nouns.gather(1, which.flatten(1)).view_as(which), len(self.noun_tokens))
        return F.cross_entropy(self.model.name(features).float(), truth, reduction="none")

    def attending(self, maps: Tensor, cells: Tensor, nouns: Tensor, ids: Tensor) -> Tensor:
        """Divergence of where a noun's attention lies from where its object is, over the nouns that are said: a scalar.

        Both are distributions over places. How much attention a noun gets is left alone: a loss on that draws it away
        from the other words. A loss on the share within the object leaves one bright cell of it.
        """
        said = (ids[:, None] == self.noun_tokens[nouns][..., None]) & (nouns >= 0)[..., None]  # (B, 3, L)
        looks = torch.einsum("bnl,bol->bon", maps.float(), said.float())  # (B, 3, 256)
        inside = cells.flatten(2)
        p = (looks / looks.sum(2, keepdim=True).clamp(min=1e-6)).clamp(min=1e-6)
        q = inside / inside.sum(2, keepdim=True).clamp(min=1)
        apart = (torch.xlogy(q, q) - q * p.log()).sum(2)  # (B, 3), Kullback and Leibler's
        found = (said.any(2) & (inside.sum(2) > 1)).float()
        return (apart * found).sum() / found.sum().clamp(min=1)

    def loss(self, step: int, ranks: Ranks) -> tuple[Tensor, dict[str, float]]:
        """Weighted squared error of v, with the two losses of training."""
        z, cells, nouns, ids, times, noise, jitter = (p[ranks.share(self.settings.batch)] for p in self.draw(step))
        a = self.alphas[times][:, None, None, None]
        x = (a.sqrt() * z + (1 - a).sqrt() * noise).contiguous(memory_format=torch.channels_last)
        v = a.sqrt() * noise - (1 - a).sqrt() * z
        with torch.autocast("cpu", torch.bfloat16):
            states = self.model.text(ids).last_hidden_state + jitter
            predicted, features, maps = self.predict(x, times, states)
            named = self.naming(features, cells, nouns)
        looked = self.attending(maps, cells, nouns, ids)
        squared = (predicted.float() - v).square().mean(1)  # (B, 16, 16)
        places = F.max_pool2d(cells.amax(1), 3, 1, 1)  # (B, 16, 16), one cell more on each side
        error, within = squared.mean((1, 2)), (squared * places).sum((1, 2)) / places.sum((1, 2)).clamp(min=1e-6)
        figures = {
            "mse": float(error.detach().mean()),
            "name": float(named.detach().mean()),
            "look": float(looked.detach()),
        }
        for low, high in ((0, 200), (400, 600), (800, 1000)):
            inside = (times >= low) & (times < high)
            if bool(inside.any()):
                figures[f"mse_{low}"] = float(error.detach()[inside].mean())
                figures[f"object_{low}"] = float(within.detach()[inside].mean())
        focused = (squared * self.focus(places, step)).mean((1, 2))
        extra = NAMING * named.mean() + ATTENDING * looked
        return (focused * self.weight[times]).mean() + extra, figures

    def parts(self) -> Parts:
        """The networks as the sampler wants them."""
        return Parts(self.tokenizer, self.model.text, self.model.unet, latents.frozen_autoencoder(), scheduler())

    def measure(self, step: int) -> dict[str, float]:
        """What the judge reads in pictures of 48 held-out prompts, 16 DDIM steps, guidance 4."""
        from models.bozzetto.evaluate import held_out_specs, judged

        self.model.unet.eval()
        return judged(self.parts(), held_out_specs(48), steps=16, guidance=4.0, seed=FIRST_HELD_OUT_SEED)

    def sheet(self, step: int) -> np.ndarray:
        """The same twenty prompts from the same noise, every time."""
        noise = torch.randn((len(TRIED), CHANNELS, 16, 16), generator=torch.Generator().manual_seed(1))
        parts = self.parts()
        images = to_images(parts.decode(sample_latents(parts, list(TRIED), noise, steps=16, guidance=4.0)))
        return np.vstack([np.hstack(list(images[i : i + 10])) for i in (0, 10)])
