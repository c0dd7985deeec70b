"""Every Stable Diffusion family in every layout: recognised, carded, and with the numbers of the plain networks."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from engine.diffusion import families
from engine.diffusion.families.base import joined, open_source
from engine.diffusion.families.clip_text import CLIP_TOKENIZER, load_tokenizer
from engine.diffusion.families.load import Place
from engine.diffusion.families.unet import measured_prediction
from engine.errors import BadFile, BadInput
from engine.types import Cond
from tests.diffusion_models import tiny, zoo

LAYOUTS = ("folder", "file", "fp16", "bf16", "fp8")
STORED = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp8": torch.float8_e4m3fn}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Return source(kind, layout), each written once."""
    root, made = tmp_path_factory.mktemp("zoo"), {}

    def open_it(kind, layout):
        if (kind, layout) not in made:
            path = root / f"{kind}-{layout}"
            if layout == "folder":
                zoo.write_folder(path, kind)
            else:
                path = path.with_suffix(".safetensors")
                state = zoo.ldm_state(kind)
                save_file({k: v.to(STORED.get(layout, v.dtype)) for k, v in state.items()}, path)
            made[kind, layout] = open_source(path)
        return made[kind, layout]

    return open_it


def card_of(family, source):
    return {r.entry: r.value for r in family.card(source)}


@pytest.mark.parametrize("layout", ["folder", "file"])
@pytest.mark.parametrize("kind", zoo.KINDS)
def test_every_family_is_recognised_in_both_layouts(source, kind, layout):
    found, wanted = source(kind, layout), zoo.KINDS[kind]
    family, verdict = families.recognise(found)
    assert family.name == wanted.family
    assert not verdict.against
    assert [f.name for f in families.all_families() if f.recognise(found).yes] == [family.name]
    card = card_of(family, found)
    assert card["input channels"] == wanted.unet.get("in_channels", 4)
    assert card["latent scale"] == wanted.scale
    assert card["text width"] == wanted.unet["cross_attention_dim"]
    assert card["parts"] == "model, clip, vae"
    assert all(r.why for r in family.card(found))
    if layout == "folder" or kind != "sd2 eps":
        assert card["prediction"] == wanted.scheduler.get("prediction_type", "epsilon")


@pytest.mark.parametrize("layout", ["folder", "file"])
@pytest.mark.parametrize("kind", zoo.KINDS)
def test_unets_and_autoencoders_give_the_numbers_of_the_plain_networks(source, kind, layout):
    found, plain = source(kind, layout), zoo.networks(kind)
    family, _ = families.recognise(found)
    unet, vae = (family.build(found, part, Place()) for part in ("model", "vae"))
    config = zoo.KINDS[kind].unet
    x, t = torch.randn(2, config.get("in_channels", 4), 8, 8), torch.tensor([3.0, 700.0])
    cond = Cond(torch.randn(2, 77, config["cross_attention_dim"]), torch.randn(2, zoo.WIDE))
    concat = {"concat": x[:, 4:]} if x.shape[1] > 4 else {}
    numbers = [[16, 16, 0, 0, 16, 16], [16, 16, 0, 0, 6]][kind == "sdxl refiner"]
    added = {"text_embeds": cond.pooled, "time_ids": torch.tensor([numbers] * 2, dtype=torch.float32)}
    expected = plain["unet"](x, t, cond.tokens, added_cond_kwargs=added).sample
    assert torch.equal(unet(x[:, :4], t, Cond(cond.tokens, cond.pooled, extra=concat)), expected)
    z = torch.randn(1, 4, 4, 4)
    pixels = (plain["vae"].decode(z / zoo.KINDS[kind].scale).sample / 2 + 0.5).clamp(0, 1).movedim(1, -1)
    assert torch.equal(vae.decode(z), pixels)


@pytest.mark.parametrize("layout", ["folder", "file"])
@pytest.mark.parametrize("kind", ["sd1", "sd2 v", "sdxl", "sdxl refiner"])
def test_text_encoders_read_as_the_family_does(source, kind, layout):
    """SD 2.x: the last layer but one with the final norm; SDXL: without it, pooled by the second and projected."""
    found, plain = source(kind, layout), zoo.networks(kind)
    family, _ = families.recognise(found)
    clip = family.build(found, "clip", Place())
    prompt, states, pooled = "a (photo) of a zebra", [], None
    for component, (_, layout_of_keys, _) in zoo.KINDS[kind].texts.items():
        tokenizer = load_tokenizer(CLIP_TOKENIZER, pad=0 if layout_of_keys == "open_clip" else None)
        ids = tokenizer("a photo of a zebra", padding="max_length", max_length=77, return_tensors="pt").input_ids
        out = plain[component](ids, output_hidden_states=True)
        states.append(out.hidden_states[-2] if "sdxl" in kind else out.last_hidden_state)
        pooled = out.text_embeds if component == "text_encoder_2" else out.pooler_output
    cond = clip.condition(prompt.replace("(", "").replace(")", ""))
    assert torch.allclose(cond.tokens, torch.cat(states, -1), atol=1e-5)
    assert torch.allclose(cond.pooled, pooled, atol=1e-5)
    assert clip.condition(prompt).tokens.shape == cond.tokens.shape


@pytest.mark.parametrize("layout", ["fp16", "bf16", "fp8"])
def test_narrow_files_load_as_their_values_are(source, layout):
    found = source("sdxl", layout)
    family, _ = families.recognise(found)
    unet = family.build(found, "model", Place())
    wanted = zoo.networks("sdxl")["unet"].conv_in.weight.to(STORED[layout]).float()
    assert torch.equal(unet.module.conv_in.weight, wanted)
    assert {"fp16": "F16", "bf16": "BF16", "fp8": "F8_E4M3"}[layout] in card_of(family, found)["stored as"]


def test_scaled_float8_is_scaled_back(tmp_path):
    state, key = zoo.ldm_state("sd1"), "model.diffusion_model.time_embed.0"
    plain = state[f"{key}.weight"]
    state[f"{key}.weight"] = (plain / 0.01).to(torch.float8_e4m3fn)
    state |= {f"{key}.scale_weight": torch.tensor(0.01), "model.diffusion_model.scaled_fp8": torch.zeros(2)}
    found = open_source(tiny.write_file(tmp_path / "scaled.safetensors", state))
    unet = families.get("sd1").build(found, "model", Place())
    assert torch.allclose(unet.module.time_embedding.linear_1.weight, plain, rtol=0.1, atol=1e-3)


def parts_apart(tmp_path, kind):
    """Write U-Net (LDM and diffusers keys) and text encoders into files of their own, as people download them."""
    found = zoo.networks(kind)
    files = {
        "unet ldm": zoo.unet_state(found["unet"], ""),
        "unet prefixed": zoo.unet_state(found["unet"], "model.diffusion_model."),
        "unet diffusers": found["unet"].state_dict(),
    }
    for component in zoo.KINDS[kind].texts:
        state = found[component].state_dict()
        files[component] = {k if k.startswith("text_") else f"text_model.{k}": v for k, v in state.items()}
    return {name: open_source(tiny.write_file(tmp_path / f"{name}.safetensors", dict(state)))
            for name, state in files.items()}  # fmt: skip


def real_widths(monkeypatch, **widths):
    """Let the detectors of parts in files of their own, which know real widths only, take tiny ones."""
    for name, width in widths.items():
        monkeypatch.setattr(f"engine.diffusion.families.{name.replace('__', '.')}", width)


@pytest.mark.parametrize("layout", ["ldm", "prefixed", "diffusers"])
@pytest.mark.parametrize(("kind", "family"), [("sd1", "sd1"), ("sd2 v", "sd2")])
def test_a_unet_in_a_file_of_its_own(tmp_path, monkeypatch, kind, family, layout):
    real_widths(monkeypatch, **{f"{family}__WIDTH": 64})
    found = parts_apart(tmp_path, kind)[f"unet {layout}"]
    recognised, _ = families.recognise(found)
    assert recognised.name == family
    assert list(recognised.parts(found)) == ["model"]
    unet, x, tokens = recognised.build(found, "model", Place()), torch.randn(1, 4, 8, 8), torch.randn(1, 5, 64)
    expected = zoo.networks(kind)["unet"](x, torch.tensor([9.0]), tokens).sample
    assert torch.allclose(unet(x, torch.tensor([9.0]), Cond(tokens)), expected, atol=1e-5)


def test_both_text_encoders_of_sdxl_in_files_of_their_own(tmp_path, monkeypatch):
    found, family = parts_apart(tmp_path, "sdxl"), families.get("sdxl")
    texts = [replace(t, width=width) for t, width in zip(family.traits.texts, (64, zoo.WIDE), strict=True)]
    monkeypatch.setattr(family, "traits", replace(family.traits, texts=tuple(texts)))
    whole = zoo.write_folder(tmp_path / "whole", "sdxl")
    expected = family.build(open_source(whole), "clip", Place()).condition("a photo of a zebra")
    for pair in (("text_encoder", "text_encoder_2"), ("text_encoder_2", "text_encoder")):
        source = joined([found[name] for name in pair])
        recognised, _ = families.recognise(source)
        assert recognised.name == "sdxl"
        assert list(recognised.parts(source)) == ["clip"]
        cond = recognised.build(source, "clip", Place()).condition("a photo of a zebra")
        assert torch.allclose(cond.tokens, expected.tokens, atol=1e-5)
        assert torch.allclose(cond.pooled, expected.pooled, atol=1e-5)
    with pytest.raises(BadFile):
        families.recognise(joined([found["text_encoder"], found["unet ldm"]]))
    with pytest.raises(BadFile, match="not folders"):
        joined([open_source(whole), found["text_encoder"]])


def test_what_no_file_says_is_measured(source):
    """A network that gives its input back predicts eps; one that gives something else predicts v."""
    family, _ = families.recognise(source("sd2 eps", "file"))
    assert card_of(family, source("sd2 eps", "file"))["prediction"] == "measured"
    unet = family.build(source("sd2 eps", "file"), "model", Place())
    assert unet.prediction == "v"  # what random weights give has nothing to do with the input

    class Echo(torch.nn.Module):
        config = unet.module.config
        conv_in = unet.module.conv_in

        def forward(self, x, *args, **kwargs):
            return (x[:, :4] + 0.3 * torch.randn_like(x[:, :4]),)

    assert measured_prediction(replace(unet, module=Echo())) == "eps"


def test_what_people_say_overrides_the_file(source):
    family, _ = families.recognise(source("sd1", "file"))
    unet, vae = (family.build(source("sd1", "file"), part, Place()) for part in ("model", "vae"))
    told = unet.configured({"prediction": "v", "zero_snr": True, "channels": 4})
    assert (told.prediction, unet.prediction) == ("v", "eps")
    assert told.levels.sigma_max > 1000 > unet.levels.sigma_max
    assert unet.configured({"channels": 4}) is unet
    z = torch.randn(1, 4, 4, 4)
    assert torch.allclose(vae.configured({"latents": "sdxl"}).decode(z), vae.decode(z * 0.18215 / 0.13025), atol=1e-6)
    assert families.recognise(source("sdxl", "file"), name="sd1")[0].name == "sd1"


def test_sdxl_reads_the_sizes_that_it_is_told(source):
    family, _ = families.recognise(source("sdxl", "file"))
    unet, plain = family.build(source("sdxl", "file"), "model", Place()), zoo.networks("sdxl")["unet"]
    x, t, cond = (
        torch.randn(1, 4, 8, 8),
        torch.tensor([9.0]),
        Cond(torch.randn(1, 77, 64 + zoo.WIDE), torch.randn(1, zoo.WIDE)),
    )
    sizes = torch.tensor([[100.0, 200, 3, 4, 110, 210, 6]])
    added = {"text_embeds": cond.pooled, "time_ids": sizes[:, :6]}
    expected = plain(x, t, cond.tokens, added_cond_kwargs=added).sample
    assert torch.allclose(unet(x, t, replace(cond, extra={"sizes": sizes})), expected, atol=1e-3)
    assert not torch.allclose(unet(x, t, cond), expected, atol=1e-2)
    for pooled in (None, torch.randn(1, 7)):
        with pytest.raises(BadInput, match="pooled text state"):
            unet(x, t, replace(cond, pooled=pooled))
