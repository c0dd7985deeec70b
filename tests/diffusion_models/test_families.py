"""Recognition by header, strict building, and the same numbers from every layout."""

import contextlib
import dataclasses
import functools
import itertools
import json
import re

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.diffusion import families
from engine.diffusion.families import clip_text, ldm, shapes
from engine.diffusion.families.autoencoder import build_autoencoder
from engine.diffusion.families.base import WHOLE, Source, open_source
from engine.diffusion.families.load import Place
from engine.diffusion.families.unet import levels_of
from engine.diffusion.files import Header, Tensor
from engine.diffusion.text import encode
from engine.errors import BadFile, BadInput, SfumatoError
from engine.types import Cond
from tests.diffusion_models import tiny

UNET = ldm.UNET


def file_of(tmp_path, **shapes):
    """A source whose header holds the given shapes."""
    named = {k.replace("__", "."): Tensor("F16", v) for k, v in shapes.items()}
    return Source(tmp_path / "x.safetensors", {WHOLE: Header(named)})


def sd(tmp_path, more=None, without=(), inputs=4, width=768):
    names = {
        f"{UNET}input_blocks.0.0.weight": (320, inputs, 3, 3),
        f"{UNET}input_blocks.1.1.proj_in.weight": (320, 320, 1, 1),
        f"{UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, width),
        "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": (49408, width),
        **(more or {}),
    }
    return file_of(tmp_path, **{k: v for k, v in names.items() if k not in without})


@pytest.mark.parametrize("inputs", [4, 8, 9])
def test_sd1_with_4_8_or_9_inputs_is_recognised(tmp_path, inputs):
    family, verdict = families.recognise(sd(tmp_path, inputs=inputs))
    assert family.name == "sd1"
    assert not verdict.against


STRANGERS = {
    "sdxl": (
        {f"{UNET}label_emb.0.0.weight": (1280, 2816), "conditioner.embedders.0.x": (1,)},
        "has added embeddings label_emb",
    ),
    "an OpenCLIP text encoder beside": (
        {"cond_stage_model.model.positional_embedding": (77, 1024)},
        "an OpenCLIP text encoder",
    ),
    "video": ({f"{UNET}input_blocks.0.0.weight": (320, 4, 3, 3, 3)}, "with 4, 8 or 9 inputs"),
    "seven inputs": ({f"{UNET}input_blocks.0.0.weight": (320, 7, 3, 3)}, "with 4, 8 or 9 inputs"),
}


@pytest.mark.parametrize("kind", STRANGERS)
def test_strangers_are_named_unknown_with_the_nearest(tmp_path, kind):
    more, sentence = STRANGERS[kind]
    with pytest.raises(BadFile) as error:
        families.recognise(sd(tmp_path, more))
    assert "unknown kind. Nearest are Stable Diffusion 1.x" in error.value.message
    assert sentence in error.value.message


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_header_of_any_shapes_is_recognised_or_refused(sources, data):
    """Tensors go missing, change shape or take huge numbers into their names; never a crash, never a long loop."""
    shapes = dict(sources[1].single.items())
    for key in data.draw(st.lists(st.sampled_from(sorted(shapes)), max_size=4)):
        shape = tuple(data.draw(st.lists(st.sampled_from([0, 1, 4, 64, 1 << 40]), max_size=5)))
        match data.draw(st.sampled_from(["drop", "reshape", "rename"])):
            case "drop":
                shapes.pop(key, None)
            case "reshape":
                shapes[key] = Tensor("F32", shape)
            case "rename":
                shapes[re.sub(r"\d+", "9" * data.draw(st.sampled_from([1, 4, 5000])), key, count=1)] = Tensor(
                    "F32", shape
                )
    source = dataclasses.replace(sources[1], headers={WHOLE: Header(shapes)})
    with contextlib.suppress(BadFile):
        family, _ = families.recognise(source)
        assert family.name == "sd1"
        assert family.card(source)
        assert family.parts(source)


def test_random_keys_are_nothing(tmp_path):
    with pytest.raises(BadFile, match="Nearest are none"):
        families.recognise(file_of(tmp_path, a=(1,), b=(2,)))


def test_every_family_is_found_and_orders_itself():
    names = [f.name for f in families.all_families()]
    assert [n for n in names if n in ("vae", "sdxl", "sd1", "sd2")] == ["sd1", "sd2", "sdxl", "vae"]
    assert families.get("sd1").title == "Stable Diffusion 1.x architecture"
    with pytest.raises(BadFile, match="known are"):
        families.get("sd9")


@pytest.fixture(scope="module")
def sources(models_dir):
    return [
        open_source(models_dir / "diffusers" / "tiny"),
        open_source(models_dir / "checkpoints/sub/tiny.safetensors"),
    ]


def test_both_layouts_hold_the_same_parts(sources):
    for source in sources:
        family, _ = families.recognise(source)
        parts = family.parts(source)
        assert list(parts) == ["model", "clip", "vae"]
        assert parts["model"].options == {"channels": 4, "factor": 2, "size": 8 * 2 if source.configs else 64 * 2}
        assert {r.entry for r in family.card(source)} >= {"family", "prediction", "latent channels", "text width"}
        assert all(r.why for r in family.card(source))


def test_both_layouts_give_the_numbers_of_the_plain_networks(sources):
    """Parity: a call of each network equals diffusers' and transformers' own call on the same weights."""
    unet, vae, text = tiny.networks()
    x, t, ctx = torch.randn(2, 4, 8, 8), torch.tensor([3.0, 700.0]), torch.randn(2, 77, 64)
    pixels, z = torch.rand(1, 8, 8, 3), torch.randn(1, 4, 4, 4)
    for source in sources:
        model, clip, ae = (families.get("sd1").build(source, part, Place()) for part in ("model", "clip", "vae"))
        assert torch.equal(model(x, t, Cond(ctx)), unet(x, t, ctx).sample)
        assert torch.equal(ae.decode(z), (vae.decode(z / 0.18215).sample / 2 + 0.5).clamp(0, 1).movedim(1, -1))
        latent = vae.encode(pixels.movedim(-1, 1) * 2 - 1).latent_dist.mean * 0.18215
        assert torch.allclose(ae.encode(pixels), latent, atol=1e-6)
        ids = torch.tensor([[49406, 320, 2368] + [49407] * 74])
        out = text(ids)
        encoded = encode(clip, "a cat")
        assert torch.allclose(encoded.tokens, out.last_hidden_state, atol=1e-6)
        assert torch.allclose(encoded.pooled, out.pooler_output, atol=1e-6)


def test_clip_skip_is_an_earlier_layer_with_the_final_norm(sources):
    clip = families.get("sd1").build(sources[0], "clip", Place())
    _, _, text = tiny.networks()
    ids = torch.tensor([[49406, 320, 2368] + [49407] * 74])
    hidden = text(ids, output_hidden_states=True).hidden_states[-2]
    assert torch.allclose(encode(clip, "a cat", skip=2).tokens, text.final_layer_norm(hidden), atol=1e-6)


def test_autoencoders_of_their_own_load_in_both_layouts(tmp_path):
    _, vae, _ = tiny.networks()
    z = torch.randn(1, 4, 4, 4)
    old_names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    old = {k: v for k, v in vae.state_dict().items() if "attentions" not in k}
    for key in vae.state_dict().keys() - old.keys():
        old[functools.reduce(lambda k, n: k.replace(*n), old_names.items(), key)] = vae.state_dict()[key]
    assert not any("to_q" in k for k in old)
    for name, state in (("ldm", tiny.vae_ldm_state(vae)), ("diffusers", vae.state_dict()), ("old", old)):
        source = open_source(tiny.write_file(tmp_path / f"{name}.safetensors", state))
        family, _ = families.recognise(source)
        assert family.name == "vae"
        built = family.build(source, "vae", Place())
        assert torch.equal(built.decode(z), (vae.decode(z / 0.18215).sample / 2 + 0.5).clamp(0, 1).movedim(1, -1))
        assert {"layout": "LDM" if name == "ldm" else "diffusers"}.items() <= {
            r.entry: r.value for r in family.card(source)
        }.items()


def test_missing_left_over_and_misshapen_weights_are_named(tmp_path):
    state = tiny.ldm_state()
    del state[f"{UNET}time_embed.0.bias"]
    source = open_source(tiny.write_file(tmp_path / "a.safetensors", state))
    with pytest.raises(BadFile, match=r"U-Net does not fit .*1 missing \(time_embedding.linear_1.bias"):
        families.get("sd1").build(source, "model", Place())
    state = tiny.ldm_state()
    state[f"{UNET}time_embed.0.bias"] = torch.zeros(5)
    source = open_source(tiny.write_file(tmp_path / "b.safetensors", state))
    with pytest.raises(BadFile, match="1 of another shape"):
        families.get("sd1").build(source, "model", Place())


def test_a_config_that_does_not_fit_is_a_sentence(tmp_path):
    folder = tiny.write_folder(tmp_path / "tiny")
    config = json.loads((folder / "unet/config.json").read_text())
    for change in ({"block_out_channels": [32]}, {"down_block_types": ["Nonsense"] * 2}, {"norm_num_groups": 7}):
        (folder / "unet/config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(BadFile, match="U-Net does not fit"):
            families.get("sd1").build(open_source(folder), "model", Place())


STRANGE = ("x", -1, 10**9)


@pytest.mark.filterwarnings("ignore:Initializing zero-element")
@pytest.mark.parametrize(("part", "component"), [("model", "unet"), ("vae", "vae"), ("clip", "text_encoder")])
def test_strange_configs_are_sentences_and_take_no_time(sources, monkeypatch, part, component):
    """Whatever one entry says: the part is built, or refused with a sentence."""
    family = families.get("sd1")
    monkeypatch.setattr(type(family), "_preview", lambda *args: None)
    tokenizer = clip_text.load_tokenizer(clip_text.CLIP_TOKENIZER)
    monkeypatch.setattr(clip_text, "load_tokenizer", lambda folder, pad=None: tokenizer)
    outcomes = []
    for name, value in itertools.product(sources[0].configs[component], STRANGE):
        configs = {**sources[0].configs, component: {**sources[0].configs[component], name: value}}
        changed = dataclasses.replace(sources[0], configs=configs)
        try:
            family.recognise(changed)
            family.card(changed)
            family.build(changed, part, Place())
        except SfumatoError as error:
            outcomes.append(error.message)
    assert len(outcomes) > 20
    assert max(map(len, outcomes)) < 700


def test_folders_and_files_without_what_they_need(tmp_path, sources):
    empty = tmp_path / "empty"
    (empty / "unet").mkdir(parents=True)
    (empty / "model_index.json").write_text('{"unet": ["diffusers", "UNet2DConditionModel"]}')
    with pytest.raises(BadFile, match="without safetensors weights"):
        open_source(empty)
    with pytest.raises(BadFile, match="lacks the tensor"):
        shapes.unet_config(sd(tmp_path).single)
    state = tiny.ldm_state()
    for key in [k for k in state if "input_blocks.1.0" in k and "out_layers.3" not in k]:
        del state[key]
    source = open_source(tiny.write_file(tmp_path / "a.safetensors", state))
    with pytest.raises(BadFile, match=r"missing \(down_blocks"):
        families.get("sd1").build(source, "model", Place())
    gone = dataclasses.replace(sources[1], files={WHOLE: (tmp_path / "gone.safetensors",)})
    with pytest.raises(BadFile, match="could not be read"):
        families.get("sd1").build(gone, "vae", Place())
    with pytest.raises(BadFile, match="class 'Other'"):
        build_autoencoder({"_class_name": "Other"}, {}, Place())


def test_an_inpainting_network_reads_its_picture_from_the_condition(tmp_path):
    state = tiny.ldm_state()
    key = f"{UNET}input_blocks.0.0.weight"
    state[key] = torch.cat([state[key], torch.randn(32, 5, 3, 3)], 1)
    source = open_source(tiny.write_file(tmp_path / "a.safetensors", state))
    model = families.get("sd1").build(source, "model", Place())
    x, t, tokens = torch.randn(1, 4, 8, 8), torch.tensor([9.0]), torch.randn(1, 77, 64)
    assert model.channels == 4
    with pytest.raises(BadInput, match="inpainting or editing model"):
        model(x, t, Cond(tokens))
    picture = torch.randn(1, 5, 8, 8)
    direct = model.module(torch.cat([x, picture], 1), t, tokens).sample
    assert torch.equal(model(x, t, Cond(tokens, extra={"concat": picture})), direct)


def test_the_scheduler_config_decides_prediction_and_levels(tmp_path):
    folder = tiny.write_folder(tmp_path / "v", scheduler={"prediction_type": "v_prediction", "beta_end": 0.02})
    network = families.get("sd1").build(open_source(folder), "model", Place())
    assert network.prediction == "v"
    assert network.levels.sigma_max > 20
    assert levels_of({"rescale_betas_zero_snr": True}).sigma_max > 1000
    assert levels_of({"beta_schedule": "linear", "num_train_timesteps": 100}).count == 100
    assert levels_of({"beta_schedule": "squaredcos_cap_v2"}).count == 1000
    assert levels_of({"trained_betas": [0.1, 0.2]}).count == 2
    with pytest.raises(BadFile, match="not known here"):
        levels_of({"beta_schedule": "other"})


def test_wrong_inputs_of_the_network_are_sentences(sources):
    model = families.get("sd1").build(sources[0], "model", Place())
    x, t = torch.zeros(1, 4, 8, 8), torch.tensor([1.0])
    with pytest.raises(BadInput, match="4 channels"):
        model(torch.zeros(1, 8, 8, 8), t, Cond(torch.zeros(1, 77, 64)))
    with pytest.raises(BadInput, match="text 64 wide, the conditioning is 32 wide"):
        model(x, t, Cond(torch.zeros(1, 77, 32)))


def test_the_preview_map_is_fitted_to_the_models_own_decoder(sources):
    model = families.get("sd1").build(sources[0], "model", Place())
    assert model.preview is not None
    assert model.preview.shape == (5, 3)
