"""The ready-made text-to-image workflow on every family with transformers: in one file, in files apart, in bfloat16."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import nodes
from engine.context import Context
from engine.diffusion import families
from engine.diffusion.device import ModelManager
from engine.diffusion.families.text_parts import ClipPart
from engine.diffusion.residency import HELD_MIN
from engine.errors import BadFile, BadInput
from nodes.basics import load
from nodes.basics.flow import embedded_guidance, shift_levels
from nodes.basics.latent_source import empty_latent
from nodes.basics.sampling import sample
from nodes.basics.sampling_custom import sigmas
from nodes.basics.text import encode_text
from nodes.basics.vae import vae_decode, vae_encode
from tests.diffusion_models import modern

WORKFLOW = json.loads((Path(nodes.__path__[0]) / "basics" / "text_to_image.json").read_text())
TOLD = {k: v for k, v in WORKFLOW["nodes"]["sampler"]["inputs"].items() if not isinstance(v, list)}
APART = ("sd3", "flux dev", "qwen_image", "wan")
WHOLE = [kind for kind, made in modern.KINDS.items() if "vae" in made.prefixes]  # published with all parts in one file


@pytest.fixture(scope="module")
def ctx(tmp_path_factory):
    root = tmp_path_factory.mktemp("graph")
    models = root / "models"
    for folder in ("checkpoints", "unet", "text_encoders", "vae"):
        (models / folder).mkdir(parents=True)
    return Context(models=ModelManager(models, root / "data", embedded=root))


def written(ctx, kind, folder="checkpoints", components=()):
    """Write a file of a kind with some of its components, without prefixes if it is one, and return its name."""
    models = ctx.models.library.models_dir
    path = models / folder / f"{kind} {'+'.join(components)}.safetensors"
    if not path.is_file():
        names = families.get(modern.KINDS[kind].family).names(modern.networks(kind)["transformer"].config)
        modern.write_file(path, kind, names, components)
        if components:
            prefix = modern.KINDS[kind].prefixes[components[0]]
            save_file({k.removeprefix(prefix): v for k, v in load_file(path).items()}, path)
        tokenizers = path.parent / "tokenizers"
        if not (models / "tokenizers").is_dir():
            tokenizers.rename(models / "tokenizers")
    return path.name


def picture(ctx, model, clip, vae, like=None):
    """Run the workflow's nodes with its own settings, but for a small picture and few steps."""
    positive, negative = (encode_text(ctx, clip, text) for text in ("a red car on a beach", ""))
    side = 2 * modern.SIDE * int(vae.options["factor"])
    latent = empty_latent(like or model, side, side // 2)
    done = sample(ctx, model, positive, negative, latent, **{**TOLD, "steps": 2})
    return vae_decode(ctx, done, vae).pixels


@pytest.mark.parametrize("kind", WHOLE)
def test_the_workflow_runs_unchanged(ctx, kind):
    found = load.load_checkpoint(ctx, written(ctx, kind))
    pixels = picture(ctx, *found)
    side = 2 * modern.SIDE * int(found.vae.options["factor"])
    assert pixels.shape == (1, side // 2, side, 3)
    assert float(pixels.std()) > 0.01
    assert f"family: {families.get(modern.KINDS[kind].family).title}" in load.model_card(ctx, found.model)


@pytest.fixture
def narrow(monkeypatch):
    """Let families know their CLIPs, in files of their own, by the tiny widths."""

    def of(kind):
        family, found = families.get(modern.KINDS[kind].family), modern.networks(kind)
        clips = {t: {"width": found[t.folder].config.hidden_size} for t in family.texts if isinstance(t, ClipPart)}
        texts = tuple(replace(text, **clips.get(text, {})) for text in family.texts)
        monkeypatch.setattr(type(family), "texts", texts)
        return texts

    return of


@pytest.mark.parametrize("kind", APART)
def test_parts_in_files_of_their_own_are_the_same_model(ctx, kind, narrow):
    files = [written(ctx, kind, "text_encoders", (text.folder,)) for text in narrow(kind)]
    whole = load.load_checkpoint(ctx, written(ctx, kind))
    model = load.load_diffusion_model(ctx, written(ctx, kind, "unet", ("transformer",)))
    clip = load.load_clip(ctx, *files)
    vae = load.load_vae(ctx, written(ctx, kind, "vae", ("vae",)), {"flux dev": "flux"}.get(kind, "auto"))
    assert (model.family, clip.family) == (whole.model.family, whole.clip.family)
    assert torch.allclose(picture(ctx, model, clip, vae, whole.model), picture(ctx, *whole), atol=1e-5)
    latent = empty_latent(whole.model, 32, 32)
    assert vae_encode(ctx, vae_decode(ctx, latent, vae), vae).samples.shape == latent.samples.shape


def test_what_flow_models_are_told(ctx):
    found = load.load_checkpoint(ctx, written(ctx, "flux dev"))
    side = 2 * 16 * int(found.vae.options["factor"])
    small, large = (empty_latent(found.model, s, s) for s in (side, 4 * side))
    first = [float(sigmas(ctx, found.model, "simple", 4, latent=latent).values[1]) for latent in (small, large)]
    assert first[0] == pytest.approx(3 * 1.6487212707001282)  # s = 3/4 and exp(mu), mu 0.5 at 256 tokens
    assert first[1] == pytest.approx(3 * 3.1581929096897685)  # mu 1.15 at 4096
    shifted = shift_levels(ctx, found.model, 2.0)
    assert float(sigmas(ctx, shifted, "simple", 4, latent=large).values[1]) == pytest.approx(6.0)
    words = encode_text(ctx, found.clip, "a red car")
    begun = empty_latent(found.model, 32, 32)
    plain, same, other = (
        sample(ctx, found.model, told, None, begun, steps=1).samples
        for told in (words, embedded_guidance(words, 3.5), embedded_guidance(words, 7.0))
    )
    assert torch.equal(plain, same)
    assert not torch.equal(plain, other)
    with pytest.raises(BadInput, match="multiples of 4 pixels, got 6 x 4"):
        sample(ctx, found.model, words, None, empty_latent(found.model, 6, 4), steps=1)


def test_a_table_is_not_shifted(ctx):
    found = load.load_checkpoint(ctx, written(ctx, "pixart sigma"))
    with pytest.raises(BadInput, match="Only the noise levels of flow models"):
        shift_levels(ctx, found.model, 2.0)


@pytest.mark.parametrize("kind", ["flux dev", "qwen_image", "wan", "z_image"])
def test_weights_keep_their_format_until_they_are_used(ctx, kind):
    models = ctx.models.library.models_dir
    whole = load_file(models / "checkpoints" / written(ctx, kind))
    save_file({k: v.bfloat16() for k, v in whole.items()}, models / "checkpoints" / "narrow.safetensors")
    found, full = (load.load_checkpoint(ctx, name) for name in ("narrow.safetensors", written(ctx, kind)))
    with ctx.models.use(found.model) as network:
        large = [p for p in network.module.parameters() if p.ndim == 2 and p.numel() >= HELD_MIN]
        assert torch.bfloat16 in {p.dtype for p in large}
        assert {p.dtype for p in network.module.parameters() if p.ndim == 1} == {torch.float32}
    narrow, wide = picture(ctx, *found), picture(ctx, *full)
    assert 0 < float((narrow - wide).norm() / wide.norm()) < 0.1


def test_a_missing_tokenizer_is_asked_for_by_name(ctx):
    found = load.load_checkpoint(ctx, written(ctx, "wan"))
    models = ctx.models.library.models_dir
    apart = models.parent / "elsewhere" / "models" / "checkpoints"
    apart.mkdir(parents=True)
    (apart / "wan.safetensors").write_bytes((models / "checkpoints" / found.model.weights.name).read_bytes())
    lonely = Context(models=ModelManager(apart.parent, models.parent / "data2", embedded=models))
    clip = load.load_checkpoint(lonely, "wan.safetensors").clip
    with pytest.raises(BadFile, match=r"tokenizer.json of google/umt5-xxl into the folder models/tokenizers/umt5"):
        encode_text(lonely, clip, "a")


def test_a_lora_is_laid_over_the_network_and_its_texts(ctx):
    found, models = load.load_checkpoint(ctx, written(ctx, "flux dev")), ctx.models.library.models_dir
    (models / "loras").mkdir()
    sides = {
        "lora_unet_double_blocks_0_img_attn_qkv": (128, 384),
        "lora_te1_text_model_encoder_layers_0_mlp_fc1": (64, 64),
        "lora_te3_encoder_block_0_layer_0_SelfAttention_q": (256, 32),
    }
    file = {f"{stem}.lora_down.weight": torch.randn(2, inputs) for stem, (inputs, _) in sides.items()}
    file |= {f"{stem}.lora_up.weight": torch.randn(outputs, 2) for stem, (_, outputs) in sides.items()}
    save_file(file, models / "loras" / "a.safetensors")
    laid = load.load_lora(ctx, found.model, found.clip, "a.safetensors")
    assert laid.report == "Model: 1 matched.\nText encoder: 2 matched."
    plain, changed = (encode_text(ctx, clip, "a red car").conds[0] for clip in (found.clip, laid.clip))
    assert not torch.equal(plain.tokens, changed.tokens)
    assert not torch.equal(plain.pooled, changed.pooled)
    assert not torch.equal(picture(ctx, laid.model, laid.clip, found.vae), picture(ctx, *found))
