"""The nodes that load people's files and tell models what they read beside words."""

import pytest
import torch
from safetensors.torch import save_file

from engine.context import Context
from engine.diffusion.device import ModelManager
from engine.errors import BadFile, BadInput
from engine.types import Image, Latent, Mask
from nodes.basics import load
from nodes.basics.picture_conditioning import inpaint_conditioning, instruct_conditioning, size_conditioning
from nodes.basics.sampling import sample
from nodes.basics.sampling_custom import dual_guider, noise, sample_custom, sampler_choice, sigmas
from nodes.basics.text import encode_text
from nodes.basics.vae import vae_decode
from tests.diffusion_models import zoo

KINDS = ("sd1 inpaint", "sd1 instruct", "sd2 eps", "sdxl")
PICTURE = Image(torch.rand(1, 16, 16, 3, generator=torch.Generator().manual_seed(2)))


@pytest.fixture(scope="module")
def ctx(tmp_path_factory):
    root = tmp_path_factory.mktemp("loaders")
    models = root / "models"
    for folder in ("checkpoints", "unet", "text_encoders", "vae"):
        (models / folder).mkdir(parents=True)
    for kind in KINDS:
        save_file(zoo.ldm_state(kind), models / "checkpoints" / f"{kind}.safetensors")
    found = zoo.networks("sdxl")
    save_file(dict(found["vae"].state_dict()), models / "vae" / "sdxl_vae.safetensors")
    save_file(zoo.unet_state(found["unet"], ""), models / "unet" / "sdxl.safetensors")
    return Context(models=ModelManager(models, root / "data", embedded=root))


def loaded(ctx, kind):
    found = load.load_checkpoint(ctx, f"{kind}.safetensors")
    return found, encode_text(ctx, found.clip, "a zebra"), encode_text(ctx, found.clip, "")


def test_a_picture_by_an_inpainting_model(ctx):
    found, positive, negative = loaded(ctx, "sd1 inpaint")
    with pytest.raises(BadInput, match="inpainting or editing model"):
        sample(ctx, found.model, positive, negative, Latent(torch.zeros(1, 4, 8, 8), 2), steps=2)
    mask = torch.zeros(1, 16, 16)
    mask[:, 4:8, 4:12] = 1
    told = inpaint_conditioning(ctx, positive, negative, PICTURE, Mask(mask), found.vae)
    concat = told.positive.conds[0].extra["concat"]
    assert concat.shape == (1, 5, 8, 8)
    assert torch.equal(concat[0, 0], mask[0, ::2, ::2])
    assert told.latent.mask is None
    done = sample(ctx, found.model, told.positive, told.negative, told.latent, steps=2)
    assert vae_decode(ctx, done, found.vae).pixels.shape == (1, 16, 16, 3)


def test_a_picture_by_an_instruction(ctx):
    found, positive, negative = loaded(ctx, "sd1 instruct")
    told = instruct_conditioning(ctx, positive, negative, PICTURE, found.vae)
    guider = dual_guider(found.model, told.positive, told.middle, told.negative)
    done = sample_custom(
        ctx, guider, sampler_choice("euler"), sigmas(ctx, found.model, steps=2), told.latent, noise(1)
    ).latent
    assert done.samples.isfinite().all()
    assert not told.negative.conds[0].extra["concat"].any()
    assert torch.equal(told.middle.conds[0].extra["concat"], told.positive.conds[0].extra["concat"])


def test_sizes_change_what_sdxl_makes(ctx):
    found, positive, negative = loaded(ctx, "sdxl")
    empty = Latent(torch.zeros(1, 4, 8, 8), 2)
    own = sample(ctx, found.model, positive, negative, empty, steps=2)
    same = [size_conditioning(c, 16, 16) for c in (positive, negative)]
    assert torch.equal(sample(ctx, found.model, *same, empty, steps=2).samples, own.samples)
    cropped = size_conditioning(positive, 16, 16, crop_x=8)
    assert not torch.equal(sample(ctx, found.model, cropped, negative, empty, steps=2).samples, own.samples)
    assert size_conditioning(positive, 8, 16, crop_y=3, target_width=24).conds[0].extra["sizes"].tolist() == [
        [16, 8, 3, 0, 16, 24, 6]
    ]


def test_a_prediction_that_is_measured_is_shown_and_may_be_overridden(ctx):
    found, positive, _ = loaded(ctx, "sd2 eps")
    assert "measured prediction: v" in load.model_card(ctx, found.model)
    told = load.set_prediction(found.model, "eps")
    with ctx.models.use(told) as network, ctx.models.use(found.model) as plain:
        assert (network.prediction, plain.prediction) == ("eps", "v")
    empty = Latent(torch.zeros(1, 4, 8, 8), 2)
    pictures = [sample(ctx, model, positive, None, empty, steps=2).samples for model in (told, found.model)]
    assert not torch.equal(*pictures)


def test_autoencoders_and_parts_of_their_own(ctx):
    vae = load.load_vae(ctx, "sdxl_vae.safetensors")
    told = load.load_vae(ctx, "sdxl_vae.safetensors", "sd")
    with ctx.models.use(vae) as network, ctx.models.use(told) as other:
        assert (network.latents.scale, other.latents.scale) == (0.13025, 0.18215)
    model = load.load_diffusion_model(ctx, "sdxl.safetensors", "sdxl")
    assert model.options == {"channels": 4, "factor": 8, "size": 1024}  # without an autoencoder, the family's own
    whole = load.load_checkpoint(ctx, "sdxl.safetensors").model
    with ctx.models.use(model) as alone, ctx.models.use(whole) as network:
        assert torch.equal(alone.module.conv_in.weight, network.module.conv_in.weight)
    with pytest.raises(BadFile, match=r"unknown kind.*2048 wide"):
        load.load_diffusion_model(ctx, "sdxl.safetensors")
