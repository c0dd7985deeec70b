"""LoRA in every layout is the same change; it is added exactly, and leaves no trace."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.diffusion import patches
from engine.diffusion.patches import bake, read_delta, read_lora, swapped
from engine.errors import BadFile
from tests.diffusion_models import tiny

ATTENTION = "down_blocks.0.attentions.0.transformer_blocks.0.attn2"
LINEAR, OUT = f"{ATTENTION}.to_k", f"{ATTENTION}.to_out.0"
CONV, POINT = "down_blocks.0.resnets.0.conv1", "down_blocks.0.attentions.0.proj_in"
FC = "encoder.layers.1.mlp.fc1"


@pytest.fixture(scope="module")
def unet():
    return tiny.networks()[0]


@pytest.fixture(scope="module")
def text():
    return tiny.networks()[2]


def factors(module, path, rank=4, seed=0):
    """Random down, up of a layer; convolutions as LoCon stores them."""
    weight = module.get_parameter(f"{path}.weight")
    generator = torch.Generator().manual_seed(seed)
    down = torch.randn(rank, *weight.shape[1:], generator=generator)
    up = torch.randn(weight.shape[0], rank, *[1] * (weight.ndim - 2), generator=generator)
    return down, up


def by_hand(down, up, alpha=None):
    product = torch.einsum("or,ri->oi", up.flatten(1).double(), down.flatten(1).double())
    scale = 1 if alpha is None else alpha / down.shape[0]
    return (scale * product).float().reshape(up.shape[0], *down.shape[1:])


def kohya(path, component="unet"):
    name = path.replace(".", "_")
    stem = f"lora_unet_{name}" if component == "unet" else f"lora_te_text_model_{name}"
    return f"{stem}.lora_down.weight", f"{stem}.lora_up.weight", f"{stem}.alpha"


LAYOUTS = {
    "kohya": lambda p: kohya(p),
    "peft": lambda p: (f"base_model.model.{p}.lora_A.weight", f"base_model.model.{p}.lora_B.weight", ""),
    "peft adapter": lambda p: (f"unet.{p}.lora_A.default.weight", f"unet.{p}.lora_B.default.weight", ""),
    "diffusers": lambda p: (f"unet.{p}.lora.down.weight", f"unet.{p}.lora.up.weight", ""),
    "linear layer": lambda p: (f"unet.{p}.lora_linear_layer.down.weight", f"unet.{p}.lora_linear_layer.up.weight", ""),
    "old diffusers": lambda p: tuple(
        f"unet.{p.removesuffix('.0').rpartition('.')[0]}.processor.{p.removesuffix('.0').rpartition('.')[2]}_lora.{s}.weight"
        for s in ("down", "up")
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_the_same_change(unet, layout):
    file, expected = {}, {}
    for path in (LINEAR, OUT) if layout == "old diffusers" else (LINEAR, OUT, CONV, POINT):
        down, up = factors(unet, path)
        names = LAYOUTS[layout](path)
        file |= {names[0]: down, names[1]: up}
        expected[f"{path}.weight"] = by_hand(down, up)
    changes = read_lora(file, unet, "unet")
    assert changes.deltas.keys() == expected.keys()
    for name, delta in expected.items():
        assert torch.allclose(changes.deltas[name], delta, atol=1e-5)
    assert len(changes.report.matched) == len(expected)
    assert str(changes.report) == f"{len(expected)} matched"


def test_alpha_scales_and_no_alpha_is_the_rank(unet):
    down, up = factors(unet, LINEAR)
    d, u, a = kohya(LINEAR)
    plain = read_lora({d: down, u: up}, unet, "unet").deltas[f"{LINEAR}.weight"]
    for alpha in (4.0, 1.0, 0.0):
        scaled = read_lora({d: down, u: up, a: torch.tensor(alpha)}, unet, "unet").deltas[f"{LINEAR}.weight"]
        assert torch.allclose(scaled, plain * alpha / 4)


def test_tucker_is_the_sum_over_both_ranks(unet):
    generator = torch.Generator().manual_seed(3)
    down, up = torch.randn(3, 32, 1, 1, generator=generator), torch.randn(32, 2, 1, 1, generator=generator)
    mid = torch.randn(2, 3, 3, 3, generator=generator)
    d, u, _ = kohya(CONV)
    stem = d.removesuffix(".lora_down.weight")
    delta = read_lora({d: down, u: up, f"{stem}.lora_mid.weight": mid}, unet, "unet").deltas[f"{CONV}.weight"]
    expected = sum(
        up[:, r, 0, 0, None, None, None] * mid[r, s] * down[s, :, 0, 0][None, :, None, None]
        for r in range(2) for s in range(3)
    )  # fmt: skip
    assert torch.allclose(delta, expected, atol=1e-5)


def test_full_differences_and_biases(unet):
    weight, bias = torch.randn(32, 32, 3, 3), torch.randn(32)
    stem = "lora_unet_" + CONV.replace(".", "_")
    deltas = read_lora({f"{stem}.diff": weight, f"{stem}.diff_b": bias}, unet, "unet").deltas
    assert torch.equal(deltas[f"{CONV}.weight"], weight)
    assert torch.equal(deltas[f"{CONV}.bias"], bias)


def test_the_text_encoder_takes_its_own_part(unet, text):
    file = {}
    for names, module, path in ((kohya(FC, "text"), text, FC), (kohya(LINEAR), unet, LINEAR)):
        file |= dict(zip(names, factors(module, path), strict=False))
    assert list(read_lora(file, text, "text").deltas) == [f"{FC}.weight"]
    assert list(read_lora(file, unet, "unet").deltas) == [f"{LINEAR}.weight"]
    other = {k.replace("lora_te_", "lora_te2_"): v for k, v in file.items()}
    assert read_lora(other, text, "text").deltas == {}
    dotted = {f"text_encoder.text_model.{FC}.lora_A.weight": 0, f"text_encoder.text_model.{FC}.lora_B.weight": 1}
    down, up = factors(text, FC)
    assert list(read_lora(dict(zip(dotted, (down, up), strict=True)), text, "text").deltas) == [f"{FC}.weight"]


def test_what_does_not_fit_is_reported_and_too_much_of_it_fails(unet):
    good = {}
    for path in (LINEAR, OUT):
        good |= dict(zip(kohya(path), factors(unet, path), strict=False))
    d, u, _ = kohya(POINT)
    wrong = {d: torch.zeros(4, 7), u: torch.zeros(32, 4)}
    alien = {
        "lora_unet_nowhere.lora_down.weight": torch.zeros(4, 4),
        "lora_unet_nowhere.lora_up.weight": torch.zeros(4, 4),
    }
    report = read_lora({**good, **wrong, **alien}, unet, "unet").report
    assert len(report.matched) == 2
    assert report.unmatched == ("lora_unet_nowhere",)
    assert report.wrong_shape == (d.removesuffix(".lora_down.weight"),)
    assert "1 without a counterpart (lora_unet_nowhere), 1 of another shape" in str(report)
    with pytest.raises(BadFile, match="another model: of 3 entries 1 matched"):
        read_lora({**dict(zip(kohya(LINEAR), factors(unet, LINEAR), strict=False)), **wrong, **alien}, unet, "unet")
    with pytest.raises(BadFile, match=r"proj_in\.glora_a"):
        read_lora({d.replace("lora_down.weight", "glora_a"): torch.zeros(2, 2)}, unet, "unet")
    half = {kohya(LINEAR)[0].replace("lora_down.weight", "hada_w1_a"): torch.zeros(2, 2)}
    with pytest.raises(BadFile, match="0 matched, 1 without a counterpart"):
        read_lora(half, unet, "unet")


BROKEN = {
    "no dimensions": (torch.tensor(1.0), torch.tensor(1.0), None),
    "one dimension": (torch.zeros(4), torch.zeros(32), None),
    "rank 0": (torch.zeros(0, 64), torch.zeros(32, 0), torch.tensor(1.0)),
    "ranks differ": (torch.zeros(4, 64), torch.zeros(32, 3), None),
    "alpha of two": (torch.zeros(4, 64), torch.zeros(32, 4), torch.zeros(2)),
    "alpha not a number": (torch.zeros(4, 64), torch.zeros(32, 4), torch.tensor(torch.nan)),
    "transposed": (torch.zeros(4, 32), torch.zeros(64, 4), None),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_entries_are_reported_by_name(unet, kind):
    file = {k: v for k, v in zip(kohya(LINEAR), BROKEN[kind], strict=True) if v is not None}
    with pytest.raises(BadFile, match=r"1 of another shape .*attn2_to_k"):
        read_lora(file, unet, "unet")


def test_a_bias_of_another_shape_is_reported(unet):
    stem = "lora_unet_" + CONV.replace(".", "_")
    file = {f"{stem}.diff": torch.zeros(32, 32, 3, 3), f"{stem}.diff_b": torch.zeros(5)}
    with pytest.raises(BadFile, match="1 of another shape"):
        read_lora(file, unet, "unet")


def test_baked_equals_by_hand_and_restores_to_the_bit(unet):
    before = {n: p.clone() for n, p in unet.named_parameters()}
    pointers = {n: p.data_ptr() for n, p in unet.named_parameters()}
    a = read_lora(dict(zip(kohya(LINEAR), factors(unet, LINEAR, seed=1), strict=False)), unet, "unet")
    b = read_lora(dict(zip(kohya(LINEAR), factors(unet, LINEAR, seed=2), strict=False)), unet, "unet")
    name = f"{LINEAR}.weight"
    baked = bake(unet, [(0.7, a), (-0.4, b), (0.0, a)])
    expected = before[name] + 0.7 * a.deltas[name] - 0.4 * b.deltas[name]
    x, t, ctx = torch.randn(1, 4, 8, 8), torch.tensor(9), torch.randn(1, 7, 64)
    plain = unet(x, t, ctx).sample
    with swapped(unet, baked):
        assert torch.allclose(unet.get_parameter(name), expected, atol=1e-6)
        assert not torch.allclose(unet(x, t, ctx).sample, plain)
    with pytest.raises(RuntimeError), swapped(unet, baked):
        unet(x[:, :1], t, ctx)
    assert {n: p.data_ptr() for n, p in unet.named_parameters()} == pointers
    assert all(torch.equal(p, before[n]) for n, p in unet.named_parameters())
    assert torch.equal(unet(x, t, ctx).sample, plain)
    reordered = bake(unet, [(-0.4, b), (0.7, a)])
    assert torch.allclose(baked[name], reordered[name], atol=1e-6)
    assert bake(unet, [(0.0, a)]) == {}


def test_changes_of_a_narrow_model_are_summed_wide():
    """Two changes that each vanish in bfloat16 do not vanish together."""
    layer = torch.nn.Linear(2, 2).to(torch.bfloat16)
    torch.nn.init.ones_(layer.weight)
    tiny_change = patches.Changes({"weight": torch.full((2, 2), 0.003)})
    assert bake(layer, [(1.0, tiny_change)])["weight"].float().eq(1).all()
    assert bake(layer, [(1.0, tiny_change)] * 2)["weight"].float().gt(1).all()


def test_deltas_made_in_a_graph_go_by_parameter_name(unet):
    delta = {f"{LINEAR}.bias": torch.ones(3)}
    with pytest.raises(BadFile, match="1 entries do not fit"):
        read_delta(delta, unet, "unet")
    fitting = {f"{LINEAR}.weight": torch.ones(32, 64)}
    assert torch.equal(read_delta(fitting, unet, "unet").deltas[f"{LINEAR}.weight"], torch.ones(32, 64))


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([LINEAR, OUT, CONV, POINT]), st.integers(1, 6), st.floats(-2, 2))
def test_any_strength_and_rank_equals_the_hand_merge(path, rank, strength):
    unet = UNET
    down, up = factors(unet, path, rank)
    changes = read_lora(dict(zip(kohya(path), (down, up), strict=False)), unet, "unet")
    merged = bake(unet, [(strength, changes)]).get(f"{path}.weight", unet.get_parameter(f"{path}.weight"))
    assert torch.allclose(merged, unet.get_parameter(f"{path}.weight") + strength * by_hand(down, up), atol=1e-5)


UNET = tiny.networks()[0]
