"""Methods leave no trace: after each of them a plain sample is, to the bit, what it was before."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from engine.context import Context
from engine.jobs.execute import Engine
from engine.types import Latent, Noise, Sampler
from nodes.basics.sampling_custom import cfg_guider, sample_custom, sigmas
from nodes.basics.text import encode_text
from tests.editing.test_any_model import each


def parts_of(engine: Engine) -> dict[str, Any]:
    return dict(engine.models.load(engine.models.find("diffusers", "tiny")))


def plain_sample(engine: Engine) -> Tensor:
    """Sample by the same loaded networks that the workflows use."""
    ctx, parts = Context(node="n", models=engine.models), parts_of(engine)
    texts = [encode_text(ctx, parts["clip"], text) for text in ("a red house on a beach", "")]
    canvas = Latent(torch.zeros(2, 4, 8, 8), 2)
    levels = sigmas(ctx, parts["model"], "simple", 3)
    guider = cfg_guider(parts["model"], *texts, 4.0)
    made: Tensor = sample_custom(ctx, guider, Sampler("euler"), levels, canvas, Noise(7)).latent.samples
    return made


def hooks(engine: Engine) -> dict[str, int]:
    """Count the hooks of each module; those of the dispatcher hang there from the beginning."""
    with engine.models.use(parts_of(engine)["model"]) as network:
        named = dict(network.module.named_modules())
        assert not any(p.requires_grad or p.grad is not None for p in network.module.parameters())
    return {name: len(m._forward_hooks) + len(m._forward_pre_hooks) for name, m in named.items()}


@pytest.fixture(scope="module")
def before(engine: Engine) -> tuple[Tensor, dict[str, int]]:
    return plain_sample(engine), hooks(engine)


@each
def test_a_plain_sample_is_what_it_was(
    plain: dict[str, Any], engine: Engine, before: tuple[Tensor, dict[str, int]]
) -> None:
    assert engine.run(plain).problems == ()
    assert torch.equal(plain_sample(engine), before[0])
    assert hooks(engine) == before[1]


def test_a_trace_would_be_seen(engine: Engine, before: tuple[Tensor, dict[str, int]]) -> None:
    with engine.models.use(parts_of(engine)["model"]) as network:
        handle = network.module.conv_in.register_forward_hook(lambda module, given, out: out * 1.0001)
        try:
            assert not torch.equal(plain_sample(engine), before[0])
            assert hooks(engine) != before[1]
        finally:
            handle.remove()
    assert torch.equal(plain_sample(engine), before[0])
