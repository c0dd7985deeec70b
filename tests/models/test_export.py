"""What is written loads as diffusers components, and sampling and inversion undo each other."""

import pytest
import torch
from diffusers import UNet2DConditionModel

from models.bozzetto import sampling
from models.bozzetto.evaluate import generate, held_out_specs, prompts_of
from models.bozzetto.scenes import held_out
from models.bozzetto.scenes.holdout import FIRST_HELD_OUT_SEED
from models.bozzetto.train import autoencoder, export, text, tokenizer, unet


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    tokens = tokenizer.build(folder / "files")
    net = UNet2DConditionModel(
        sample_size=16, in_channels=16, out_channels=16, block_out_channels=(32,), layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",), up_block_types=("CrossAttnUpBlock2D",),
        cross_attention_dim=text.WIDTH, attention_head_dim=4, norm_num_groups=16,
    )  # fmt: skip
    export.write(
        folder, text=text.build(len(tokens), tokens.eos_token_id), unet=net, vae=autoencoder.build(),
        tokenizer=folder / "files",
    )  # fmt: skip
    return sampling.load(folder)


def test_pictures_follow_from_their_seed_alone(parts):
    both = generate(parts, ["a cat", "a dog"], steps=2, guidance=2.0, seed=5)
    second = generate(parts, ["a dog"], steps=2, guidance=2.0, seed=6)
    assert both.shape == (2, 128, 128, 3)
    assert (abs(both[1].astype(int) - second[0]) <= 2).all(), "rounding apart"


class Gaussian:
    """A perfect denoiser of unit Gaussian data: its noise is sqrt(1 - alpha-bar) x."""

    scheduler = unet.scheduler()

    def encode_text(self, prompts):
        return torch.zeros(len(prompts), 1, 1)

    def noise(self, x, time, states, empty, guidance):
        return (1 - self.scheduler.alphas_cumprod[time]).sqrt() * x


def test_inversion_comes_back():
    z = torch.randn(2, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    noise = sampling.invert(Gaussian(), z, ["a cat"] * 2, steps=50)
    back = sampling.sample_latents(Gaussian(), ["a cat"] * 2, noise, steps=50, guidance=1.0)
    assert 0.9 < noise.std() < 1.1
    assert (back - z).square().mean() < 0.01


def test_the_schedule_ends_in_noise():
    last = float(unet.scheduler().alphas_cumprod[-1])
    assert 1e-4 < last < 1e-3


def test_evaluation_prompts_are_held_out():
    specs = held_out_specs(30)
    assert all(s.seed >= FIRST_HELD_OUT_SEED for s in specs)
    assert sum(held_out(s) for s in specs) >= 8
    assert all(prompts_of(specs))
