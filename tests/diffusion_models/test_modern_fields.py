"""PixArt, SANA and Z-Image: their conventions against a closed form, their names, and what tells their files apart."""

import json
import re
from types import SimpleNamespace

import pytest
import torch
from diffusers import DDPMScheduler, SanaTransformer2DModel

from engine.diffusion import families, schedules
from engine.diffusion.families.base import WHOLE, Source, open_source
from engine.diffusion.families.dc_ae import PUBLISHED
from engine.diffusion.families.load import Place
from engine.diffusion.families.names import renamed
from engine.diffusion.families.pixart_sigma import SCHEDULE, PixArt
from engine.diffusion.families.sana import INSTRUCTION, Sana
from engine.diffusion.families.unet import levels_of
from engine.diffusion.families.z_image import ZImage
from engine.diffusion.files import Header, Tensor
from engine.diffusion.levels import flow
from engine.diffusion.sample import sample
from engine.errors import BadFile, BadInput
from engine.types import Clip, Cond, Conditioning, Guider, Latent, Noise, Sampler
from nodes.basics.text import plain_reading
from tests.diffusion_models import modern, tiny
from tests.diffusion_models.test_modern import MODEL

pytestmark = pytest.mark.filterwarnings("ignore")  # pipelines warn of much that is not ours
MINE = ("pixart sigma", "pixart alpha", "sana", "z_image")
MEAN, SPREAD = 0.7, 0.4  # of the data, N(MEAN, SPREAD^2) in every value

# Closed forms in each network's own conventions ----------------------------------------------------------------------


class Field:
    """A module that answers with the ideal prediction for Gaussian data, and asks for what its network would."""

    use_additional_conditions = True
    config = SimpleNamespace(caption_channels=8, cap_feat_dim=8, timestep_scale=1.0)

    def __init__(self, way):
        self.way = getattr(self, way)

    def __call__(self, *args, **named):
        return self.way(*args, **named)

    def parameters(self):
        return iter([torch.zeros(1)])

    def sana(self, x, encoder_hidden_states, timestep, encoder_attention_mask, return_dict):
        return (velocity(x, timestep / 1000),)

    def z_image(self, frames, time, texts, return_dict):
        """Of 1 - s, and the other way round."""
        assert len(frames) == len(texts) == len(time)
        return ([-velocity(frame, 1 - t) for frame, t in zip(frames, time, strict=True)],)

    def pixart(self, x, encoder_hidden_states, timestep, encoder_attention_mask, added_cond_kwargs, return_dict):
        """Noise on DDPM's table, with as many variances behind it."""
        assert added_cond_kwargs["resolution"].tolist() == [[64.0, 32.0]] * len(x)
        assert added_cond_kwargs["aspect_ratio"].tolist() == [[2.0]] * len(x)
        kept = DDPMScheduler(beta_schedule="linear", beta_start=1e-4, beta_end=0.02).alphas_cumprod[timestep.long()]
        kept = kept[:, None, None, None]
        noise = (1 - kept).sqrt() * (x - kept.sqrt() * MEAN) / (kept * SPREAD**2 + 1 - kept)
        return (torch.cat([noise, torch.full_like(noise, 9.0)], 1),)


def velocity(x, s):
    """E[eps - x0 | x] at x = (1 - s) x0 + s eps."""
    s = s.reshape(-1, *[1] * (x.ndim - 1))
    centred = x - (1 - s) * MEAN
    return (s - (1 - s) * SPREAD**2) * centred / ((1 - s) ** 2 * SPREAD**2 + s**2) - MEAN


NETWORKS = {
    "pixart": lambda: PixArt(Field("pixart"), levels_of(SCHEDULE), 4),
    "sana": lambda: Sana(Field("sana"), flow(shift=3.0), 4, 32, 1),
    "z_image": lambda: ZImage(Field("z_image"), flow(shift=3.0), 4),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_denoiser_is_the_posterior_mean(kind):
    """In x = x0 + sigma eps it is m + s^2 / (s^2 + sigma^2) (x - m)."""
    network = NETWORKS[kind]()
    cond = Cond(torch.zeros(1, 3, 8), extra={"mask": torch.ones(1, 3)})
    for level in (1, 20, 300, 700, 990):
        sigma = network.levels.sigma(level)
        x = MEAN + (SPREAD**2 + sigma**2) ** 0.5 * torch.randn(2, 4, 8, 4)
        expected = MEAN + SPREAD**2 / (SPREAD**2 + sigma**2) * (x - MEAN)
        assert torch.allclose(network.denoiser(x, sigma, cond), expected, atol=2e-4)


@pytest.mark.parametrize("kind", NETWORKS)
def test_samples_have_the_marginal_of_the_data(kind):
    """The flow of Gaussian data is linear: noise e ends at m + s (sigma e - m) / sqrt(s^2 + sigma^2)."""
    network = NETWORKS[kind]()
    cond = Conditioning((Cond(torch.zeros(1, 3, 8)),))
    sigmas = schedules.get("karras")(network.levels, 60)
    latent = Latent(torch.zeros(1, 4, 8, 4), network.factor)
    guider = Guider("cfg", MODEL, {"positive": cond, "negative": cond}, {"scale": 1.0})
    found = sample(network, guider, Sampler("dpmpp_2m"), sigmas, latent, noise=Noise(3)).latent.samples
    start = sample(network, guider, Sampler("euler"), sigmas[:1], latent, noise=Noise(3)).latent.samples
    expected = MEAN + SPREAD * (start - MEAN) / (SPREAD**2 + float(sigmas[0]) ** 2) ** 0.5
    assert float((found - expected).abs().max()) < 0.01


def test_the_sizes_that_pixart_is_told_may_be_others():
    network = NETWORKS["pixart"]()
    told = torch.tensor([[64.0, 32.0, 0, 0, 1, 1, 6]])
    x = torch.randn(1, 4, 4, 4)
    network(x, torch.tensor([5.0]), Cond(torch.zeros(1, 3, 8), extra={"sizes": told}))
    with pytest.raises(AssertionError):
        network(x, torch.tensor([5.0]), Cond(torch.zeros(1, 3, 8)))


# Files ---------------------------------------------------------------------------------------------------------------


def header_of(kind, published=True):
    """The header of a kind's network alone, in its published or in diffusers' names."""
    state = modern.networks(kind)["transformer"].state_dict()
    if published:
        made = modern.KINDS[kind]
        names = families.get(made.family).names(modern.networks(kind)["transformer"].config)
        state = modern.published(state, names, made.same)
        state |= {key: torch.zeros(shape) for key, shape in made.unread.items()}
    return {key: Tensor("F32", tuple(value.shape)) for key, value in state.items()}


def source_of(header, tmp_path):
    return Source(tmp_path / "x.safetensors", {WHOLE: Header(header)})


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
@pytest.mark.parametrize("published", [True, False])
@pytest.mark.parametrize("kind", MINE)
def test_one_family_alone_takes_each_file(tmp_path, kind, published, prefix):
    source = source_of({prefix + key: tensor for key, tensor in header_of(kind, published).items()}, tmp_path)
    assert [f.name for f in families.all_families() if f.recognise(source).yes] == [modern.KINDS[kind].family]
    family = families.get(modern.KINDS[kind].family)
    card = {reason.entry: reason for reason in family.card(source)}
    assert card["layout"].value == f"single file, {'published' if published else 'diffusers'} names"
    assert card["prediction"].value == ("epsilon" if "pixart" in kind else "velocity")
    assert card["own size"].value == {"pixart sigma": 512 if published else 1024}.get(kind, 1024)
    assert family.config(source.single, prefix).items() >= {"_class_name": family.network.__name__}.items()
    assert list(family.parts(source)) == ["model"]


STRANGERS = {
    "captions of another length": ("pixart sigma", {"y_embedder.y_embedding": (77, 256)}, "captions of other than 300"),
    "alpha with long captions": ("pixart alpha", {"y_embedder.y_embedding": (300, 256)}, "csize_embedder"),
    "five channels": ("pixart sigma", {"x_embedder.proj.weight": (144, 5, 2, 2)}, "with 4 inputs"),
    "a ControlNet of PixArt": ("pixart sigma", {"controlnet.0.copied_block.x": (1,)}, "a ControlNet"),
    "SANA with little latents": ("sana", {"x_embedder.proj.weight": (224, 4, 1, 1)}, "with 32 inputs"),
    "SANA-Sprint": ("sana", {"cfg_embedder.mlp.0.weight": (1,)}, "an embedder of guidance"),
    "Z-Image Omni": ("z_image", {"siglip_embedder.1.weight": (1,)}, "siglip_embedder"),
    "a ControlNet of Z-Image": ("z_image", {"control_layers.0.x": (1,)}, "a ControlNet"),
    "Lumina 2": ("z_image", {"layers.0.adaLN_modulation.0.weight": None}, "no layers.0.adaLN_modulation.0.weight"),
}


@pytest.mark.parametrize("case", STRANGERS)
def test_strangers_are_named(tmp_path, case):
    kind, changes, sentence = STRANGERS[case]
    header = header_of(kind) | {key: shape and Tensor("F32", shape) for key, shape in changes.items()}
    source = source_of({key: tensor for key, tensor in header.items() if tensor}, tmp_path)
    if case == "alpha with long captions":
        assert families.get("pixart_alpha").recognise(source).yes  # the size embedders are alpha's alone
        source = source_of({k: t for k, t in source.single.items() if "csize" not in k}, tmp_path)
        assert families.recognise(source)[0].name == "pixart_sigma"
        return
    with pytest.raises(BadFile, match=f"unknown kind.*{re.escape(sentence)}"):
        families.recognise(source)


def test_layers_of_pixart_are_named_as_published():
    names = families.get("pixart_alpha").names({"num_layers": 1})
    block = [f"blocks.0.{name}" for name in (
        "scale_shift_table", "attn.qkv", "attn.proj", "cross_attn.q_linear", "cross_attn.kv_linear", "cross_attn.proj",
        "mlp.fc1", "mlp.fc2",
    )]  # fmt: skip
    embedders = [f"{name}_embedder.mlp.{i}" for name in ("t", "csize", "ar") for i in (0, 2)]
    captions = ["y_embedder.y_embedding", "y_embedder.y_proj.fc1", "y_embedder.y_proj.fc2"]
    ends = ["x_embedder.proj", "pos_embed", "t_block.1", "final_layer.linear", "final_layer.scale_shift_table"]
    assert sorted(names) == sorted([*block, *embedders, *captions, *ends])


def test_sana_1_5_norms_queries_and_keys(tmp_path):
    family = families.get("sana")
    made = SanaTransformer2DModel(
        num_attention_heads=7, num_cross_attention_heads=2, cross_attention_dim=224, num_layers=2, caption_channels=64,
        qk_norm="rms_norm_across_heads",
    )  # fmt: skip
    state = modern.published(made.state_dict(), family.names({"num_layers": 2}))
    assert {"blocks.1.attn.q_norm.weight", "blocks.1.cross_attn.k_norm.weight"} <= state.keys()
    back = renamed(state, family.names({"num_layers": 2}))
    assert back.keys() == made.state_dict().keys()
    assert all(torch.equal(back[key], value) for key, value in made.state_dict().items())
    header = Header({key: Tensor("F32", tuple(value.shape)) for key, value in state.items()})
    assert family.config(header, "")["qk_norm"] == "rms_norm_across_heads"


def test_sana_of_large_pictures_is_told_positions(tmp_path):
    made = SanaTransformer2DModel(
        num_attention_heads=7, num_cross_attention_heads=2, cross_attention_dim=224, num_layers=1, caption_channels=64,
        sample_size=64, interpolation_scale=1.0,
    ).eval()  # fmt: skip
    family = families.get("sana")
    state = modern.published(made.state_dict(), family.names({"num_layers": 1})) | {
        "pos_embed": torch.zeros(1, 4096, 1)
    }
    source = open_source(tiny.write_file(tmp_path / "2k.safetensors", state))
    network = family.build(source, "model", Place())
    x, cond = torch.randn(1, 32, 64, 64), Cond(torch.randn(1, 5, 64), extra={"mask": torch.ones(1, 5)})
    expected = made(x, cond.tokens, torch.tensor([500.0]), encoder_attention_mask=cond.extra["mask"]).sample
    assert torch.allclose(network(x, torch.tensor([500.0]), cond), expected, atol=1e-5)
    assert family.parts(source)["model"].options["size"] == 2048


def test_first_folders_of_pixart_name_their_network_otherwise(tmp_path):
    path = modern.write_folder(tmp_path / "old", "pixart alpha")
    config = json.loads((path / "transformer/config.json").read_text())
    del config["use_additional_conditions"]
    old = {**config, "_class_name": "Transformer2DModel", "num_vector_embeds": None, "double_self_attention": False}
    (path / "transformer/config.json").write_text(json.dumps(old))
    family, _ = families.recognise(open_source(path))
    assert family.name == "pixart_alpha"
    network = family.build(open_source(path), "model", Place())
    assert network.module.use_additional_conditions
    assert network.module.pos_embed.pos_embed.shape == (1, 64 * 64, 144)


def test_pixart_takes_no_shift_and_no_other_prediction():
    network = NETWORKS["pixart"]()
    assert network.configured({}) is network
    for options in ({"shift": 3.0}, {"prediction": "v"}):
        with pytest.raises(BadInput, match="remove the node"):
            network.configured(options)


# Text ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """Return texts(kind): the text encoder of a folder of its own."""
    root = tmp_path_factory.mktemp("texts")

    def of(kind):
        path = root / kind
        source = open_source(path if path.is_dir() else modern.write_folder(path, kind))
        return families.get(modern.KINDS[kind].family).build(source, "clip", Place())

    return of


def test_pixart_reads_small_letters_and_weights(texts):
    clip = texts("pixart alpha")
    plain, large, heavy = (clip.condition(text) for text in ("a zebra", "A Zebra", "a (zebra:1.5)"))
    assert plain.tokens.shape == (1, 120, 256)
    assert int(plain.extra["mask"].sum()) == 4  # a space, a letter, a word and the end
    assert torch.equal(plain.tokens, large.tokens)
    moved = (plain.tokens - heavy.tokens).abs().amax(-1)[0] > 1e-6
    assert moved.tolist() == [False, False, True, *[False] * 117]


def test_sana_reads_a_prompt_behind_its_instruction_and_nothing_without(texts):
    clip = texts("sana")
    told, bare, empty = clip.condition("a zebra"), clip.configured({"instructed": False}), clip.condition("")
    assert told.tokens.shape == empty.tokens.shape == (1, 300, 64)
    assert int(empty.extra["mask"].sum()) == 1  # the beginning
    states = bare.condition("a zebra")
    assert not torch.allclose(states.tokens[:, 1], told.tokens[:, 1], atol=1e-3)
    assert torch.equal(bare.condition("").tokens, empty.tokens)
    assert plain_reading(Clip("sana", MODEL.weights)).options == {"instructed": False}
    long = clip.condition("zebra " * 400)
    assert int(long.extra["mask"].sum()) == 300
    assert len(clip._ids(INSTRUCTION)) > 300


@pytest.mark.parametrize("damage", ["{", '{"model": {"type": "BPE"}}',
    '{"model": {"vocab": {"<bos>": 0, "<unk>": 1}, "merges": ["a b"]}, "added_tokens": []}'])  # fmt: skip
def test_a_damaged_gemma_tokenizer_is_a_sentence(tmp_path, damage):
    (tmp_path / "tokenizer.json").write_text(damage)
    with pytest.raises(BadFile, match=r"tokenizer"):
        families.get("sana").texts[0].tokens(tmp_path)


@pytest.mark.parametrize("kind", MINE)
def test_a_missing_tokenizer_is_said(tmp_path, kind):
    family = families.get(modern.KINDS[kind].family)
    path = modern.write_file(tmp_path / "x" / "y.safetensors", kind, {}, ("text_encoder",))
    for folder in (path.parent / "tokenizers").iterdir():
        folder.rename(tmp_path / folder.name)
    taken = families.recognise(open_source(path))[0].name
    assert taken == {"pixart alpha": "pixart_sigma"}.get(kind, family.name)  # T5 alone does not say which
    with pytest.raises(BadFile, match=r"Put the tokenizer.json of \S+ into the folder models/tokenizers/"):
        family.build(open_source(path), "clip", Place())


def test_odd_sides_of_z_image_are_refused():
    with pytest.raises(BadInput, match="multiples of 16 pixels"):
        NETWORKS["z_image"]()(torch.zeros(1, 4, 3, 4), torch.zeros(1), Cond(torch.zeros(1, 3, 8)))


# SANA's autoencoder --------------------------------------------------------------------------------------------------

DC_NAMES = (
    (r"(encoder|decoder)\.conv_in\.", r"\1.project_in.conv."), (r"encoder\.conv_out\.", "encoder.project_out.0.conv."),
    (r"decoder\.norm_out\.", "decoder.project_out.0."), (r"decoder\.conv_out\.", "decoder.project_out.2.conv."),
    (r"encoder\.down_blocks\.(\d)\.(\d)\.", r"encoder.stages.\1.op_list.\2.main."),
    (r"decoder\.up_blocks\.(\d)\.(\d)\.", r"decoder.stages.\1.op_list.\2.main."),
    (r"main\.attn\.to_out\.", "context_module.main.proj.conv."),
    (r"main\.attn\.norm_out\.", "context_module.main.proj.norm."),
    (r"main\.attn\.to_qkv_multiscale\.0\.proj_in\.", "context_module.main.aggreg.0.0."),
    (r"main\.attn\.to_qkv_multiscale\.0\.proj_out\.", "context_module.main.aggreg.0.1."),
    (r"main\.attn\.to_([qkv])\.weight", r"context_module.main.\1"),
    (r"main\.conv_out\.conv_(inverted|depth|point)\.", r"local_module.main.\1_conv.conv."),
    (r"main\.conv_out\.norm\.", "local_module.main.point_conv.norm."), (r"main\.conv([12])\.", r"main.conv\1.conv."),
    (r"main\.norm\.", "main.conv2.norm."), (r"main\.conv\.", "main.conv.conv."),
)  # fmt: skip
"""diffusers' names -> those that it was published with."""


def published_dc(state):
    found = {}
    for key, value in state.items():
        for ours, theirs in DC_NAMES:
            key = re.sub(ours, theirs, key)
        found[key] = value[:, :, None, None] if "proj.conv" in key else value
    for key in [k for k in found if k.endswith("context_module.main.q")]:
        parts = [found.pop(key[:-1] + name) for name in "qkv"]
        found[f"{key[:-1]}qkv.conv.weight"] = torch.cat(parts)[:, :, None, None]
    return found


@pytest.mark.parametrize("published", [True, False])
def test_dc_ae_loads_from_a_file_of_its_own(tmp_path, published):
    plain = modern.networks("sana")["vae"]
    state = published_dc(plain.state_dict()) if published else plain.state_dict()
    source = open_source(tiny.write_file(tmp_path / "dc.safetensors", {k: v.contiguous() for k, v in state.items()}))
    assert [f.name for f in families.all_families() if f.recognise(source).yes] == ["dc_ae"]
    family = families.get("dc_ae")
    built = family.build(source, "vae", Place())
    assert family.parts(source)["vae"].options == {"channels": 32, "factor": 4, "width": 32}
    assert {r.entry: r.value for r in family.card(source)}["latent scale"] == 0.41407
    assert (PUBLISHED in source.single) is published
    z = torch.randn(1, 32, 4, 4)
    expected = (plain.decode(z / 0.41407).sample / 2 + 0.5).clamp(0, 1).movedim(1, -1)
    assert torch.allclose(built.decode(z), expected, atol=1e-6)
    pixels = torch.rand(1, 16, 16, 3)
    latents = plain.encode(pixels.movedim(-1, 1) * 2 - 1).latent * 0.41407
    assert torch.allclose(built.encode(pixels), latents, atol=1e-6)


def test_a_dc_ae_without_a_level_is_a_sentence(tmp_path):
    state = {k: v for k, v in modern.networks("sana")["vae"].state_dict().items() if "up_blocks.1." not in k}
    source = open_source(tiny.write_file(tmp_path / "dc.safetensors", state))
    with pytest.raises(BadFile, match="no regular plan"):
        families.get("dc_ae").card(source)
