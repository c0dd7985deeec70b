"""The same weights through diffusers' pipelines: equal, or different for a reason that is measured here.

Where a pipeline does something else on purpose or by mistake, it is done here too, and then the numbers agree.
"""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from diffusers import (
    DDIMInverseScheduler,
    DDIMScheduler,
    StableDiffusionDiffEditPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionInpaintPipelineLegacy,
    StableDiffusionModelEditingPipeline,
    StableDiffusionPanoramaPipeline,
)
from transformers import CLIPTokenizer

from engine.context import Context
from engine.diffusion import blend as blends
from engine.diffusion.device import ModelManager
from engine.diffusion.trajectory import at_sigma
from engine.types import Blend, Cond, Conditioning, Latent, Mask, Noise, Sampler
from nodes.basics.latent import set_latent_mask
from nodes.basics.sampling_custom import basic_guider, cfg_guider, sample_custom
from nodes.editing.blended import keep_outside, sample_edit
from nodes.editing.ddim_inversion import ddim_invert, keep_trajectory, replay
from nodes.editing.diffedit import heatmap_to_mask, noise_contrast
from nodes.editing.multidiffusion import fuse_windows
from nodes.editing.sdedit import sdedit, sigmas_by_strength
from nodes.editing.time_editing import time_edit_model
from tests.diffusion_models import tiny

pytestmark = pytest.mark.filterwarnings("ignore")  # pipelines warn of their age
POS, NEG = torch.randn(2, 1, 77, 64, generator=torch.Generator().manual_seed(0))
ONE, OTHER = Conditioning((Cond(POS),)), Conditioning((Cond(NEG),))
BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "clip_sample": False}
STEPS, SCALE, SEED = 10, 3.0, 5
EMBEDS = {"prompt_embeds": POS, "negative_prompt_embeds": NEG, "guidance_scale": SCALE, "output_type": "latent"}


class Both:
    """One set of random weights: described for the engine, and as parts of pipelines."""

    def __init__(self, folder):
        tiny.write_folder(folder / "diffusers" / "tiny")
        manager = ModelManager(folder, folder / "data")
        parts = manager.load(manager.find("diffusers", "tiny"))
        self.ctx, self.model, self.clip = Context(node="n", models=manager), parts["model"], parts["clip"]
        unet, vae, text = tiny.networks()
        self.parts = {
            "unet": unet, "vae": vae, "text_encoder": text,
            "tokenizer": CLIPTokenizer.from_pretrained(folder / "diffusers" / "tiny" / "tokenizer"),
            "scheduler": DDIMScheduler(**BETAS, timestep_spacing="trailing", set_alpha_to_one=True),
            "safety_checker": None, "feature_extractor": None, "requires_safety_checker": False,
        }  # fmt: skip

    def pipeline(self, kind, **more):
        made = kind(**{**self.parts, "scheduler": copy.deepcopy(self.parts["scheduler"])}, **more)
        made.set_progress_bar_config(disable=True)
        return made

    def guider(self, scale=SCALE):
        return cfg_guider(self.model, ONE, OTHER, scale)

    def sigmas(self, strength=1.0, steps=STEPS):
        return sigmas_by_strength(self.ctx, self.model, "simple", steps, strength, "steps", count="tail")


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    torch.set_num_threads(1)
    return Both(tmp_path_factory.mktemp("parity"))


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


def seeded():
    return torch.Generator().manual_seed(SEED)


def clean(h=8, w=8):
    return Latent(torch.randn(1, 4, h, w, generator=torch.Generator().manual_seed(1)), 2)


def half():
    mask = torch.zeros(1, 8, 8)
    mask[:, :, 4:] = 1
    return Mask(mask.repeat_interleave(2, 1).repeat_interleave(2, 2))


def far(a, b):
    """Return the largest difference, of the largest value."""
    return float((a - b).abs().max() / b.abs().max())


@pytest.mark.parametrize("strength", [0.3, 0.8, 1.0])
def test_sdedit_is_their_image_to_image(both, strength):
    theirs = both.pipeline(StableDiffusionImg2ImgPipeline)(
        image=clean().samples, strength=strength, num_inference_steps=STEPS, generator=seeded(), **EMBEDS
    ).images
    ours = sdedit(both.ctx, both.model, ONE, OTHER, clean(), both.sigmas(strength), seed=SEED, cfg=SCALE)
    assert far(ours.samples, theirs) < 1e-5


@pytest.mark.parametrize("how", ["latent mask", "blend"])
def test_a_mask_is_their_inpainting(both, how):
    kept = clean()
    theirs = both.pipeline(StableDiffusionInpaintPipeline)(
        image=kept.samples, mask_image=half().values[:, None], masked_image_latents=kept.samples, height=16, width=16,
        strength=0.8, num_inference_steps=STEPS, generator=seeded(), **EMBEDS,
    ).images  # fmt: skip
    if how == "blend":
        ours = edited(both, kept, blend=keep_outside(kept, half()))
    else:
        start, sampler = set_latent_mask(kept, half()), Sampler("ddim")
        ours = sample_custom(both.ctx, both.guider(), sampler, both.sigmas(0.8), start, Noise(SEED)).latent.samples
    assert far(ours, theirs) < 1e-5
    assert torch.equal(ours[..., :4], kept.samples[..., :4])


def edited(both, start, *, blend, strength=0.8):
    return sample_edit(
        both.ctx, both.guider(), Sampler("ddim"), both.sigmas(strength), start, Noise(SEED), blend=blend
    ).latent.samples


def test_their_old_inpainting_keeps_the_background_a_level_too_noisy(both, monkeypatch):
    """Theirs puts the background back at the level before the step; with that mistake made here, nothing differs."""
    picture, generator = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(2)) * 2 - 1, seeded()
    theirs = both.pipeline(StableDiffusionInpaintPipelineLegacy)(
        image=picture, mask_image=1 - half().values[:, None], strength=0.8, num_inference_steps=STEPS,
        generator=generator, **EMBEDS,
    ).images  # fmt: skip
    generator = seeded()
    kept = both.parts["vae"].encode(picture).latent_dist.sample(generator) * 0.18215
    noise = torch.randn(1, 4, 8, 8, generator=generator)
    monkeypatch.setattr("engine.diffusion.sample.marked", lambda recipe, eps: noise)
    mask = half().values[:, None, ::2, ::2]
    right = edited(both, Latent(kept, 2), blend=keep_outside(Latent(kept, 2), half()))

    def late(blend, run):
        return lambda info, x: blends.mixed(mask, x, (kept + info.sigma * noise) * rescaled(info))

    monkeypatch.setitem(blends.KINDS, "late", late)
    wrong = blends.mixed(mask, edited(both, Latent(kept, 2), blend=Blend("late")), kept)
    assert far(wrong, theirs) < 1e-5
    assert far(right, theirs) > 0.01


def rescaled(info):
    """Return by how much a latent of the level before a step grows when it is taken for one of the level after."""
    return ((1 + info.sigma_next**2) / (1 + info.sigma**2)) ** 0.5


@pytest.mark.parametrize("wrap", [False, True])
def test_fused_windows_are_their_panorama(both, wrap):
    noise, top = torch.randn(1, 4, 8, 14, generator=seeded()), float(both.sigmas().values[0])
    start = noise * top / (1 + top**2) ** 0.5  # theirs takes pure noise for the last level, which is not quite that
    pipeline = both.pipeline(StableDiffusionPanoramaPipeline)
    pipeline.get_views = partial(pipeline.get_views, window_size=8, stride=2)  # else 64 cells, and slow
    theirs = pipeline(
        height=64, width=112, latents=start, num_inference_steps=STEPS, circular_padding=wrap, **EMBEDS
    ).images
    guider = fuse_windows(both.guider(), 8 * 2, 2 * 2, wrap=wrap)
    canvas, sampler = Latent(torch.zeros_like(noise), 2), Sampler("ddim")
    ours = sample_custom(both.ctx, guider, sampler, both.sigmas(), canvas, Noise(SEED)).latent.samples
    assert far(ours, theirs) < 1e-5


def diffedit(both):
    inverse = DDIMInverseScheduler(**BETAS, timestep_spacing="trailing", set_alpha_to_one=True)
    return both.pipeline(StableDiffusionDiffEditPipeline, inverse_scheduler=inverse)


@pytest.mark.parametrize("scale", [3.0, 7.5])
def test_the_mask_of_diffedit_is_theirs(both, scale):
    """Guidance, which theirs has at 7.5, only multiplies the map, and the threshold is relative."""
    theirs, ours = masks(both, scale)
    assert 0 < theirs.mean() < 1
    assert (ours.numpy() == theirs).all()


def test_their_mask_without_guidance_covers_everything(both):
    """Theirs takes the negative prompt for the prompt: without guidance nothing differs, and 0 / 0 counts as masked."""
    theirs, ours = masks(both, 1.0)
    assert theirs.all()
    assert 0 < ours.mean() < 1


def masks(both, scale):
    start = clean(16, 16)
    negative = {"target_negative_prompt_embeds": NEG, "source_negative_prompt_embeds": NEG}
    theirs = diffedit(both).generate_mask(
        image=start.samples, target_prompt_embeds=POS, source_prompt_embeds=0.5 * NEG, num_maps_per_mask=1,
        mask_encode_strength=0.5, num_inference_steps=STEPS, guidance_scale=scale, generator=seeded(), output_type="np",
        **negative,
    )  # fmt: skip
    heat = noise_contrast(both.ctx, both.model, start, ONE, OTHER.map(tokens=0.5 * NEG), 0.5, count=1, seed=SEED)
    ours = heatmap_to_mask(heat, "mean ratio", 0.5, 0.0, 0).mask.values[:, ::2, ::2]
    return theirs, ours


def inverted(both, scale):
    start = clean()
    theirs = diffedit(both).invert(
        image=start.samples, prompt_embeds=POS, negative_prompt_embeds=NEG, inpaint_strength=0.8,
        num_inference_steps=STEPS, guidance_scale=scale, num_reg_steps=0, generator=seeded(),
    ).latents  # fmt: skip
    sigmas = both.sigmas(0.8)
    ours = ddim_invert(both.ctx, both.model, ONE, start, sigmas, negative=OTHER, guidance_scale=scale).trajectory
    return theirs, ours


@pytest.mark.parametrize("scale", [1.0, 7.5])
def test_inversion_is_theirs_and_their_guidance_makes_noise_that_is_none(both, scale):
    """Their default inverts at guidance 7.5; here it is 1, and a pull has to be asked for."""
    theirs, ours = inverted(both, scale)
    native = ours.latents / (1 + ours.sigmas.view(-1, 1, 1, 1, 1) ** 2).sqrt()
    assert far(native[1:].float(), theirs[0].flip(0)[:, None]) < 1e-4
    assert (float(theirs[0, 0].std()) > 1.3) == (scale > 1)


@pytest.mark.parametrize("masked", [False, True])
def test_the_edit_of_diffedit_is_theirs_but_for_the_level_of_the_background(both, masked, monkeypatch):
    """Theirs keeps the recorded latents of the level before the step, and so ends with a noisy background."""
    theirs_inverted, ours = inverted(both, 1.0)
    mask = half() if masked else Mask(torch.ones(1, 16, 16))
    theirs = diffedit(both)(
        mask_image=mask.values[:, None, ::2, ::2], image_latents=theirs_inverted, inpaint_strength=0.8,
        num_inference_steps=STEPS, prompt_embeds=NEG, negative_prompt_embeds=POS, guidance_scale=SCALE,
        output_type="latent",
    ).images  # fmt: skip
    guider = cfg_guider(both.model, OTHER, ONE, SCALE)
    right = replay(both.ctx, ours, guider, keep_trajectory(ours, mask)).samples
    if not masked:
        assert far(right, theirs) < 1e-4
        return

    def late(blend, run):
        cells = mask.values[:, None, ::2, ::2]

        def hook(info, x):
            return blends.mixed(cells, x, at_sigma(ours, info.sigma) * rescaled(info))

        return hook

    monkeypatch.setitem(blends.KINDS, "late", late)
    assert far(replay(both.ctx, ours, guider, Blend("late")).samples, theirs) < 1e-4
    assert torch.equal(right[..., :4], ours.latents[0][..., :4])
    assert far(right, theirs) > 0.01


def test_the_closed_form_of_time_is_theirs(both):
    """Theirs looks for a class that is gone and edits nothing, unless shown the layers; its inverse is in singles."""
    pipeline = both.pipeline(StableDiffusionModelEditingPipeline)
    assert pipeline.projection_matrices == []
    unet = copy.deepcopy(both.parts["unet"])
    layers = [m for name, m in unet.named_modules() if name.endswith("attn2")]
    pipeline.ca_clip_layers = layers
    pipeline.projection_matrices = [m.to_v for m in layers] + [m.to_k for m in layers]
    pipeline.edit_model("A rose in a vase", "A blue rose in a vase", lamb=0.1, restart_params=False)
    patch = time_edit_model(both.ctx, both.model, both.clip, "A rose in a vase", "A blue rose in a vase", 0.1).patch
    before, after = both.parts["unet"].state_dict(), unet.state_dict()
    for name, delta in patch.tensors.items():
        assert far(before[name] + delta, after[name]) < 2e-3
        assert far(before[name], after[name]) > 2e-3
    changed = {k for k in before if not torch.equal(before[k], after[k])}
    assert changed == set(patch.tensors)


def test_one_prompt_is_their_sampling_without_guidance(both):
    theirs = both.pipeline(StableDiffusionImg2ImgPipeline)(
        image=clean().samples, strength=1.0, num_inference_steps=STEPS, generator=seeded(),
        **EMBEDS | {"guidance_scale": 1.0},
    ).images  # fmt: skip
    plain = basic_guider(both.model, ONE)
    ours = sample_custom(both.ctx, plain, Sampler("ddim"), both.sigmas(), clean(), Noise(SEED)).latent.samples
    assert far(ours, theirs) < 1e-5
