"""What each published file is taken for, by a few keys of it with their true shapes, and what it is not."""

import contextlib
import re
from random import Random

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.diffusion import families
from engine.diffusion.families.base import WHOLE, Source, joined, open_source
from engine.diffusion.families.load import Place
from engine.diffusion.files import Header, Tensor
from engine.errors import BadFile
from tests.diffusion_models import modern

ALL = "model.diffusion_model."
T5_BIAS = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"


def source(tmp_path, shapes, prefix="", name="x"):
    header = Header({prefix + key: Tensor("BF16", shape) for key, shape in shapes.items()})
    path = tmp_path / f"{name}.safetensors"
    return Source(path, {WHOLE: header}, files={WHOLE: (path,)})


def sd3(width, inputs=16):
    return {
        "joint_blocks.0.context_block.attn.qkv.weight": (3 * width, width),
        "joint_blocks.0.context_block.adaLN_modulation.1.bias": (6 * width,),
        "x_embedder.proj.weight": (width, inputs, 2, 2), "pos_embed": (1, 36864, width),
        "context_embedder.weight": (width, 4096), "y_embedder.mlp.0.weight": (width, 2048),
        "t_embedder.mlp.2.weight": (width, width), "final_layer.linear.weight": (64, width),
    }  # fmt: skip


def flux(inputs=64, **more):
    return {
        "double_blocks.0.img_attn.norm.key_norm.scale": (128,), "img_in.weight": (3072, inputs),
        "single_blocks.0.linear1.weight": (21504, 3072), "txt_in.weight": (3072, 4096),
        "vector_in.in_layer.weight": (3072, 768), "final_layer.linear.weight": (64, 3072), **more,
    }  # fmt: skip


def qwen(**more):
    return {
        "txt_norm.weight": (3584,), "img_in.weight": (3072, 64), "txt_in.weight": (3072, 3584),
        "transformer_blocks.0.attn.add_q_proj.weight": (3072, 3072), "proj_out.weight": (64, 3072), **more,
    }  # fmt: skip


def wan(width, inputs=16, **more):
    return {
        "head.modulation": (1, 2, width), "patch_embedding.weight": (width, inputs, 1, 2, 2),
        "text_embedding.0.weight": (width, 4096), "time_embedding.0.weight": (width, 256),
        "blocks.0.ffn.0.weight": (8960, width), **more,
    }  # fmt: skip


FILES = {
    "SD3 medium": (sd3(1536), "sd3"),
    "SD3.5 large": (sd3(2432), "sd3"),
    "Flux.1 dev": (flux(**{"guidance_in.in_layer.weight": (3072, 256)}), "flux"),
    "Flux.1 schnell": (flux(), "flux"),
    "Qwen-Image": (qwen(), "qwen_image"),
    "Wan 2.1 1.3B": (wan(1536), "wan"),
    "Wan 2.2 14B": (wan(5120), "wan"),
}


@pytest.mark.parametrize("prefix", ["", ALL])
@pytest.mark.parametrize("name", FILES)
def test_published_files_are_recognised(tmp_path, name, prefix):
    shapes, expected = FILES[name]
    family, verdict = families.recognise(source(tmp_path, shapes, prefix))
    assert family.name == expected
    assert all(verdict.found)
    assert {"family", "layout", "own size"} <= {
        reason.entry for reason in family.card(source(tmp_path, shapes, prefix))
    }


OTHERS = {
    "SD3 with 32 inputs": (sd3(1536, 32), "x_embedder.proj.weight with 16 inputs"),
    "Flux.1 Fill": (flux(384), "384 inputs"),
    "Flux.1 Depth": (flux(128), "128 inputs"),
    "Chroma": (flux(**{"distilled_guidance_layer.in_proj.bias": (5120,),
                       "distilled_guidance_layer.in_proj.weight": (5120, 64)}), "Chroma"),
    "Flux.2": ({**flux(128), "single_stream_modulation.lin.weight": (18432, 6144)}, "Flux.2"),
    "Qwen-Image layered": (qwen(**{"time_text_embed.addition_t_embedding.weight": (2, 3072)}), "layers"),
    "Wan 2.1 picture to video": (wan(5120, 36, **{"img_emb.proj.0.weight": (1280,)}), "picture to video"),
    "Wan VACE": (wan(1536, **{"vace_blocks.0.after_proj.bias": (1536,)}), "VACE"),
    "Wan 2.2 5B": (wan(3072, 48), "48 inputs"),
    "DiT": ({"x_embedder.proj.weight": (1152, 4, 2, 2), "pos_embed": (1, 256, 1152), "t_embedder.mlp.2.weight": (1, 1),
             "y_embedder.embedding_table.weight": (1001, 1152)}, "unknown kind"),
    "AuraFlow": ({"double_layers.0.attn.w2q.weight": (3072, 3072), "cond_seq_linear.weight": (3072, 2048)},
                 "unknown kind"),
    "a lone time embedder": ({"t_embedder.mlp.2.weight": (3072, 3072)}, "unknown kind"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_relatives_and_strangers_are_unknown_and_the_sentence_says_why(tmp_path, name):
    shapes, sentence = OTHERS[name]
    with pytest.raises(BadFile, match="unknown kind") as error:
        families.recognise(source(tmp_path, shapes, ALL))
    assert sentence in error.value.message


CLIP_L = {"text_model.embeddings.token_embedding.weight": (49408, 768)}
CLIP_G = {"text_model.embeddings.token_embedding.weight": (49408, 1280)}
T5 = {"shared.weight": (32128, 4096), T5_BIAS: (32, 64)}
UMT5 = {"shared.weight": (256384, 4096), T5_BIAS: (32, 64), T5_BIAS.replace("block.0", "block.1"): (32, 64)}
QWEN = {
    "model.embed_tokens.weight": (152064, 3584), "model.layers.0.self_attn.q_proj.weight": (3584, 3584),
    "model.layers.0.self_attn.q_proj.bias": (3584,), "model.layers.0.mlp.gate_proj.weight": (18944, 3584),
    "model.layers.0.self_attn.k_proj.weight": (512, 3584), "visual.merger.ln_q.weight": (1280,),
}  # fmt: skip
TEXTS = {
    "flux": (CLIP_L, T5), "sd3": (CLIP_L, CLIP_G, T5), "sdxl": (CLIP_L, CLIP_G), "wan": (UMT5,), "qwen_image": (QWEN,),
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("turned", [False, True])
def test_text_encoders_of_their_own_name_the_family_in_any_order(tmp_path, name, turned):
    files = [source(tmp_path, shapes) for shapes in TEXTS[name]]
    family, _ = families.recognise(joined(files[::-1] if turned else files))
    assert family.name == name
    assert list(family.parts(joined(files))) == ["clip"]


KL = {"encoder.conv_in.weight": (128, 3, 3, 3), "decoder.mid.block_1.conv1.weight": (512, 512, 3, 3)}
LEVELS = {f"encoder.down.{i}.block.0.conv1.weight": (128, 128, 3, 3) for i in range(4)}
WAN_VAE = {"decoder.middle.0.residual.0.gamma": (384, 1, 1, 1), "encoder.conv1.weight": (96, 3, 3, 3, 3)}
VAES = {
    "ae": ({**KL, **LEVELS, "decoder.conv_in.weight": (512, 16, 3, 3)}, "vae", (0.3611, 0.1159)),
    "sd3_vae": ({**KL, **LEVELS, "decoder.conv_in.weight": (512, 16, 3, 3)}, "vae", (1.5305, 0.0609)),
    "sdxl_vae": ({**KL, **LEVELS, "decoder.conv_in.weight": (512, 4, 3, 3)}, "vae", (0.13025, 0.0)),
    "wan_2.1_vae": ({**WAN_VAE, "decoder.conv1.weight": (384, 16, 3, 3, 3)}, "video_vae", None),
}  # fmt: skip


@pytest.mark.parametrize("name", VAES)
def test_autoencoders_of_their_own(tmp_path, name):
    shapes, expected, latents = VAES[name]
    there = source(tmp_path, shapes, name=name)
    family, _ = families.recognise(there)
    assert family.name == expected
    entries = {reason.entry: reason.value for reason in family.card(there)}
    assert family.parts(there)["vae"].options["factor"] == entries["latent factor"] == 8
    if latents is not None:
        assert (entries["latent scale"], entries["latent shift"]) == latents


def test_the_autoencoder_of_wan_2_2_5b_is_unknown(tmp_path):
    with pytest.raises(BadFile, match="unknown kind"):
        families.recognise(source(tmp_path, {**WAN_VAE, "decoder.conv1.weight": (1024, 48, 3, 3, 3)}))


PUBLISHED = {
    "SD3.5 medium": ("sd3", {"num_layers": 24, "num_attention_heads": 24, "caption_projection_dim": 1536,
                             "joint_attention_dim": 4096, "pooled_projection_dim": 2048, "pos_embed_max_size": 384,
                             "dual_attention_layers": tuple(range(13)), "qk_norm": "rms_norm"}),
    "Flux.1 dev": ("flux", {"guidance_embeds": True}),
    "Qwen-Image": ("qwen_image", {}),
    "Wan 2.1 1.3B": ("wan", {"num_layers": 30, "num_attention_heads": 12, "ffn_dim": 8960}),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_config_read_from_shapes_is_the_published_one(name):
    """Of networks in full size, without memory for their weights, under published and under diffusers' names."""
    family, config = families.get(PUBLISHED[name][0]), PUBLISHED[name][1]
    with torch.device("meta"):
        network = family.network(**config)
    state = network.state_dict()
    for named in (state, modern.published(state, family.names(network.config))):
        found = family.config(Header({key: Tensor("BF16", tuple(t.shape)) for key, t in named.items()}), "")
        told = {k: tuple(v) if isinstance(v, list) else v for k, v in found.items() if k in network.config}
        assert told == {k: network.config[k] for k in told}


@pytest.mark.parametrize("kind", ["sd3", "flux dev", "qwen_image", "wan"])
def test_a_header_of_any_shapes_is_recognised_or_refused(tmp_path, kind):
    """Tensors go missing, change shape or take huge numbers into their names; never a crash, never a long loop."""
    family, random = families.get(modern.KINDS[kind].family), Random(kind)
    names = family.names(modern.networks(kind)["transformer"].config)
    whole = open_source(modern.write_file(tmp_path / "whole.safetensors", kind, names)).single
    signs = [key for key in whole if key.endswith(family.sign) or "conv1" in key or "relative_attention" in key]
    for _ in range(60):
        shapes = dict(whole.items())
        for key in random.sample(sorted(shapes), 3) + random.sample(signs, 1):
            shape = tuple(random.choice([0, 1, 4, 64, 1 << 40]) for _ in range(random.randrange(5)))
            match random.randrange(3):
                case 0:
                    shapes.pop(key, None)
                case 1:
                    shapes[key] = Tensor("F32", shape)
                case 2:
                    shapes[re.sub(r"\d+", "9" * random.choice([1, 4, 5000]), key, count=1)] = Tensor("F32", shape)
        changed = Source(tmp_path / "x.safetensors", {WHOLE: Header(shapes)})
        for name in ("", family.name):
            with contextlib.suppress(BadFile):
                found, _ = families.recognise(changed, name=name)
                assert found.name == family.name
                assert found.card(changed)
                assert found.parts(changed)


LOST = {
    "transformer_blocks.0.norm1.linear.bias": ("model", "transformer does not fit its file: 1 missing"),
    "encoder.block.1.layer.1.DenseReluDense.wo.weight": ("clip", "T5 encoder does not fit its file: 1 missing"),
    "encoder.block.0.layer.0.SelfAttention.q.weight": ("clip", "text encoder 2 lacks layers that its kind has"),
}


@pytest.mark.parametrize("key", LOST)
def test_what_is_missing_is_named(tmp_path, key):
    part, sentence = LOST[key]
    family, source = families.get("flux"), modern.write_file(tmp_path / "a.safetensors", "flux dev", {})
    state = {k: v for k, v in load_file(source).items() if not k.endswith(key)}
    save_file(state, tmp_path / "b.safetensors")
    with pytest.raises(BadFile, match=sentence):
        family.build(open_source(tmp_path / "b.safetensors"), part, Place())
