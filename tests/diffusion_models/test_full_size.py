"""Stable Diffusion 1.5 in its full size, of random weights, equals diffusers' pipeline in float32.

It writes 2.1 GB and takes minutes, so it runs only where SFUMATO_FULL_SIZE is set.
"""

import os

import pytest
import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from engine.diffusion import schedules
from engine.diffusion.bench import random_sd
from engine.diffusion.families.clip_text import CLIP_TOKENIZER, load_tokenizer
from engine.diffusion.levels import by_strength
from engine.diffusion.noise import NoiseSource
from engine.diffusion.sample import sample
from engine.types import Cond, Guider, Latent, Noise, Sampler
from tests.diffusion_models.test_pipelines import MODEL, Ours

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("SFUMATO_FULL_SIZE" not in os.environ, reason="SFUMATO_FULL_SIZE is not set"),
    pytest.mark.filterwarnings("ignore"),
]
CELLS, STEPS, SEED, SCALE, WEIGHTS = 16, 20, 5, 4.0, 1234
PROMPT, NEGATIVE = "a photo of a zebra on the grass", "blurry"
TOLERANCE = 1e-4


def plain():
    """The same weights in diffusers' and transformers' own classes, in float32."""
    with torch.device("meta"):
        unet, vae = UNet2DConditionModel.from_config(random_sd.UNET), AutoencoderKL.from_config(random_sd.VAE)
        text = CLIPTextModel(CLIPTextConfig(**random_sd.TEXT))
    random = torch.Generator().manual_seed(WEIGHTS)
    for network in (unet, vae, text):
        weights = {k: v.float() for k, v in random_sd.filled(network, random).items()}
        network.load_state_dict(weights, assign=True, strict=False)
        network.eval().requires_grad_(False)
    text.embeddings.register_buffer("position_ids", torch.arange(77)[None], persistent=False)
    return unet, vae, text


def distance(ours, theirs):
    assert float(theirs.std()) > 0
    return float((ours - theirs).norm() / theirs.norm())


@torch.no_grad()
def test_every_network_and_a_picture(tmp_path, record_property):
    torch.set_num_threads(os.cpu_count() or 1)
    ours = Ours.of(random_sd.write_file(tmp_path / "full.safetensors", seed=WEIGHTS))
    unet, vae, text = plain()
    tokenizer = load_tokenizer(CLIP_TOKENIZER)
    ids = tokenizer(PROMPT, padding="max_length", max_length=77, return_tensors="pt").input_ids
    cond = ours.clip.condition(PROMPT)
    far = {"text": distance(cond.tokens, text(ids).last_hidden_state)}
    x, t = torch.randn(1, 4, CELLS, CELLS, generator=torch.Generator().manual_seed(1)), torch.tensor([500.0])
    far["U-Net"] = distance(ours.model(x, t, Cond(cond.tokens)), unet(x, t, cond.tokens).sample)
    pixels = (vae.decode(x / 0.18215).sample / 2 + 0.5).clamp(0, 1).movedim(1, -1)
    far["autoencoder"] = distance(ours.vae.decode(x), pixels)
    far["encoder"] = distance(
        ours.vae.encode(pixels), vae.encode(pixels.movedim(-1, 1) * 2 - 1).latent_dist.mean * 0.18215
    )
    scheduler = EulerDiscreteScheduler.from_config(random_sd.SCHEDULER)
    pipe = StableDiffusionPipeline(
        vae=vae, text_encoder=text, tokenizer=tokenizer, unet=unet, scheduler=scheduler, safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    start = torch.zeros(1, 4, CELLS, CELLS)
    noise = NoiseSource.of(SEED, 1).initial(start)
    theirs = pipe(
        PROMPT, negative_prompt=NEGATIVE, latents=noise, height=8 * CELLS, width=8 * CELLS, guidance_scale=SCALE,
        num_inference_steps=STEPS, output_type="pt",
    ).images[0].movedim(0, -1)  # fmt: skip
    conds = {role: ours.cond(prompt) for role, prompt in (("positive", PROMPT), ("negative", NEGATIVE))}
    sigmas = by_strength(schedules.get("simple"), ours.model.levels, STEPS, 1.0)
    guider = Guider("cfg", MODEL, conds, {"scale": SCALE})
    done = sample(ours.model, guider, Sampler("euler"), sigmas, Latent(start, 8), noise=Noise(SEED))
    far["picture"] = distance(ours.vae.decode(done.latent.samples)[0], theirs)
    for name, value in far.items():
        record_property(name, f"{value:.1e}")  # with --junitxml, the figures themselves
    assert max(far.values()) < TOLERANCE, far
