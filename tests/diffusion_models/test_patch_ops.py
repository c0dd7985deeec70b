"""LoHa, LoKr and DoRA by formulas of their own in float64; SDXL's names for its layers; two text encoders in a file."""

import numpy as np
import pytest
import torch
from torch import nn

from engine.diffusion import families
from engine.diffusion.families.base import open_source
from engine.diffusion.families.load import Place
from engine.diffusion.patches import bake, key_table, read_lora
from engine.errors import BadFile
from tests.diffusion_models import zoo

SHAPES = {"linear": (12, 8), "point": (12, 8, 1, 1), "conv": (12, 8, 3, 3)}
ALPHA, RANK = 2.0, 4


class Layer(nn.Module):
    """One layer, called x."""

    def __init__(self, shape):
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.x = nn.Linear(1, 1)
        self.x.weight = nn.Parameter(torch.randn(shape, generator=generator), requires_grad=False)


def random(**shapes):
    generator = torch.Generator().manual_seed(2)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def change(shape, prefix="lycoris_", alpha=ALPHA, **tensors):
    """Return dW as the reader makes it, and the tensors in float64."""
    module = Layer(shape)
    file = {f"{prefix}x.{name}": tensor for name, tensor in tensors.items()}
    if alpha is not None:
        file[f"{prefix}x.alpha"] = torch.tensor(alpha)
    changes = read_lora(file, module, "unet")
    wide = {name.rpartition(".")[2] or name: t.double().numpy() for name, t in tensors.items()}
    return changes.deltas["x.weight"].numpy(), wide, module.x.weight.double().numpy()


@pytest.mark.parametrize("kind", SHAPES)
def test_loha_is_the_product_of_two_products(kind):
    shape = SHAPES[kind]
    inner = int(np.prod(shape[1:]))
    made = random(hada_w1_a=(12, RANK), hada_w1_b=(RANK, inner), hada_w2_a=(12, RANK), hada_w2_b=(RANK, inner))
    delta, t, _ = change(shape, **made)
    expected = ALPHA / RANK * (t["hada_w1_a"] @ t["hada_w1_b"]) * (t["hada_w2_a"] @ t["hada_w2_b"])
    assert np.allclose(delta, expected.reshape(shape), atol=1e-4)


def test_loha_in_tucker_form():
    core, sides = (RANK, RANK, 3, 3), {"a": (RANK, 12), "b": (RANK, 8)}
    made = random(hada_t1=core, hada_t2=core, **{f"hada_w{i}_{s}": sides[s] for i in (1, 2) for s in "ab"})
    delta, t, _ = change(SHAPES["conv"], **made)
    halves = []
    for i in (1, 2):
        half = np.zeros(SHAPES["conv"])
        for p in range(RANK):
            for q in range(RANK):
                outer = np.multiply.outer(t[f"hada_w{i}_a"][p], t[f"hada_w{i}_b"][q])
                half += outer[:, :, None, None] * t[f"hada_t{i}"][p, q]
        halves.append(half)
    assert np.allclose(delta, ALPHA / RANK * halves[0] * halves[1], atol=1e-3)


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("factored", ["none", "first", "second", "both"])
def test_lokr_is_a_kronecker_product(kind, factored):
    shape = SHAPES[kind]
    kernel = shape[2:]
    inner = 4 * int(np.prod(kernel))
    first = dict(lokr_w1_a=(3, RANK), lokr_w1_b=(RANK, 2)) if factored in ("first", "both") else dict(lokr_w1=(3, 2))
    second = dict(lokr_w2_a=(4, RANK), lokr_w2_b=(RANK, inner))
    if factored in ("none", "first"):
        second = dict(lokr_w2=(4, 4, *kernel))
    delta, t, _ = change(shape, **random(**first, **second))
    w1 = t["lokr_w1"] if "lokr_w1" in t else t["lokr_w1_a"] @ t["lokr_w1_b"]
    w2 = t["lokr_w2"] if "lokr_w2" in t else t["lokr_w2_a"] @ t["lokr_w2_b"]
    w2 = w2.reshape(4, 4, *kernel)
    expected = np.zeros(shape)
    for i in range(3):
        for j in range(2):
            expected[4 * i : 4 * i + 4, 4 * j : 4 * j + 4] = w1[i, j] * w2
    scale = 1 if factored == "none" else ALPHA / RANK
    assert np.allclose(delta, scale * expected, atol=1e-4)


def test_lokr_in_tucker_form():
    made = random(lokr_w1=(3, 2), lokr_t2=(RANK, RANK, 3, 3), lokr_w2_a=(RANK, 4), lokr_w2_b=(RANK, 4))
    delta, t, _ = change(SHAPES["conv"], **made)
    w2 = np.einsum("pqkl,po,qi->oikl", t["lokr_t2"], t["lokr_w2_a"], t["lokr_w2_b"])
    blocks = t["lokr_w1"][:, None, :, None, None, None] * w2[None, :, None]
    assert np.allclose(delta, ALPHA / RANK * blocks.reshape(12, 8, 3, 3), atol=1e-4)


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize(
    ("name", "by_input"), [("dora_scale", False), ("dora_scale", True), ("lora_magnitude_vector", False)]
)
def test_dora_sets_the_norm_of_every_output_or_input(kind, name, by_input):
    """Liu et al. 2024, eq. 5: W' = m (W + dW) / |W + dW|; at strength s the weight is W + s (W' - W)."""
    shape = SHAPES[kind]
    ends = (1,) * (len(shape) - 2)
    size = {("dora_scale", True): (1, 8, *ends), ("dora_scale", False): (12, 1, *ends)}.get((name, by_input), (12,))
    if name == "lora_magnitude_vector" and len(shape) == 4:
        size = (1, 12, 1, 1)  # as PEFT keeps that of a convolution
    made = random(**{"lora_down.weight": (RANK, *shape[1:]), "lora_up.weight": (12, RANK, *ends), name: size})
    made[name] = made[name].abs() + 0.1
    delta, _, weight = change(shape, **made)
    down, up, m = (made[k].double().numpy() for k in ("lora_down.weight", "lora_up.weight", name))
    moved = weight + (ALPHA / RANK * up.reshape(12, RANK) @ down.reshape(RANK, -1)).reshape(shape)
    axes = tuple(d for d in range(len(shape)) if d != int(by_input))
    result = weight + delta
    assert np.allclose(np.sqrt((result**2).sum(axes)), m.reshape(-1), atol=1e-5)
    cosine = (result * moved).sum(axes) / np.sqrt((result**2).sum(axes) * (moved**2).sum(axes))
    assert np.allclose(cosine, 1, atol=1e-6)


def test_a_fresh_dora_changes_nothing_and_its_strength_is_linear():
    module, shape = Layer((12, 8)), (12, 8)
    norm = module.x.weight.norm(dim=1, keepdim=True)
    fresh = {"lora_down.weight": torch.randn(RANK, 8), "lora_up.weight": torch.zeros(12, RANK), "dora_scale": norm}
    assert np.abs(change(shape, **fresh)[0]).max() < 1e-6
    trained = {f"lycoris_x.{k}": v for k, v in {**fresh, "dora_scale": 2 * norm}.items()}
    changes = read_lora(trained, module, "unet")
    half = bake(module, [(0.5, changes)])["x.weight"]
    assert torch.allclose(half, 1.5 * module.x.weight, atol=1e-6)


MISFITS = {
    "loha of another width": random(hada_w1_a=(12, 2), hada_w1_b=(2, 9), hada_w2_a=(12, 2), hada_w2_b=(2, 9)),
    "lokr that does not divide": random(lokr_w1=(5, 2), lokr_w2=(3, 4)),
    "lokr of rank 0": random(lokr_w1=(3, 2), lokr_w2_a=(4, 0), lokr_w2_b=(0, 4)),
    "a magnitude too long": random(**{"lora_down.weight": (2, 8), "lora_up.weight": (12, 2), "dora_scale": (13, 1)}),
    "not finite": {"diff": torch.full((12, 8), torch.nan)},
}


@pytest.mark.parametrize("kind", MISFITS)
def test_what_does_not_fit_is_reported(kind):
    if kind == "lokr of rank 0":
        assert not change((12, 8), **MISFITS[kind])[0].any()  # an empty product is no change
        return
    with pytest.raises(BadFile, match="1 of another shape"):
        change((12, 8), **MISFITS[kind])


def test_norms_of_lycoris_are_differences():
    module = nn.Module()
    module.norm = nn.LayerNorm(4)
    file = {"lycoris_norm.w_norm": torch.ones(4), "lycoris_norm.b_norm": torch.full((4,), 2.0)}
    deltas = read_lora(file, module, "unet").deltas
    assert {k: v.tolist() for k, v in deltas.items()} == {"norm.weight": [1.0] * 4, "norm.bias": [2.0] * 4}


# Names of SDXL --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory):
    folder = zoo.write_folder(tmp_path_factory.mktemp("sdxl") / "m", "sdxl")
    source, family = open_source(folder), families.get("sdxl")
    return {part: family.build(source, part, Place()).module for part in ("model", "clip")}


def lora(weight, rank=2):
    generator = torch.Generator().manual_seed(weight.numel())
    down = torch.randn(rank, *weight.shape[1:], generator=generator)
    return down, torch.randn(weight.shape[0], rank, *[1] * (weight.ndim - 2), generator=generator)


def test_a_unet_is_matched_by_ldm_and_by_diffusers_names(sdxl):
    """SDXL's LoRA name layers as the single file does; every layer of the file must be found under its own name."""
    unet = sdxl["model"]
    plain = {k.removesuffix(".weight"): k for k in unet.state_dict() if k.endswith(".weight")}
    in_file = [k.removesuffix(".weight") for k in zoo.unet_state(unet, "") if k.endswith(".weight")]
    table = key_table(unet)
    found = {table["_".join(k.split("."))] for k in in_file}
    assert found == set(plain.values())
    attention = "transformer_blocks.0.attn2.to_k"
    layers = {
        f"input_blocks.4.1.{attention}": f"down_blocks.1.attentions.0.{attention}",
        "output_blocks.2.2.conv": "up_blocks.0.upsamplers.0.conv",
        "label_emb.0.0": "add_embedding.linear_1",
    }
    for theirs, ours in layers.items():
        down, up = lora(unet.get_parameter(f"{ours}.weight"))
        for stem in (f"lora_unet_{theirs.replace('.', '_')}", f"lora_unet_{ours.replace('.', '_')}"):
            file = {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}
            delta = read_lora(file, unet, "unet").deltas[f"{ours}.weight"]
            assert torch.allclose(delta.flatten(1), up.flatten(1) @ down.flatten(1), atol=1e-4)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("lora_te1_text_model_", "lora_te2_text_model_"),
        ("text_encoder.text_model.", "text_encoder_2.text_model."),
        ("base_model.model.text_encoder.text_model.", "base_model.model.text_encoder_2.text_model."),
    ],
)
def test_each_text_encoder_takes_its_own(sdxl, first, second):
    layer, file = "encoder.layers.1.mlp.fc1", {}
    left, right = f"clip_l.{layer}.weight", f"clip_g.text_model.{layer}.weight"
    for prefix, name in ((first, left), (second, right)):
        stem = prefix + (layer.replace(".", "_") if prefix.endswith("_") else layer)
        down, up = lora(sdxl["clip"].get_parameter(name))
        file |= {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}
    changes = read_lora({**file, "bundle_emb.cat.clip_l": torch.zeros(1, 64)}, sdxl["clip"], "text")
    assert {name: d.shape for name, d in changes.deltas.items()} == {left: (64, 64), right: (64, zoo.WIDE)}


def test_a_lora_of_another_family_is_refused(sdxl):
    sd1 = zoo.networks("sd1")["unet"]
    file = {}
    for name, weight in sd1.named_parameters():
        if "attn2" in name and name.endswith("to_k.weight"):
            down, up = lora(weight)
            stem = "lora_unet_" + name.removesuffix(".weight").replace(".", "_")
            file |= {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}
    with pytest.raises(BadFile, match="for another model"):
        read_lora(file, sdxl["model"], "unet")
