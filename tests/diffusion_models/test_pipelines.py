"""A 20-step picture of every family equals that of diffusers' own pipeline on the same weights, to 1e-4 relative.

Ours is built from a single LDM file, theirs from the networks themselves, so that reading is compared as well. Both get
the same noise; the autoencoder's posterior is taken at its mode on both sides.
"""

import importlib
from dataclasses import dataclass, replace

import diffusers
import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from PIL import Image as Pil
from safetensors.torch import save_file

from engine.diffusion import families, patches, schedules
from engine.diffusion.embeddings import vectors_of
from engine.diffusion.families.base import open_source
from engine.diffusion.families.clip_text import CLIP_TOKENIZER, load_tokenizer
from engine.diffusion.families.load import Place
from engine.diffusion.levels import by_strength
from engine.diffusion.noise import NoiseSource
from engine.diffusion.sample import sample
from engine.types import Conditioning, Guider, Latent, Model, Noise, Sampler, Weights
from tests.diffusion_models import zoo

pytestmark = pytest.mark.filterwarnings("ignore")  # pipelines warn of much that is not ours
SIDE, STEPS, SEED, SCALE = 32, 20, 5, 4.0
PROMPT, NEGATIVE = "a photo of a zebra on the grass", "blurry, dark"
MODEL = Model("any", Weights("checkpoints", "x", "0"))
TOLERANCE = 1e-4


@dataclass
class Ours:
    """Our networks of one file."""

    model: object
    clip: object
    vae: object

    @classmethod
    def of(cls, path):
        source = open_source(path)
        family, _ = families.recognise(source)
        return cls(*(family.build(source, part, Place()) for part in ("model", "clip", "vae")))

    def cond(self, prompt, extra=None, skip=None):
        return Conditioning((replace(self.clip.condition(prompt, skip=skip), extra=extra or {}),))

    def picture(self, conds, *, latents=None, strength=1.0, mask=None, kind="cfg", **options):
        """Return the picture (H, W, 3) of 20 Euler steps, from noise or from latents."""
        side = SIDE // self.vae.factor
        start = torch.zeros(1, 4, side, side) if latents is None else latents
        sigmas = by_strength(schedules.get("simple"), self.model.levels, STEPS, strength, keep="tail")
        guider = Guider(kind, MODEL, conds, {"scale": SCALE, **options})
        latent = Latent(start, self.vae.factor, mask=mask)
        done = sample(self.model, guider, Sampler("euler"), sigmas, latent, noise=Noise(SEED))
        return self.vae.decode(done.latent.samples)[0]


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """Return ours(kind), each written and read once."""
    root, made = tmp_path_factory.mktemp("pipelines"), {}

    def of(kind):
        if kind not in made:
            state = zoo.ldm_state(kind)
            if kind == "sd2 eps":
                path = zoo.write_folder(root / kind, kind)  # no single file says so, and random weights cannot
            else:
                path = root / f"{kind}.safetensors"
                save_file(state, path)
            made[kind] = Ours.of(path)
        return made[kind]

    return of


@pytest.fixture(autouse=True)
def _same_noise(monkeypatch):
    """Give every pipeline our noise, and the mode of every posterior."""
    monkeypatch.setattr(DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mode())
    noise = lambda shape, **kwargs: NoiseSource.of(SEED, shape[0]).initial(torch.zeros(shape))  # noqa: E731
    for module in (
        "stable_diffusion.pipeline_stable_diffusion", "stable_diffusion.pipeline_stable_diffusion_img2img",
        "stable_diffusion.pipeline_stable_diffusion_inpaint",
        "stable_diffusion.pipeline_stable_diffusion_instruct_pix2pix",
        "stable_diffusion_xl.pipeline_stable_diffusion_xl", "stable_diffusion_xl.pipeline_stable_diffusion_xl_img2img",
        "stable_diffusion_xl.pipeline_stable_diffusion_xl_inpaint",
    ):  # fmt: skip
        monkeypatch.setattr(importlib.import_module(f"diffusers.pipelines.{module}"), "randn_tensor", noise)


def pipeline(name, kind, networks=None, **more):
    """Make one of diffusers' pipelines around the plain networks, with Euler steps on trailing timesteps."""
    found = networks or zoo.networks(kind)
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="trailing",
        prediction_type=zoo.KINDS[kind].scheduler.get("prediction_type", "epsilon"),
    )  # fmt: skip
    texts = {k: found.get(k) for k in ("text_encoder", "text_encoder_2") if "XL" in name or k in found}
    open_clip = {k for k, (_, layout, _) in zoo.KINDS[kind].texts.items() if layout == "open_clip"}
    tokenizers = {
        k.replace("text_encoder", "tokenizer"): v and load_tokenizer(CLIP_TOKENIZER, 0 if k in open_clip else None)
        for k, v in texts.items()
    }
    if "XL" in name:
        more = {"add_watermarker": False, "force_zeros_for_empty_prompt": False, **more}
    else:
        more = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False, **more}
    made = getattr(diffusers, name)(
        vae=found["vae"], unet=found["unet"], scheduler=scheduler, **texts, **tokenizers, **more
    )
    made.set_progress_bar_config(disable=True)
    return made


def run(pipe, prompt=PROMPT, **more):
    """Return the pipeline's picture (H, W, 3)."""
    given = {"prompt": prompt, "negative_prompt": NEGATIVE, **more}
    if "prompt_embeds" in given:
        del given["prompt"], given["negative_prompt"]
    return pipe(num_inference_steps=STEPS, guidance_scale=SCALE, output_type="pt", **given).images[0].movedim(0, -1)


def distance(picture, expected):
    """Return the relative difference; both must show something."""
    assert float(expected.std()) > 0.01
    return float((picture - expected).norm() / expected.norm())


def photo():
    generator = np.random.default_rng(3)
    small = generator.integers(0, 255, (4, 4, 3), dtype=np.uint8)
    return Pil.fromarray(small).resize((SIDE, SIDE), Pil.Resampling.BILINEAR)


def pixels(picture):
    return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255)[None]


@pytest.mark.parametrize("kind", ["sd1", "sd2 eps", "sd2 v", "sdxl"])
def test_text_to_image(ours, kind):
    we = ours(kind)
    name = "StableDiffusionXLPipeline" if kind == "sdxl" else "StableDiffusionPipeline"
    expected = run(pipeline(name, kind), height=SIDE, width=SIDE)
    picture = we.picture({"positive": we.cond(PROMPT), "negative": we.cond(NEGATIVE)})
    assert distance(picture, expected) < TOLERANCE


def sizes(side, score=6.0):
    return {"sizes": torch.tensor([[side, side, 0, 0, side, side, score]], dtype=torch.float32)}


@pytest.mark.parametrize("kind", ["sd1", "sd2 v", "sdxl", "sdxl refiner"])
@pytest.mark.parametrize("strength", [0.5, 0.8])
def test_image_to_image(ours, kind, strength):
    we, picture = ours(kind), photo()
    name = "StableDiffusionXLImg2ImgPipeline" if "sdxl" in kind else "StableDiffusionImg2ImgPipeline"
    more = {"requires_aesthetics_score": kind == "sdxl refiner"} if "sdxl" in kind else {}
    expected = run(pipeline(name, kind, **more), image=picture, strength=strength)
    extras = [sizes(SIDE, 6.0), sizes(SIDE, 2.5)] if kind == "sdxl refiner" else [None, None]
    conds = {"positive": we.cond(PROMPT, extras[0]), "negative": we.cond(NEGATIVE, extras[1])}
    latents = we.vae.encode(pixels(picture))
    assert distance(we.picture(conds, latents=latents, strength=strength), expected) < TOLERANCE


def hole(size):
    mask = torch.zeros(1, size, size)
    mask[:, size // 4 : size // 2, size // 4 :] = 1
    return mask


def inpainted(kind, **more):
    name = "StableDiffusionXLInpaintPipeline" if "sdxl" in kind else "StableDiffusionInpaintPipeline"
    mask = Pil.fromarray((hole(SIDE)[0].numpy() * 255).astype(np.uint8))
    return run(pipeline(name, kind), image=photo(), mask_image=mask, height=SIDE, width=SIDE, **more)


@pytest.mark.parametrize("kind", ["sd1 inpaint", "sdxl inpaint"])
def test_inpainting_by_a_model_made_for_it(ours, kind):
    we = ours(kind)
    expected = inpainted(kind, strength=1.0)
    masked = pixels(photo()) * (1 - hole(SIDE)[..., None]) + 0.5 * hole(SIDE)[..., None]
    cells = hole(SIDE // we.vae.factor)[:, None]
    extra = {"concat": torch.cat([cells, we.vae.encode(masked)], 1)}
    conds = {"positive": we.cond(PROMPT, extra), "negative": we.cond(NEGATIVE, extra)}
    assert distance(we.picture(conds), expected) < TOLERANCE


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_inpainting_by_any_model(ours, kind):
    """The background is put back after each step at the level that the step ended at."""
    we = ours(kind)
    expected = inpainted(kind, strength=0.6)
    conds = {"positive": we.cond(PROMPT), "negative": we.cond(NEGATIVE)}
    mask = hole(SIDE // we.vae.factor)
    picture = we.picture(conds, latents=we.vae.encode(pixels(photo())), strength=0.6, mask=mask)
    assert distance(picture, expected) < TOLERANCE


def test_editing_by_instruction(ours):
    we, picture = ours("sd1 instruct"), photo()
    expected = run(
        pipeline("StableDiffusionInstructPix2PixPipeline", "sd1 instruct"), image=picture, image_guidance_scale=1.5
    )
    raw = we.vae.encode(pixels(picture)) / 0.18215
    with_picture, without = {"concat": raw}, {"concat": torch.zeros_like(raw)}
    conds = {
        "positive": we.cond(PROMPT, with_picture), "middle": we.cond(NEGATIVE, with_picture),
        "negative": we.cond(NEGATIVE, without),
    }  # fmt: skip
    assert distance(we.picture(conds, kind="dual_cfg", middle_scale=1.5), expected) < TOLERANCE


# What is laid over a model -------------------------------------------------------------------------------------------


def lora_file(networks):
    """A kohya LoRA of attention in U-Net and text encoder, with alpha half its rank."""
    generator, file = torch.Generator().manual_seed(8), {}
    for prefix, network in (("lora_unet_", networks["unet"]), ("lora_te_text_model_", networks["text_encoder"])):
        for name, weight in network.named_parameters():
            if name.endswith(("to_q.weight", "to_v.weight", "to_out.0.weight", "q_proj.weight")):
                stem = prefix + name.removesuffix(".weight").replace(".", "_")
                file[f"{stem}.lora_down.weight"] = torch.randn(4, weight.shape[1], generator=generator) / 8
                file[f"{stem}.lora_up.weight"] = torch.randn(weight.shape[0], 4, generator=generator) / 8
                file[f"{stem}.alpha"] = torch.tensor(2.0)
    return file


@pytest.mark.parametrize("strength", [0.0, 0.35, 1.0, -0.5])
def test_lora_is_its_merge(ours, strength):
    """Theirs: W + strength (alpha / r) B A merged into the weights by hand."""
    we, plain = ours("sd1"), zoo.networks("sd1")
    file = lora_file(plain)
    zoo.networks.cache_clear()
    merged = zoo.networks("sd1")
    zoo.networks.cache_clear()
    for prefix, part in (("lora_unet_", "unet"), ("lora_te_text_model_", "text_encoder")):
        for name, weight in merged[part].named_parameters():
            stem = prefix + name.removesuffix(".weight").replace(".", "_")
            if f"{stem}.alpha" in file:
                weight += strength * 0.5 * file[f"{stem}.lora_up.weight"] @ file[f"{stem}.lora_down.weight"]
    expected = run(pipeline("StableDiffusionPipeline", "sd1", merged), height=SIDE, width=SIDE)

    def patched(network, component):
        changes = patches.read_lora(file, network.module, component)
        baked = patches.bake(network.module, [(strength, changes)])
        return replace(network, patched=lambda: patches.swapped(network.module, baked))

    laid = Ours(patched(we.model, "unet"), patched(we.clip, "text"), we.vae)
    picture = laid.picture({"positive": laid.cond(PROMPT), "negative": laid.cond(NEGATIVE)})
    assert distance(picture, expected) < TOLERANCE
    if strength:
        bare = we.picture({"positive": we.cond(PROMPT), "negative": we.cond(NEGATIVE)})
        assert distance(picture, bare) > 100 * TOLERANCE


@pytest.mark.parametrize("count", [1, 3])
def test_a_learnt_word(ours, count):
    we = ours("sd1")
    vectors = torch.randn(count, 64, generator=torch.Generator().manual_seed(1)) * 0.05
    zoo.networks.cache_clear()
    pipe = pipeline("StableDiffusionPipeline", "sd1", zoo.networks("sd1"))
    zoo.networks.cache_clear()
    pipe.load_textual_inversion({"<rex>": vectors}, token="<rex>")
    expected = run(pipe, "a photo of <rex> on the grass", height=SIDE, width=SIDE)
    clip = replace(we.clip, vectors=lambda name: vectors_of({"<rex>": vectors}, name))
    knows = replace(we, clip=clip)
    conds = {"positive": knows.cond("a photo of embedding:rex on the grass"), "negative": knows.cond(NEGATIVE)}
    assert distance(knows.picture(conds), expected) < TOLERANCE


def by_hand(kind, prompt, *, skip=1, chunk=75):
    """Encode a prompt with the plain text encoder: chunks of 75 tokens, an earlier layer with the final norm.

    The pipeline's own clip skip fails with this version of transformers, and it cuts long prompts off.
    """
    text, tokenizer = zoo.networks(kind)["text_encoder"], load_tokenizer(CLIP_TOKENIZER)
    ids = tokenizer(prompt, add_special_tokens=False, verbose=False).input_ids
    states = []
    for start in range(0, max(1, len(ids)), chunk):
        row = [49406, *ids[start : start + chunk]]
        row += [49407] * (77 - len(row))
        hidden = text(torch.tensor([row]), output_hidden_states=True).hidden_states[-skip]
        states.append(text.final_layer_norm(hidden))
    return torch.cat(states, 1)


@pytest.mark.parametrize(
    ("prompt", "negative", "skip"),
    [
        (PROMPT, NEGATIVE, 2),
        (f"{PROMPT}, " * 12, f"{NEGATIVE}, " * 20, 1),
        (f"{PROMPT}, " * 12, f"{NEGATIVE}, " * 20, 2),
    ],
)
def test_clip_skip_and_long_prompts(ours, prompt, negative, skip):
    we = ours("sd1")
    told = {
        "prompt_embeds": by_hand("sd1", prompt, skip=skip),
        "negative_prompt_embeds": by_hand("sd1", negative, skip=skip),
    }
    assert told["prompt_embeds"].shape == told["negative_prompt_embeds"].shape
    expected = run(pipeline("StableDiffusionPipeline", "sd1"), height=SIDE, width=SIDE, **told)
    picture = we.picture({"positive": we.cond(prompt, skip=skip), "negative": we.cond(negative, skip=skip)})
    assert distance(picture, expected) < TOLERANCE
