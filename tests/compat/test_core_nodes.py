"""ComfyUI's node classes: the numbers of their documented behaviour, and patches that act only where they should."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from engine.compat import core_table
from engine.context import Context
from engine.diffusion import model_tweaks
from engine.diffusion.device import ModelManager
from engine.diffusion.guidance import build, place
from engine.diffusion.guiders.adjusted import CHANGES, Moment
from engine.diffusion.levels import scaled_linear
from engine.diffusion.model_tweaks import added
from engine.diffusion.noise import NoiseSource
from engine.errors import BadInput
from engine.registry import load as load_registry
from engine.settings import Settings
from engine.types import Cond, Conditioning, Image, Latent, Mask, Model, Sigmas, Weights
from nodes.basics.load import Loaded, load_checkpoint, load_embedded
from nodes.comfyui import (
    conditioning,
    guiders,
    image,
    image_list,
    latent,
    load,
    mask,
    patch,
    sampling,
    sigmas,
    text_list,
)
from nodes.comfyui._sampling import sigmas_of
from tests.diffusion_models import tiny, zoo
from tests.nodes.support import close

LEVELS = scaled_linear()
MODEL = Model("none", Weights("unet", "none", ""))


@pytest.fixture(scope="module")
def ctx(tmp_path_factory: pytest.TempPathFactory) -> Context:
    root = tmp_path_factory.mktemp("models")
    tiny.write_file(root / "checkpoints" / "tiny.safetensors")
    tiny.write_file(root / "checkpoints" / "inpaint.safetensors", zoo.ldm_state("sd1 inpaint"))
    tiny.write_file(root / "checkpoints" / "xl.safetensors", zoo.ldm_state("sdxl"))
    tiny.write_file(root / "embeddings" / "dog.safetensors", {"emb_params": torch.randn(2, 64)})
    return Context(models=ModelManager(root, tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="module")
def loaded(ctx: Context) -> Loaded:
    return load_checkpoint(ctx, "tiny.safetensors")


@pytest.fixture(scope="module")
def prompts(ctx: Context, loaded: Loaded) -> tuple[Conditioning, Conditioning]:
    encoded = (conditioning.clip_text_encode(ctx, text, loaded.clip) for text in ("a cat", ""))
    positive, negative = encoded
    return positive, negative


def made(ctx: Context, model: Model, prompts: tuple[Conditioning, Conditioning], **options: object) -> Tensor:
    given = {"seed": 3, "steps": 2, "cfg": 3.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0,
             "latent_image": latent.empty_latent_image(64, 64, 1)} | options  # fmt: skip
    return sampling.ksampler(ctx, model, positive=prompts[0], negative=prompts[1], **given).samples


def test_the_embedded_model_is_one_of_the_checkpoints(ctx: Context) -> None:
    assert ctx.models.names("checkpoints") == ["inpaint.safetensors", "tiny.safetensors", "xl.safetensors", "bozzetto"]
    found = load.checkpoint_loader_simple(ctx, "bozzetto")
    assert found.model.weights.digest == load_embedded(ctx).model.weights.digest
    with ctx.models.use(found.clip) as network:
        assert network.condition("a red cube").tokens.ndim == 3


# Noise and levels ----------------------------------------------------------------------------------------------------


def test_noise_is_one_draw_for_a_batch_and_one_after_the_other_for_a_choice() -> None:
    like = torch.zeros(3, 4, 8, 8)
    drawn = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    assert torch.equal(NoiseSource.of(5, 3, in_turn=True).initial(like), drawn)
    picked = NoiseSource.of(5, 2, indices=(2, 0), in_turn=True).initial(like[:2])
    assert torch.equal(picked, drawn[[2, 0]])
    largest = NoiseSource.of(2**64 - 1, 2, in_turn=True).initial(like[:2])
    assert torch.equal(largest, torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(2**64 - 1)))


@pytest.mark.parametrize(("steps", "denoise", "whole"), [(20, 1.0, 20), (20, 0.5, 40), (10, 0.3, 33), (7, 0.9999, 7)])
def test_denoise_takes_the_last_steps_of_a_longer_schedule(steps: int, denoise: float, whole: int) -> None:
    long, part = sigmas_of(LEVELS, "karras", whole), sigmas_of(LEVELS, "karras", steps, denoise)
    assert len(part) == steps + 1
    assert torch.equal(part, long[-(steps + 1) :])
    assert len(sigmas_of(LEVELS, "karras", steps, 0.0)) == 0


def test_some_samplers_leave_out_the_last_level() -> None:
    longer = sigmas_of(LEVELS, "normal", 11)
    assert torch.equal(sigmas_of(LEVELS, "normal", 10, drop=True), torch.cat([longer[:-2], longer[-1:]]))
    with pytest.raises(BadInput, match="denoise"):
        sigmas_of(LEVELS, "normal", 10_000, 0.01)


def test_schedules_in_closed_form(ctx: Context, loaded: Loaded) -> None:
    karras = sigmas.karras_scheduler(3, 8.0, 1.0, 3.0).values
    assert close(karras, torch.tensor([8.0, 1.5**3, 1.0, 0.0], dtype=torch.float64))
    assert close(sigmas.exponential_scheduler(3, 4.0, 1.0).values, torch.tensor([4, 2, 1, 0], dtype=torch.float64))
    turbo = sigmas.sd_turbo_scheduler(ctx, loaded.model, 1).values
    assert close(turbo, torch.tensor([LEVELS.sigma_max, 0], dtype=torch.float64))
    high, low = sigmas.split_sigmas_denoise(Sigmas(torch.arange(5.0).flip(0)), 0.25)
    assert (high.values.tolist(), low.values.tolist()) == ([4, 3, 2, 1], [1, 0])
    assert sigmas.manual_sigmas("[14, 2.5; 1e-1]").values.tolist() == [14, 2.5, 0.1]
    extended = sigmas.extend_intermediate_sigmas(Sigmas(torch.tensor([20.0, 14.0, 0.0]).double()), 2, -1.0, 12.0)
    assert extended.values.tolist() == [20, 17, 14, 7, 0]
    assert sigmas.sampling_percent_to_sigma(ctx, loaded.model, 0.0) == sigmas.BEYOND
    assert sigmas.sampling_percent_to_sigma(ctx, loaded.model, 0.0, True) == pytest.approx(LEVELS.sigma_max)
    flux = sigmas.flux2_scheduler(4, 1024, 1024).values
    mu = (
        0.00016927 * 4096
        + 0.45666666
        + (8.73809524e-05 * 4096 + 1.89833333 - 0.00016927 * 4096 - 0.45666666) * 196 / 190
    )
    assert (float(flux[2]), float(flux[-1])) == (pytest.approx(math.exp(mu)), 0)
    assert torch.isfinite(flux).all()
    steps = sigmas.align_your_steps_scheduler("SD1", 10).values
    assert (float(steps[0]), float(steps[1]), float(steps[-1])) == (pytest.approx(14.615), pytest.approx(6.475), 0)


# Sampling ------------------------------------------------------------------------------------------------------------


def test_two_halves_are_the_whole(ctx: Context, loaded: Loaded, prompts: tuple[Conditioning, Conditioning]) -> None:
    empty = latent.empty_latent_image(64, 64, 2)
    common = {"noise_seed": 3, "steps": 4, "cfg": 3.0, "sampler_name": "euler", "scheduler": "normal",
              "positive": prompts[0], "negative": prompts[1]}  # fmt: skip
    first = sampling.ksampler_advanced(
        ctx, loaded.model, "enable", latent_image=empty, end_at_step=2, return_with_leftover_noise="enable", **common
    )
    second = sampling.ksampler_advanced(ctx, loaded.model, "disable", latent_image=first, start_at_step=2, **common)
    whole = made(ctx, loaded.model, prompts, steps=4, latent_image=empty)
    assert close(second.samples, whole, 1e-4)
    ended = sampling.ksampler_advanced(ctx, loaded.model, "enable", latent_image=empty, end_at_step=2, **common)
    assert not close(ended.samples, first.samples, 1e-2)
    nothing = sampling.ksampler_advanced(ctx, loaded.model, "enable", latent_image=whole_of(whole), start_at_step=4,
                                         **common)  # fmt: skip
    assert torch.equal(nothing.samples, whole)


def whole_of(samples: Tensor) -> Latent:
    return Latent(samples, 2)


def test_the_parts_do_what_the_sampler_does(
    ctx: Context, loaded: Loaded, prompts: tuple[Conditioning, Conditioning]
) -> None:
    levels = sigmas.basic_scheduler(ctx, loaded.model, "normal", 2)
    empty, euler = latent.empty_latent_image(64, 64), guiders.ksampler_select("euler")
    guider = guiders.cfg_guider(loaded.model, *prompts, 3.0)
    ended = sampling.sampler_custom_advanced(ctx, sampling.random_noise(3), guider, euler, levels, empty)
    assert torch.equal(ended.output.samples, made(ctx, loaded.model, prompts))
    custom = sampling.sampler_custom(ctx, loaded.model, True, 3, 3.0, positive=prompts[0], negative=prompts[1],
                                     sampler=euler, sigmas=levels, latent_image=empty)  # fmt: skip
    assert torch.equal(custom.output.samples, ended.output.samples)
    begin = sampling.add_noise(ctx, loaded.model, sampling.random_noise(3), Sigmas(levels.values[:1]), ended.output)
    drawn = torch.randn(ended.output.samples.shape, generator=torch.Generator().manual_seed(3))
    assert close(begin.samples, ended.output.samples + float(levels.values[0]) * drawn, 1e-4)
    assert sampling.disable_noise().kind == sampling.NO_NOISE


def test_empty_latents_fit_any_model(ctx: Context, loaded: Loaded, prompts: tuple[Conditioning, Conditioning]) -> None:
    sixteen = latent.empty_sd3_latent_image(64, 64)
    assert made(ctx, loaded.model, prompts, latent_image=sixteen).shape == (1, 4, 32, 32)  # the tiny model's grid
    full = replace(sixteen, samples=torch.ones_like(sixteen.samples))
    with pytest.raises(BadInput, match="16 channels"):
        made(ctx, loaded.model, prompts, latent_image=full)


def test_an_inpainting_model_is_shown_its_latents(ctx: Context, prompts: tuple[Conditioning, Conditioning]) -> None:
    parts = load_checkpoint(ctx, "inpaint.safetensors")
    begin = Latent(torch.randn(1, 4, 16, 16), 2, mask=torch.zeros(1, 16, 16))
    begin.mask[:, :8] = 1
    out = made(ctx, parts.model, prompts, latent_image=begin)
    assert torch.equal(out[:, :, 8:], begin.samples[:, :, 8:])
    assert not torch.equal(out[:, :, :8], begin.samples[:, :, :8])
    assert made(ctx, parts.model, prompts).shape == (1, 4, 32, 32)


# Patches -------------------------------------------------------------------------------------------------------------

NEUTRAL = {
    "freeu": lambda m: patch.free_u(m, 1.0, 1.0, 1.0, 1.0),
    "freeu v2": lambda m: patch.free_u_v2(m, 1.0, 1.0, 1.0, 1.0),
    "hypertile": lambda m: patch.hyper_tile(m, 2048),
    "tome": lambda m: patch.tome_patch_model(m, 0.0),
    "rescale": lambda m: patch.rescale_cfg(m, 0.0),
    "pag": lambda m: patch.perturbed_attention_guidance(m, 0.0),
    "sag": lambda m: patch.self_attention_guidance(m, 0.0),
    "apg": lambda m: patch.apg(m, 1.0, 0.0, 0.0),
    "epsilon scaling": lambda m: patch.epsilon_scaling(m, 1.0),
    "fresca": lambda m: patch.fre_sca(m, 1.0, 1.0),
    "self-attention": lambda m: patch.unet_self_attention_multiply(m),
    "cross-attention": lambda m: patch.unet_cross_attention_multiply(m),
}
STRONG = {
    "freeu": lambda m: patch.free_u(m), "freeu v2": lambda m: patch.free_u_v2(m),
    "hypertile": lambda m: patch.hyper_tile(m, 32), "tome": lambda m: patch.tome_patch_model(m, 0.6),
    "both": lambda m: patch.hyper_tile(patch.tome_patch_model(m, 0.6), 32),
    "rescale": lambda m: patch.rescale_cfg(m), "pag": lambda m: patch.perturbed_attention_guidance(m),
    "sag": lambda m: patch.self_attention_guidance(m), "apg": lambda m: patch.apg(m, 0.0, 5.0, -0.5),
    "zero star": lambda m: patch.cfg_zero_star(m), "norm": lambda m: patch.cfg_norm(m),
    "epsilon scaling": lambda m: patch.epsilon_scaling(m), "tcfg": lambda m: patch.tcfg(m),
    "fresca": lambda m: patch.fre_sca(m, 0.5, 1.5, 2),
    "self-attention": lambda m: patch.unet_self_attention_multiply(m, v=0.5),
    "cross-attention": lambda m: patch.unet_cross_attention_multiply(m, out=0.5),
}  # fmt: skip


@pytest.fixture(scope="module")
def plain(ctx: Context, loaded: Loaded, prompts: tuple[Conditioning, Conditioning]) -> Tensor:
    return made(ctx, loaded.model, prompts)


@pytest.mark.parametrize("name", NEUTRAL)
def test_a_patch_of_no_strength_changes_nothing(ctx: Context, loaded: Loaded, prompts, plain, name: str) -> None:
    assert close(made(ctx, NEUTRAL[name](loaded.model), prompts), plain, 2e-3)


@pytest.mark.parametrize("name", STRONG)
def test_a_patch_acts_and_leaves_nothing_behind(ctx: Context, loaded: Loaded, prompts, plain, name: str) -> None:
    out = made(ctx, STRONG[name](loaded.model), prompts)
    assert torch.isfinite(out).all()
    assert not close(out, plain, 1e-4)
    assert torch.equal(made(ctx, loaded.model, prompts), plain)


def test_perp_neg_as_a_patch_is_its_guider(ctx: Context, loaded: Loaded, prompts, plain) -> None:
    empty = conditioning.clip_text_encode(ctx, "another", loaded.clip)
    out = made(ctx, patch.perp_neg(loaded.model, empty, 0.5), prompts)
    levels = sigmas.basic_scheduler(ctx, loaded.model, "normal", 2)
    guider = guiders.perp_neg_guider(loaded.model, *prompts, empty, 3.0, 0.5)
    ended = sampling.sampler_custom_advanced(
        ctx, sampling.random_noise(3), guider, guiders.ksampler_select("euler"), levels,
        latent.empty_latent_image(64, 64),
    )  # fmt: skip
    assert close(out, ended.output.samples, 1e-3)
    assert not close(out, plain, 1e-4)


def test_tangential_damping_leaves_what_both_predictions_share() -> None:
    x, c, u = torch.zeros(1, 2, 1, 1), torch.tensor([2.0, 0.0]), torch.tensor([1.0, 0.0])
    moment = Moment(None, x, 1.0, c.reshape(1, 2, 1, 1), u.reshape(1, 2, 1, 1), 3.0, {}, {})  # one direction
    assert close(CHANGES["tcfg"](moment, x).flatten(), u + 3 * (c - u), 1e-6)
    across = replace(moment, u=torch.tensor([0.0, 0.5]).reshape(1, 2, 1, 1))  # c is the longer one: u lies across it
    assert close(CHANGES["tcfg"](across, x).flatten(), 3 * c, 1e-6)


def test_differential_diffusion_reads_the_mask_as_strength(ctx: Context, loaded: Loaded, prompts) -> None:
    begin = Latent(torch.randn(1, 4, 16, 16), 2, mask=torch.linspace(0, 1, 16).expand(1, 16, 16).clone())
    out = made(ctx, patch.differential_diffusion(loaded.model), prompts, latent_image=begin, steps=4)
    assert torch.equal(out[..., 0], begin.samples[..., 0])
    assert not close(out[..., -1], begin.samples[..., -1], 1e-2)
    assert model_tweaks.of(added(loaded.model, "x", a=1)) == ({"kind": "x", "a": 1},)


def test_perp_neg_takes_away_only_what_lies_across() -> None:
    directions = {"positive": [2.0, 0.0], "negative": [1.0, 1.0], "empty": [0.0, 0.0]}
    conds = {role: Conditioning((Cond(torch.tensor(v)[None, None]),)) for role, v in directions.items()}

    class Told:
        def each(self, x: Tensor, sigma: float, asked: list[Cond]) -> Iterator[Tensor]:
            return iter([c.tokens.reshape(1, 2, 1, 1) for c in asked])

        levels = LEVELS

    guide = build("perp_neg", Told(), conds, scale=3.0, negative_scale=0.5)
    assert guide(torch.zeros(1, 2, 1, 1), 1.0).flatten().tolist() == [6.0, -1.5]


# Prompts -------------------------------------------------------------------------------------------------------------


def test_square_brackets_are_plain_and_learnt_words_are_found(ctx: Context, loaded: Loaded) -> None:
    def encoded(text: str) -> Tensor:
        return conditioning.clip_text_encode(ctx, text, loaded.clip).conds[0].tokens

    assert not torch.equal(encoded("a [cat]"), encoded("a cat"))
    assert not torch.equal(encoded("a embedding:dog"), encoded("a dog"))
    assert torch.equal(encoded("a embedding:dog.pt"), encoded("a embedding:dog"))


def test_two_encoders_read_two_texts(ctx: Context) -> None:
    clip = load_checkpoint(ctx, "xl.safetensors").clip
    long = "cat " * 80  # two chunks

    def encoded(text_l: str, text_g: str) -> Cond:
        return conditioning.clip_text_encode_sdxl(ctx, clip, text_l=text_l, text_g=text_g).conds[0]

    both, empty = encoded("a cat", long), encoded("", "")
    first, second = encoded("a cat", "a cat"), encoded(long, long)
    with ctx.models.use(clip) as network:
        width = network.width
    assert both.tokens.shape == second.tokens.shape == (1, 154, first.tokens.shape[-1])
    assert torch.equal(both.tokens[..., width:], second.tokens[..., width:])
    assert torch.equal(both.tokens[:, :77, :width], first.tokens[..., :width])
    assert torch.equal(both.tokens[:, 77:, :width], empty.tokens[..., :width])
    assert torch.equal(both.pooled, second.pooled)
    assert both.extra["sizes"].tolist() == [[1024, 1024, 0, 0, 1024, 1024, 6]]
    flux = conditioning.clip_text_encode_flux(ctx, clip, "a cat", long, 2.0).conds[0]
    assert torch.equal(flux.tokens, second.tokens)
    assert torch.equal(flux.pooled, first.pooled)
    assert flux.extra["guidance"] == 2.0
    assert "guidance" not in conditioning.flux_disable_guidance(Conditioning((flux,))).conds[0].extra


def test_areas_are_cells_of_the_latent() -> None:
    base = Conditioning((Cond(torch.ones(1, 3, 2)),))
    placed = conditioning.conditioning_set_area(base, 64, 32, 16, 8, 2.0).conds[0]
    assert placed.extra["area_cells"] == (2, 1, 8, 4)
    assert placed.strength == 2.0
    weight = place(placed, torch.zeros(1, 4, 10, 20))
    assert weight.sum() == 8 * 4
    assert bool((weight[..., 1:5, 2:10] == 1).all())


# Pictures and masks --------------------------------------------------------------------------------------------------


def test_sizes_follow_the_side_that_is_given() -> None:
    picture = Image(torch.rand(1, 40, 20, 3))
    assert image.image_scale(picture, "area", 10, 0).pixels.shape == (1, 20, 10, 3)
    assert image.image_scale(picture, "lanczos", 30, 30, "center").pixels.shape == (1, 30, 30, 3)
    assert image.image_scale(picture, "area", 0, 0) is picture
    assert image.image_scale_to_total_pixels(picture, "bilinear", 0.01).pixels.shape == (1, 145, 72, 3)
    assert image.image_rotate(picture, "90 degrees").pixels.shape == (1, 20, 40, 3)
    assert torch.equal(image.image_rotate(picture, "90 degrees").pixels[0, 0, -1], picture.pixels[0, 0, 0])


def test_pasting_respects_mask_and_place() -> None:
    base, top = Image(torch.zeros(1, 4, 4, 3)), Image(torch.ones(1, 2, 2, 3))
    half = Mask(torch.tensor([[[1.0, 0.0], [1.0, 0.0]]]))
    out = image.image_composite_masked(base, top, 1, 3, mask=half).pixels[0, ..., 0]
    assert out.nonzero().tolist() == [[3, 1]]
    whole = image.image_composite_masked(base, top, 0, 0, resize_source=True).pixels
    assert bool((whole == 1).all())


def test_masks_combine_and_fade() -> None:
    a, b = Mask(torch.full((1, 4, 4), 0.75)), Mask(torch.full((1, 2, 2), 0.5))
    assert mask.mask_composite(a, b, 1, 1, "multiply").values[0, 1, 1] == 0.375
    assert mask.mask_composite(a, b, 1, 1, "subtract").values[0, 2, 2] == 0.25
    assert mask.mask_composite(a, b, 3, 3, "xor").values[0, 3, 3] == 1  # 0.5 rounds to 0
    faded = mask.feather_mask(Mask(torch.ones(1, 1, 4)), left=2).values[0, 0]
    assert faded.tolist() == [0.5, 1.0, 1.0, 1.0]


def test_padding_makes_room_that_fades_into_the_picture() -> None:
    out = image.image_pad_for_outpaint(Image(torch.ones(1, 8, 8, 3)), 0, 0, 4, 0, 2)
    assert out.image.pixels.shape == (1, 8, 12, 3)
    assert bool((out.image.pixels[:, :, 8:] == 0.5).all())
    assert bool((out.mask.values[:, :, 8:] == 1).all())
    assert bool((out.mask.values[:, :, :6] == 0).all())
    assert 0 < float(out.mask.values[0, 0, 7]) < 1


def test_transparency_is_joined_saved_and_taken_apart() -> None:
    picture, see_through = Image(torch.rand(2, 4, 4, 3)), Mask(torch.rand(1, 4, 4))
    joined = image_list.join_image_with_alpha(picture, see_through)
    apart = mask.split_image_with_alpha(joined)
    assert torch.equal(apart.image.pixels, picture.pixels)
    assert close(apart.mask.values, see_through.values.expand(2, 4, 4), 1e-6)
    assert close(mask.image_to_mask(joined, "alpha").values, 1 - see_through.values.expand(2, 4, 4), 1e-6)
    assert bool((mask.image_to_mask(picture, "alpha").values == 1).all())
    with pytest.raises(BadInput, match="3 masks do not fit 2"):
        image_list.join_image_with_alpha(picture, Mask(torch.zeros(3, 4, 4)))


def test_lists_of_pictures() -> None:
    wide = Image(torch.rand(1, 20, 40, 3))
    assert image_list.resize_images_by_longer_edge(wide, 10).pixels.shape == (1, 5, 10, 3)
    assert image_list.resize_images_by_shorter_edge(wide, 10).pixels.shape == (1, 10, 20, 3)
    assert torch.equal(image_list.center_crop_images(wide, 10, 10).pixels, wide.pixels[:, 5:15, 15:25])
    assert image_list.random_crop_images(wide, 10, 30, 3).pixels.shape == (1, 20, 10, 3)
    assert torch.equal(*(image_list.random_crop_images(wide, 10, 30, 3).pixels for _ in range(2)))
    assert close(image_list.adjust_contrast(wide, 0.0).pixels, torch.full((1, 20, 40, 3), 0.5), 1e-6)
    assert close(image_list.normalize_images(wide).pixels * 0.5 + 0.5, wide.pixels, 1e-6)
    dark = image_list.adjust_brightness(wide, 0.5)
    negative = Image(1 - wide.pixels)
    kept = image_list.image_deduplication([wide, dark, negative])
    assert [id(each) for each in kept] == [id(wide), id(negative)]
    grid = image_list.image_grid([wide] * 3, 2, 32, 32, 4).pixels
    assert grid.shape == (1, 68, 68, 3)
    assert bool((grid[:, 36:, 36:] == 0).all())
    assert bool((grid[:, :32, :32] > 0).any())
    assert image.flux_kontext_image_scale(wide).pixels.shape == (1, 720, 1456, 3)


def test_texts_of_a_regular_expression() -> None:
    def taken(mode: str, **more: object) -> str:
        return text_list.regex_extract("a1 b2\nB3", "([a-z])(\\d)", mode, **more)

    assert taken("First Match") == "a1"
    assert taken("All Matches", case_insensitive=False) == "a1\nb2"
    assert taken("First Group", group_index=2) == "1"
    assert taken("All Groups") == "a\nb\nB"
    assert taken("All Groups", group_index=9) == ""


# The table -----------------------------------------------------------------------------------------------------------


def test_the_table_knows_no_class_twice(tmp_path: Path) -> None:
    specs = load_registry(Settings(data_dir=tmp_path)).specs
    here = {spec.id for spec in core_table.here(specs)}
    absent = [name for names in core_table.missing(specs).values() for name in names]
    assert core_table.PARTIAL.keys() <= here
    assert not here & set(absent)
    assert len(absent) == len(set(absent))
    assert len(here) > 150


def test_nested_guidance_pulls_from_the_first_pull() -> None:
    values = {"positive": 2.0, "middle": 1.0, "negative": 0.5}
    conds = {role: Conditioning((Cond(torch.full((1, 1, 1), v)),)) for role, v in values.items()}

    class Told:
        def each(self, x: Tensor, sigma: float, asked: list[Cond]) -> Iterator[Tensor]:
            return iter([c.tokens.reshape(1, 1, 1, 1) for c in asked])

        levels = LEVELS

    guider = guiders.dual_cfg_guider(MODEL, *conds.values(), 3.0, 2.0, style="nested")
    guide = build(guider.kind, Told(), guider.conds, **guider.options)
    assert float(guide(torch.zeros(1, 1, 1, 1), 1.0)) == pytest.approx(0.5 + 2 * (1 + 3 * (2 - 1) - 0.5))
