"""IA3, GLoRA and OFT, which multiply the model's own weight: by formulas of their own in float64.

The same files merged by PEFT 0.21.2 and LyCORIS 4.1.3 differ from what is read here by at most 6e-8.
"""

import numpy as np
import pytest
import torch

from engine.diffusion.patches import read_lora
from engine.errors import BadFile
from tests.diffusion_models.test_patch_ops import ALPHA, RANK, SHAPES, Layer, change, random


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("by_input", [0, 1])
def test_ia3_of_lycoris_scales_inputs_or_outputs(kind, by_input):
    shape = SHAPES[kind]
    made = random(weight=(shape[by_input],))
    delta, t, weight = change(shape, alpha=None, **made, on_input=torch.tensor(by_input))
    along = [1, -1] if by_input else [-1, 1]
    assert np.allclose(delta, weight * t["weight"].reshape(*along, *[1] * (len(shape) - 2)), atol=1e-6)


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("by_input", [False, True])
def test_ia3_of_peft_scales_the_bias_with_the_outputs(kind, by_input):
    shape = SHAPES[kind]
    module = Layer(shape)
    module.x.bias = torch.nn.Parameter(torch.arange(12.0), requires_grad=False)
    ends = (1,) * (len(shape) - 2)
    size = (12, 1) if not by_input and not ends else (1, shape[1] if by_input else 12, *ends)
    factors = random(l=size)["l"]
    deltas = read_lora({"base_model.model.x.ia3_l": factors}, module, "unet").deltas
    along = (1, -1, *ends) if by_input else (-1, 1, *ends)
    assert torch.allclose(deltas["x.weight"], module.x.weight * (factors.reshape(along) - 1), atol=1e-6)
    assert ("x.bias" in deltas) is not by_input
    if not by_input:
        assert torch.allclose(deltas["x.bias"], torch.arange(12.0) * (factors.flatten() - 1), atol=1e-5)


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("old", [False, True])
def test_glora_adds_a_product_with_the_weight(kind, old):
    """y = W (x + A x) + B x, A and B of rank r, so dW = W A + B; before LyCORIS 3 the factors' names were swapped."""
    shape = SHAPES[kind]
    ends, kernel = (1,) * (len(shape) - 2), shape[2:]
    left, right = ("2", "1") if old else ("1", "2")
    sizes = {
        f"a{left}": (8, RANK, *ends), f"a{right}": (RANK, 8, *ends),
        f"b{left}": (12, RANK, *ends), f"b{right}": (RANK, 8, *kernel),
    }  # fmt: skip
    made = random(**{f"{name}.weight": size for name, size in sizes.items()})
    t = {name.removesuffix(".weight"): value.double().numpy() for name, value in made.items()}
    delta, _, weight = change(shape, **made)
    a = t[f"a{left}"].reshape(8, RANK) @ t[f"a{right}"].reshape(RANK, 8)
    b = (t[f"b{left}"].reshape(12, RANK) @ t[f"b{right}"].reshape(RANK, -1)).reshape(shape)
    assert np.allclose(delta, ALPHA / RANK * (np.moveaxis(np.moveaxis(weight, 1, -1) @ a, -1, 1) + b), atol=1e-4)


def cayley(skew):
    return (np.eye(len(skew)) + skew) @ np.linalg.inv(np.eye(len(skew)) - skew)


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("bound", [None, 0.0, 0.02])
def test_oft_turns_the_outputs_in_blocks(kind, bound):
    """W' = R^T W keeps every angle between the rows' blocks: its Gram matrix is that of W."""
    shape = SHAPES[kind]
    delta, t, weight = change(shape, alpha=bound, oft_blocks=0.3 * random(b=(4, 3, 3))["b"])
    skews = t["oft_blocks"] - t["oft_blocks"].transpose(0, 2, 1)
    if bound:
        skews *= min(1, 12 * bound / np.sqrt((skews**2).sum()))
    rows = weight.reshape(4, 3, -1)
    expected = np.stack([cayley(q).T @ w for q, w in zip(skews, rows, strict=True)]).reshape(shape)
    assert np.allclose(weight + delta, expected, atol=1e-5)
    after = (weight + delta).reshape(4, 3, -1)
    assert np.allclose(after.transpose(0, 2, 1) @ after, rows.transpose(0, 2, 1) @ rows, atol=1e-4)


def test_oft_rescales_what_it_turned():
    made = {"oft_blocks": 0.3 * random(b=(4, 3, 3))["b"]}
    turned, _, weight = change((12, 8), "oft_unet_", alpha=None, **made)  # as kohya names it
    factors = random(m=(12, 1))["m"]
    delta, _, _ = change((12, 8), alpha=None, **made, rescale=factors)
    assert np.allclose(weight + delta, factors.numpy() * (weight + turned), atol=1e-5)


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("shared", [False, True])
def test_oft_of_peft_turns_the_inputs(kind, shared):
    """To fourth order in Q, R = (I + Q) (I - Q)^-1: halving Q makes the difference 2^4 to 2^5 times smaller."""
    shape = SHAPES[kind]
    inputs = int(np.prod(shape[1:]))
    above = 0.1 * random(q=(1 if shared else inputs // 4, 6))["q"]
    gaps = []
    for values in (above, above / 2):
        delta, _, weight = change(shape, "base_model.model.", alpha=None, **{"oft_R.weight": values})
        skew = np.zeros((inputs // 4, 4, 4))
        skew[:, *np.triu_indices(4, 1)] = values.double().numpy()
        skew -= skew.transpose(0, 2, 1)
        columns = weight.reshape(12, -1, 4)
        expected = np.stack([columns[:, n] @ cayley(q).T for n, q in enumerate(skew)], 1).reshape(shape)
        assert np.allclose(weight + delta, expected, atol=0.02)
        q2 = skew @ skew
        series = np.eye(4) + 2 * (skew + q2 + q2 @ skew) + q2 @ q2
        exact = np.stack([columns[:, n] @ r.T for n, r in enumerate(series)], 1).reshape(shape)
        assert np.allclose(weight + delta, exact, atol=1e-5)
        gaps.append(np.abs(exact - expected).max())
    assert 12 < gaps[0] / gaps[1] < 36


MISFITS = {
    "ia3 too long": {"ia3_l": torch.ones(1, 9)},
    "ia3 of no side": {"weight": torch.ones(9), "on_input": torch.tensor(0)},
    "glora of another width": random(**{"a1.weight": (9, 2), "a2.weight": (2, 9), "b1.weight": (12, 2),
                                        "b2.weight": (2, 8)}),
    "oft of another width": random(oft_blocks=(4, 4, 4)),
    "oft in a fourth dimension": random(oft_blocks=(1, 4, 3, 3)),
    "oft of peft that does not divide": random(**{"oft_R.weight": (3, 3)}),
    "a bias that is not there": {"diff": torch.ones(12, 8), "diff_b": torch.ones(12)},
}  # fmt: skip


@pytest.mark.parametrize("kind", MISFITS)
def test_what_does_not_fit_is_reported(kind):
    module = Layer((12, 8))
    module.x.bias = None
    with pytest.raises(BadFile, match="1 of another shape"):
        read_lora({f"lycoris_x.{name}": tensor for name, tensor in MISFITS[kind].items()}, module, "unet")
