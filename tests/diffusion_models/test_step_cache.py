"""The step cache: off it changes nothing, on it is the U-Net with its inner levels' output of the step before."""

from dataclasses import replace

import pytest
import torch

from engine.diffusion import step_cache
from engine.diffusion.attention import Hook
from engine.diffusion.step_cache import OPTION, StepCache, change
from engine.errors import BadInput
from engine.types import Cond
from nodes.basics.speed import step_cache_model

X = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
T = torch.full((2,), 500.0)
COND = Cond(torch.randn(2, 77, 64, generator=torch.Generator().manual_seed(1)))
OTHER = Cond(torch.zeros(2, 77, 64))
ALL = 1e9  # a threshold that every change is below


@pytest.fixture
def unet(manager, parts):
    with manager.use(parts["model"]) as network, torch.no_grad():
        yield network


def cached(unet, threshold, longest=3):
    return StepCache(threshold, longest).over(unet)


def with_inner_of(unet, before, x):
    """The U-Net at x, with what its inner levels gave at `before`: by hooks on the last of them."""
    kept, block = [], unet.module.up_blocks[-2]
    handle = block.register_forward_hook(lambda *call: kept.append(call[-1]))
    unet(before, T, COND)
    handle.remove()
    handle = block.register_forward_hook(lambda *call: kept[0])
    out = unet(x, T, COND)
    handle.remove()
    return out


def test_a_threshold_of_nothing_changes_nothing(unet):
    network = cached(unet, 0.0)
    for x in (X, X + 0.01, X):
        assert torch.equal(network(x, T, COND), unet(x, T, COND))
    assert network.calls == [3, 0]


def test_the_inner_levels_answer_as_they_did(unet):
    network = cached(unet, ALL)
    assert torch.equal(network(X, T, COND), unet(X, T, COND))
    made = network(X + 1, T, COND)
    assert torch.equal(made, with_inner_of(unet, X, X + 1))
    assert not torch.equal(made, unet(X + 1, T, COND))
    assert network.calls == [1, 1]


def test_small_changes_are_skipped_and_large_ones_are_not(unet):
    network = cached(unet, 0.05)
    for x, calls in ((X, [1, 0]), (X + 1e-4, [1, 1]), (-X, [2, 1])):
        network(x, T, COND)
        assert network.calls == calls


def test_no_more_than_so_many_in_a_row(unet):
    network = cached(unet, ALL, longest=2)
    for _ in range(7):
        network(X, T, COND)
    assert network.calls == [3, 4]


def test_conditions_and_shapes_have_entries_of_their_own(unet):
    network = cached(unet, ALL)
    pooled = [replace(COND, pooled=torch.full((2, 3), value)) for value in (0.0, 1.0)]
    for x, cond in ((X, COND), (X, OTHER), (torch.cat([X, X], 2), COND), (X, pooled[0]), (X, pooled[1])):
        assert torch.equal(network(x, T, cond), unet(x, T, cond))
    assert network.calls == [5, 0]
    network(X, T, pooled[1])
    assert network.calls == [5, 1]


def test_no_more_than_so_many_entries_are_kept(unet, monkeypatch):
    monkeypatch.setattr(step_cache, "ENTRIES", 2)
    network = cached(unet, ALL)
    for scale in (1, 2, 3):
        network(X, T, Cond(COND.tokens * scale))
    assert all(torch.equal(kept.cond.tokens, COND.tokens * n) for kept, n in zip(network.kept, (2, 3), strict=True))


def test_what_hooks_see_is_computed(unet):
    network, seen = cached(unet, ALL), []
    hooked = Cond(COND.tokens, extra={"attention": (Hook("out", lambda layer, out: seen.append(layer) or out),)})
    for _ in range(2):
        network(X, T, hooked)
    assert len(seen) == 2 * len(unet.module.attn_processors)


def test_the_network_is_left_as_it_was(unet):
    network = cached(unet, ALL)
    expected = unet(X + 1, T, COND)
    network(X, T, COND)
    with pytest.raises(BadInput):
        network(X, T, Cond(torch.zeros(2, 77, 5)))
    assert torch.equal(unet(X + 1, T, COND), expected)
    assert not any("forward" in vars(m) or m._forward_hooks for m in unet.module.modules())


def test_the_node_lays_it_over_the_model(manager, parts):
    model = step_cache_model(parts["model"], ALL, 1)
    assert model.options[OPTION] == StepCache(ALL, 1)
    with manager.use(model) as network, torch.no_grad():
        network.denoiser(X, 1.0, COND)
        network.denoiser(X, 1.0, COND)
        assert network.calls == [1, 1]


def test_it_is_for_u_nets(unet):
    class Transformer:
        module = torch.nn.Linear(1, 1)

    with pytest.raises(BadInput, match="two levels"):
        cached(Transformer(), 0.1)


def test_a_change_is_relative():
    assert change(torch.tensor([3.0, -1.0]), torch.tensor([2.0, -2.0])) == 0.5
