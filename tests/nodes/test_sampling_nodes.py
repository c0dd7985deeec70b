"""Loading, prompting, sampling and decoding as nodes, on the embedded model and on a tiny random one."""

import pytest
import torch

from engine.context import Context
from engine.diffusion.device import ModelManager
from engine.errors import BadFile, BadInput, Cancelled, NotFound
from engine.types import Image, Latent, Mask, Noise, Sigmas
from nodes.basics.latent_source import empty_latent, fit_to_model
from nodes.basics.load import (
    load_checkpoint,
    load_diffusers,
    load_embedded,
    load_embedding,
    load_lora,
    load_vae,
    model_card,
)
from nodes.basics.sampling import sample
from nodes.basics.sampling_custom import (
    basic_guider,
    cfg_guider,
    composed_guider,
    dual_guider,
    flip_sigmas,
    noise,
    sample_custom,
    sampler_choice,
    sigmas,
    split_sigmas,
    split_sigmas_by_part,
)
from nodes.basics.text import clip_skip, encode_text, inspect_tokens
from nodes.basics.vae import vae_decode, vae_encode, vae_encode_inpaint
from tests.diffusion_models import tiny


@pytest.fixture(scope="module")
def ctx(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """The embedded model beside people's folders with a tiny random model."""
    root = tmp_path_factory.mktemp("models")
    tiny.write_folder(root / "diffusers" / "tiny")
    tiny.write_file(root / "checkpoints" / "tiny.safetensors")
    tiny.write_file(root / "vae" / "tiny.safetensors", tiny.vae_ldm_state(tiny.networks()[1]))
    tiny.write_file(root / "embeddings" / "dog.safetensors", {"emb_params": torch.randn(2, 64)})
    return Context(models=ModelManager(root, tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="module")
def loaded(ctx):
    return load_diffusers(ctx, "tiny")


@pytest.fixture(scope="module")
def conds(ctx, loaded):
    return encode_text(ctx, loaded.clip, "a cat"), encode_text(ctx, loaded.clip, "")


def test_text_to_image_on_the_embedded_model(ctx):
    """The words reach the picture: the beach is lighter than the night, whatever the seed."""
    model, clip, vae = load_embedded(ctx)
    negative = encode_text(ctx, clip, "")
    latent = empty_latent(model, batch=2)

    def picture(prompt, seed=1):
        positive = encode_text(ctx, clip, prompt)
        made = sample(ctx, model, positive, negative, latent, seed, steps=6, cfg=4.0)
        return vae_decode(ctx, made, vae).pixels

    beach, night = picture("a house on a beach"), picture("a house at night")
    own = int(model.options["size"])
    assert beach.shape == (2, own, own, 3)
    assert torch.equal(beach, picture("a house on a beach"))
    assert not torch.equal(beach, picture("a house on a beach", seed=5))
    assert (beach.mean((1, 2, 3)) > night.mean((1, 2, 3)) + 0.1).all()


def test_the_winter_lora_turns_a_beach_into_snow(ctx):
    """Snow is less saturated than sand and sea; at strength 0 nothing changes."""
    model, clip, vae = load_embedded(ctx)
    pictures = []
    for strength in (0.0, 1.0):
        laid = load_lora(ctx, model, clip, "bozzetto/winter.safetensors", strength, strength)
        positive, negative = encode_text(ctx, laid.clip, "a house on a beach"), encode_text(ctx, laid.clip, "")
        made = sample(ctx, laid.model, positive, negative, empty_latent(model, batch=3), 1, steps=6, cfg=4.0)
        pictures.append(vae_decode(ctx, made, vae).pixels)
    assert "0 matched" not in laid.report.splitlines()[0]
    plain = sample(ctx, model, positive, negative, empty_latent(model, batch=3), 1, steps=6, cfg=4.0)
    assert torch.equal(vae_decode(ctx, plain, vae).pixels, pictures[0])
    colourful = [(p.amax(-1) - p.amin(-1)).mean((1, 2)) for p in pictures]
    assert (colourful[1] < colourful[0]).all()


def test_every_way_to_load_gives_the_same_model(ctx, loaded, conds):
    single = load_checkpoint(ctx, "tiny.safetensors")
    latent = Latent(torch.zeros(1, 4, 8, 8), 2)
    a, b = (sample(ctx, m.model, *conds, latent, 3, steps=2) for m in (loaded, single))
    assert torch.equal(a.samples, b.samples)
    own = load_vae(ctx, "tiny.safetensors")
    assert torch.equal(vae_decode(ctx, a, own).pixels, vae_decode(ctx, a, loaded.vae).pixels)
    assert own.options == loaded.vae.options
    assert "prediction: epsilon (" in model_card(ctx, loaded.model)


def test_what_is_missing_or_of_another_kind_is_said(ctx, tmp_path, loaded):
    with pytest.raises(NotFound, match=r"Nearest are: tiny\.safetensors"):
        load_checkpoint(ctx, "tinny.safetensors")
    root = tmp_path / "models"
    tiny.write_file(root / "checkpoints" / "vae.safetensors", tiny.vae_ldm_state(tiny.networks()[1]))
    tiny.write_file(root / "loras" / "alien.safetensors", {"lora_unet_x.lora_down.weight": torch.zeros(2, 2)})
    other = Context(models=ModelManager(root, tmp_path / "data"))
    with pytest.raises(BadFile, match="holds vae but not a diffusion model"):
        load_checkpoint(other, "vae.safetensors")
    model, clip, _ = load_embedded(other)
    with pytest.raises(BadFile, match="for another model"):
        load_lora(other, model, clip, "alien.safetensors")


def test_embeddings_are_words_of_their_encoder(ctx, loaded):
    clip = load_embedding(ctx, loaded.clip, "dog.safetensors", "rex")
    with_rex = encode_text(ctx, clip, "a embedding:rex").conds[0].tokens
    assert torch.equal(with_rex, encode_text(ctx, loaded.clip, "a embedding:dog").conds[0].tokens)
    with pytest.raises(NotFound, match="embeddings"):
        encode_text(ctx, loaded.clip, "a embedding:rex")
    other = load_embedding(ctx, load_embedded(ctx).clip, "dog.safetensors")
    with pytest.raises(BadInput, match="another family"):
        encode_text(ctx, other, "embedding:dog")


def test_clip_skip_and_inspection(ctx, loaded):
    skipped = encode_text(ctx, clip_skip(loaded.clip, 2), "a cat").conds[0].tokens
    assert not torch.allclose(skipped, encode_text(ctx, loaded.clip, "a cat").conds[0].tokens)
    with pytest.raises(BadInput, match="2 layers"):
        encode_text(ctx, clip_skip(loaded.clip, 9), "a cat")
    text = inspect_tokens(ctx, loaded.clip, "a (cat:1.5) BREAK dog")
    assert text.startswith("3 words in 2 chunk(s) of 77 tokens")
    assert "cat: token 2368 at 2, weight 1.5" in text


def test_wired_by_hand_it_is_the_simple_node(ctx, loaded, conds):
    latent = Latent(torch.randn(1, 4, 8, 8), 2)
    easy = sample(
        ctx, loaded.model, *conds, latent, 9, steps=4, cfg=3.0, sampler="heun", schedule="normal", strength=0.7
    )
    guider = cfg_guider(loaded.model, *conds, scale=3.0)
    steps = sigmas(ctx, loaded.model, "normal", 4, 0.7)
    ended = sample_custom(ctx, guider, sampler_choice("heun"), steps, latent, noise(9))
    assert torch.equal(easy.samples, ended.latent.samples)
    high, low = split_sigmas(sigmas(ctx, loaded.model, "normal", 4), 2)
    assert high.values[-1] == low.values[0]
    assert [len(half.values) for half in split_sigmas_by_part(Sigmas(torch.arange(11.0)), 0.4)] == [5, 7]
    assert torch.equal(split_sigmas_by_part(steps, 1.0).high.values, steps.values)
    first = sample_custom(ctx, guider, sampler_choice("euler"), high, latent, Noise(9)).latent
    second = sample_custom(ctx, guider, sampler_choice("euler"), low, first).latent
    whole = sample_custom(
        ctx, guider, sampler_choice("euler"), sigmas(ctx, loaded.model, "normal", 4), latent, Noise(9)
    )
    assert torch.equal(second.samples, whole.latent.samples)
    assert flip_sigmas(low).values[0] == 0


def test_guiders_agree_where_they_must(ctx, loaded, conds):
    positive, negative = conds
    latent, steps = Latent(torch.zeros(1, 4, 8, 8), 2), sigmas(ctx, loaded.model, "simple", 2)

    def run(guider):
        return sample_custom(ctx, guider, sampler_choice("euler"), steps, latent, noise(1)).latent.samples

    basic = run(basic_guider(loaded.model, positive))
    assert torch.equal(run(cfg_guider(loaded.model, positive, negative, 1.0)), basic)
    assert torch.equal(
        sample(ctx, loaded.model, positive, None, latent, 1, steps=2, sampler="euler", schedule="simple").samples, basic
    )
    cfg = run(cfg_guider(loaded.model, positive, negative, 4.0))
    assert torch.allclose(run(composed_guider(loaded.model, positive, negative, 4.0)), cfg, atol=1e-4)
    assert torch.allclose(run(dual_guider(loaded.model, positive, negative, negative, 4.0, 1.0)), cfg, atol=1e-4)


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_strength_at_its_ends(ctx, loaded, conds, strength):
    latent = Latent(torch.randn(1, 4, 8, 8), 2)
    made = sample(ctx, loaded.model, *conds, latent, 1, steps=2, strength=strength)
    assert torch.equal(made.samples, latent.samples) == (strength == 0)
    with pytest.raises(BadInput, match=r"at least 0\.01"):
        sample(ctx, loaded.model, *conds, latent, 1, steps=2, strength=1e-9)


def test_options_of_samplers_are_checked():
    assert sampler_choice("euler_ancestral", {"eta": 0.5}).options == {"eta": 0.5}
    with pytest.raises(BadInput, match="has no setting nonsense; its settings are"):
        sampler_choice("euler_ancestral", {"nonsense": 1})
    for value in ("x", True, [1], float("nan")):
        with pytest.raises(BadInput, match="number"):
            sampler_choice("euler_ancestral", {"eta": value})
    with pytest.raises(BadInput, match="steps"):
        split_sigmas(Sigmas(torch.tensor([2.0, 1.0, 0.0])), 7)


def test_encode_and_decode_cut_and_tile(ctx, loaded):
    image = Image(torch.rand(1, 65, 67, 3))
    latent = vae_encode(ctx, image, loaded.vae)
    assert latent.samples.shape == (1, 4, 32, 33)
    assert latent.factor == 2
    done = []
    told = Context(models=ctx.models, emit=lambda event: done.append((event.done, event.total)))
    whole, tiled = (vae_decode(told, latent, loaded.vae, tile) for tile in (0, 64))
    assert whole.pixels.shape == tiled.pixels.shape == (1, 64, 66, 3)
    assert done[-1] == (2, 2)
    assert (whole.pixels - tiled.pixels).abs().mean() < 0.05
    with pytest.raises(BadInput, match="smaller than 2 pixels"):
        vae_encode(ctx, Image(torch.rand(1, 1, 8, 3)), loaded.vae)
    with pytest.raises(BadInput, match="takes 4 channels"):
        vae_decode(ctx, Latent(torch.zeros(1, 16, 4, 4), 2), loaded.vae)
    with pytest.raises(BadInput, match="another model's"):
        vae_decode(ctx, Latent(torch.zeros(1, 4, 4, 4), 8), loaded.vae)


def test_encoding_for_inpainting_masks_every_touched_cell(ctx, loaded):
    mask = torch.zeros(1, 16, 17)
    mask[0, 5, 5] = 1
    latent = vae_encode_inpaint(ctx, Image(torch.rand(1, 16, 17, 3)), Mask(mask), loaded.vae)
    assert latent.mask.shape == (1, 8, 8)
    assert latent.mask.nonzero().tolist() == [[0, 2, 2]]
    with pytest.raises(BadInput, match="not of the picture's size"):
        vae_encode_inpaint(ctx, Image(torch.rand(1, 16, 16, 3)), Mask(mask), loaded.vae)


def test_latents_and_pictures_of_the_models_size(loaded):
    assert empty_latent(loaded.model, batch=3).samples.shape == (3, 4, 8, 8)
    assert empty_latent(loaded.model, 24, 32).samples.shape == (1, 4, 16, 12)
    wide = fit_to_model(Image(torch.rand(1, 100, 400, 3)), loaded.model).pixels
    assert wide.shape == (1, 8, 32, 3)
    assert fit_to_model(Image(torch.rand(1, 50, 50, 3)), loaded.model, 2.0).pixels.shape == (1, 32, 32, 3)


def test_a_cancelled_context_stops_sampling(ctx, loaded, conds):
    stopped = Context(node="sampler", models=ctx.models, cancelled=lambda: True)
    with pytest.raises(Cancelled) as error:
        sample(stopped, loaded.model, *conds, Latent(torch.zeros(1, 4, 8, 8), 2))
    assert error.value.node == "sampler"
