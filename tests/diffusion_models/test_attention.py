"""The dispatcher is the default path to the bit until a hook asks, and hooks see and change what they say."""

import pytest
import torch
from diffusers.models.attention_processor import Attention

from engine.diffusion import attention
from engine.diffusion.attention import Hook, Run
from tests.diffusion_models import tiny

torch.manual_seed(1)
X, T, CTX = torch.randn(2, 4, 8, 6), torch.tensor(500), torch.randn(2, 7, 64)


@pytest.fixture(scope="module")
def networks():
    plain, _, _ = tiny.networks()
    hooked, _, _ = tiny.networks()
    attention.install(hooked)
    return plain, hooked


def call(network, *hooks, **more):
    kwargs = {"cross_attention_kwargs": {"run": Run(hooks, (8, 6))}} if hooks else {}
    return network(X, T, CTX, **kwargs, **more).sample


def test_without_hooks_the_default_path_to_the_bit(networks):
    plain, hooked = networks
    expected = plain(X, T, CTX).sample
    assert torch.equal(call(hooked), expected)
    nowhere = Hook("probs", lambda layer, p: p * 0, lambda layer: False)
    assert torch.equal(call(hooked, nowhere), expected)
    mask = torch.tensor([[1.0] * 7, [1, 1, 1, 0, 0, 0, 0]])
    masked = plain(X, T, CTX, encoder_attention_mask=mask).sample
    assert torch.equal(call(hooked, encoder_attention_mask=mask), masked)
    assert not torch.equal(masked, expected)


@pytest.mark.parametrize("point", ["qkv", "logits", "probs", "out"])
def test_a_hook_that_changes_nothing_changes_nothing(networks, point):
    plain, hooked = networks
    mask = torch.tensor([[1.0] * 7, [1, 1, 1, 0, 0, 0, 0]])
    same = Hook(point, lambda layer, *values: values if point == "qkv" else values[0])
    for more in ({}, {"encoder_attention_mask": mask}):
        assert torch.allclose(call(hooked, same, **more), plain(X, T, CTX, **more).sample, atol=2e-6)


def test_hooks_see_layer_shapes_and_probabilities(networks):
    _, hooked = networks
    seen = {}

    def look(layer, probs):
        seen[layer.name] = (layer, probs.shape)
        assert torch.allclose(probs.sum(-1), torch.ones(probs.shape[:-1]), atol=1e-5)
        return probs

    call(hooked, Hook("probs", look))
    cross = {name: value for name, value in seen.items() if value[0].cross}
    assert len(cross) == len(seen) / 2 == 4  # one down, two up, one in the middle
    layer, shape = seen["down_blocks.0.attentions.0.transformer_blocks.0.attn2"]
    assert (layer.place, layer.size, layer.heads) == ("down", (8, 6), 8)
    assert shape == (2, 8, 48, 7)
    assert seen["mid_block.attentions.0.transformer_blocks.0.attn1"][0].size == (4, 3)


def test_hooks_change_only_what_they_touch_and_leave_no_trace(networks):
    plain, hooked = networks
    expected = plain(X, T, CTX).sample

    def from_first(layer, q, k, v):
        return (q, k, v) if layer.cross else (q, k[:1].expand_as(k), v[:1].expand_as(v))

    out = call(hooked, Hook("qkv", from_first))
    assert torch.allclose(out[0], expected[0], atol=1e-6)
    assert not torch.allclose(out[1], expected[1], atol=1e-3)
    assert torch.equal(call(hooked), expected)


def test_a_word_can_be_masked_out_by_its_logits(networks):
    _, hooked = networks

    def without_last(layer, logits):
        return logits.index_fill(-1, torch.tensor([6]), -torch.inf) if layer.cross else logits

    shorter = hooked(X, T, CTX[:, :6]).sample
    assert torch.allclose(call(hooked, Hook("logits", without_last)), shorter, atol=1e-5)


def test_keys_may_be_longer_than_the_queries_own(networks):
    _, hooked = networks

    def doubled(layer, q, k, v):
        return q, torch.cat([k, k], 2), torch.cat([v, v], 2)

    assert torch.allclose(call(hooked, Hook("qkv", doubled)), call(hooked), atol=1e-5)


def test_attention_inside_an_image_block_is_the_default_too():
    """Group norm, normed context, an image for input and a residual around it."""
    options = {
        "heads": 2,
        "dim_head": 16,
        "norm_num_groups": 4,
        "residual_connection": True,
        "rescale_output_factor": 2.0,
    }
    layer = (
        Attention(32, cross_attention_dim=24, cross_attention_norm="layer_norm", **options).eval().requires_grad_(False)
    )
    image, context = torch.randn(2, 32, 4, 3), torch.randn(2, 7, 24)
    expected = layer(image, encoder_hidden_states=context)
    layer.set_processor(attention.Dispatcher("down_blocks.0.attn.processor", layer.processor))
    sizes = []
    look = Hook("probs", lambda layer, probs: sizes.append(layer.size) or probs)
    out = layer(image, encoder_hidden_states=context, run=Run((look,), (8, 6)))
    assert torch.allclose(out, expected, atol=1e-6)
    assert torch.equal(layer(image, encoder_hidden_states=context), expected)
    assert sizes == [(4, 3)]


def test_hooks_run_in_order(networks):
    _, hooked = networks
    order = []
    first, second = (Hook("out", lambda layer, out, n=n: order.append(n) or out) for n in (1, 2))
    call(hooked, first, second)
    assert order[:4] == [1, 2, 1, 2]
