"""LoRA of transformers: kohya's published names, with queries, keys and values in one, and diffusers' own names."""

import pytest
import torch
from torch import nn

from engine.diffusion import families, patches
from engine.diffusion.families.names import renamed
from engine.errors import BadFile
from tests.diffusion_models import modern

LAYERS = {
    "flux dev": ("double_blocks.0.img_attn.qkv", "double_blocks.0.txt_mlp.0", "single_blocks.1.linear1",
                 "single_blocks.0.linear2", "img_in", "guidance_in.in_layer"),
    "sd3": ("joint_blocks.0.x_block.attn.qkv", "joint_blocks.0.context_block.attn.qkv",
            "joint_blocks.0.x_block.mlp.fc1", "joint_blocks.1.context_block.adaLN_modulation.1",
            "joint_blocks.0.x_block.attn2.proj"),
    "wan": ("blocks.0.self_attn.q", "blocks.1.cross_attn.o", "blocks.0.ffn.2"),
}  # fmt: skip
LAYOUTS = {
    "kohya": lambda path: (f"lora_unet_{path.replace('.', '_')}", ".lora_down.weight", ".lora_up.weight"),
    "published": lambda path: (f"diffusion_model.{path}", ".lora_A.weight", ".lora_B.weight"),
}


def network(kind):
    """The tiny network with its published names, as the family builds it."""
    module = modern.networks(kind)["transformer"]
    names = families.get(modern.KINDS[kind].family).names(module.config)
    module.layers_elsewhere = names
    return module, names


def factors(weight, rank=3):
    return torch.randn(rank, weight.shape[1]), torch.randn(weight.shape[0], rank)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", LAYERS)
def test_a_published_lora_is_added_to_the_published_weights(kind, layout):
    """Theirs: added by hand to the published file, which is then read as any checkpoint is."""
    module, names = network(kind)
    before = module.state_dict()
    after, file = modern.published(before, names), {}
    for path in LAYERS[kind]:
        down, up = factors(after[f"{path}.weight"])
        stem, a, b = LAYOUTS[layout](path)
        file |= {stem + a: down, stem + b: up, f"{stem}.alpha": torch.tensor(1.5)}
        after[f"{path}.weight"] = after[f"{path}.weight"] + 1.5 / len(down) * up @ down
    expected = renamed(after, names, families.get(modern.KINDS[kind].family).leaves)
    changes = patches.read_lora(file, module, "unet")
    assert len(changes.report.matched) == len(LAYERS[kind])
    assert not changes.report.unmatched
    moved = {name for name, value in before.items() if not torch.equal(value, expected[name])}
    assert changes.deltas.keys() == moved
    for name in moved:
        assert torch.allclose(before[name] + changes.deltas[name], expected[name], atol=1e-5), name


@pytest.mark.parametrize("start", ["transformer.", "base_model.model.transformer.", "lora_transformer_", ""])
@pytest.mark.parametrize("kind", ["flux dev", "sd3", "qwen_image"])
def test_diffusers_names(kind, start):
    module, _ = network(kind)
    name = "transformer_blocks.0.attn.add_k_proj"
    down, up = factors(module.get_parameter(f"{name}.weight"))
    stem = start + (name.replace(".", "_") if start.endswith("_") else name)
    ends = ("lora_down", "lora_up") if start.endswith("_") else ("lora_A", "lora_B")
    file = {f"{stem}.{ends[0]}.weight": down, f"{stem}.{ends[1]}.weight": up, f"{start}no.such.lora_A.weight": down}
    changes = patches.read_lora(file, module, "unet")
    assert changes.deltas.keys() == {f"{name}.weight"}
    assert torch.allclose(changes.deltas[f"{name}.weight"], up @ down, atol=1e-5)
    assert "1 matched, 1 without a counterpart" in str(changes.report)


TEXTS = {
    "sd3": {"lora_te1_text_model_": "clip_l", "lora_te2_text_model_": "clip_g", "lora_te3_": "t5"},
    "flux dev": {"lora_te1_text_model_": "clip_l", "lora_te2_": "t5", "lora_te3_": "t5"},
}


@pytest.mark.parametrize("kind", TEXTS)
def test_text_encoders_by_their_number(kind):
    found = modern.networks(kind)
    texts = [network for component, network in found.items() if component.startswith("text_encoder")]
    names = ("clip_l", "t5") if len(texts) == 2 else patches.JOINED
    module = nn.ModuleDict(dict(zip(names, texts, strict=True)))
    for start, name in TEXTS[kind].items():
        wanted = "encoder.block.1.layer.0.SelfAttention.q" if name == "t5" else "encoder.layers.1.mlp.fc1"
        key = next(n for n, _ in module[name].named_parameters() if n.endswith(f"{wanted}.weight"))
        down, up = factors(module[name].get_parameter(key))
        stem = start + wanted.replace(".", "_")
        file = {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}
        assert patches.read_lora(file, module, "text").deltas.keys() == {f"{name}.{key}"}


def test_a_lora_of_another_family_is_refused_with_its_entries():
    module, _ = network("flux dev")
    stems = [f"lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_{n}" for n in "qkv"]
    file = {f"{s}.lora_{side}.weight": torch.ones(4, 4) for s in stems for side in ("down", "up")}
    with pytest.raises(BadFile, match=r"for another model: of 3 entries 0 matched, 3 without a counterpart"):
        patches.read_lora(file, module, "unet")
    wrong = {f"lora_unet_double_blocks_0_img_attn_qkv.lora_{s}.weight": torch.ones(4, 4) for s in ("down", "up")}
    with pytest.raises(BadFile, match="1 of another shape"):
        patches.read_lora(wrong, module, "unet")
