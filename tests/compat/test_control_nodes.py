"""ComfyUI's classes for ControlNet and GLIGEN: what they give the negative prompt, and their pixels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from engine.context import Context
from engine.diffusion.device import ModelManager
from engine.types import Boxes, Conditioning
from nodes.basics.load import Loaded
from nodes.comfyui import control, latent, load, sampling
from nodes.comfyui.conditioning import clip_text_encode
from nodes.control.gligen import apply_gligen
from tests.diffusion_models import steering, tiny, zoo
from tests.nodes.support import random_image

SIDE = 32


@pytest.fixture(scope="module")
def ctx(tmp_path_factory: pytest.TempPathFactory) -> Context:
    root = tmp_path_factory.mktemp("models")
    tiny.write_file(root / "checkpoints" / "a.safetensors", zoo.ldm_state("sd1"))
    tiny.write_file(root / "controlnet" / "a.safetensors", steering.controlnet_ldm(steering.controlnet()))
    tiny.write_file(root / "gligen" / "a.safetensors", steering.gligen_state())
    return Context(models=ModelManager(root, tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="module")
def loaded(ctx: Context) -> Loaded:
    return load.checkpoint_loader_simple(ctx, "a.safetensors")


@pytest.fixture(scope="module")
def prompts(ctx: Context, loaded: Loaded) -> tuple[Conditioning, Conditioning]:
    return clip_text_encode(ctx, "a cat", loaded.clip), clip_text_encode(ctx, "", loaded.clip)


def made(ctx: Context, loaded: Loaded, positive: Conditioning, negative: Conditioning) -> Tensor:
    options = {"seed": 3, "steps": 2, "cfg": 3.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
    empty = latent.empty_latent_image(SIDE, SIDE, 1)
    return sampling.ksampler(
        ctx, loaded.model, positive=positive, negative=negative, latent_image=empty, **options
    ).samples


def test_the_older_class_steers_the_negative_prompt_too(
    ctx: Context, loaded: Loaded, prompts: tuple[Conditioning, Conditioning]
) -> None:
    net, picture = control.control_net_loader(ctx, "a.safetensors"), random_image(1, SIDE, SIDE)
    both = made(ctx, loaded, *control.control_net_apply_advanced(*prompts, net, picture, 0.5))
    one = control.control_net_apply(prompts[0], net, picture, 0.5)
    assert torch.equal(made(ctx, loaded, one, prompts[1]), both)
    assert not torch.equal(made(ctx, loaded, *prompts), both)
    for nothing in ({"strength": 0.0}, {"start_percent": 0.5, "end_percent": 0.5}):
        left = control.control_net_apply_advanced(*prompts, net, picture, **nothing)
        assert (left.positive, left.negative) == prompts


def test_boxes_are_pixels_and_the_negative_prompt_is_told_of_none(
    ctx: Context, loaded: Loaded, prompts: tuple[Conditioning, Conditioning]
) -> None:
    layers = control.gligen_loader(ctx, "a.safetensors")
    told = control.gligen_text_box_apply(ctx, prompts[0], loaded.clip, layers, "a sun", 16, height=8, x=4, y=0)
    told = control.gligen_text_box_apply(ctx, told, loaded.clip, layers, "a tree", 8, height=16, x=24, y=16)
    boxes = Boxes(((0.125, 0.0, 0.5, 0.25), (0.75, 0.5, 0.25, 0.5)), ("a sun", "a tree"))
    ours = apply_gligen(ctx, *prompts, layers, loaded.clip, boxes, end=1.0)
    assert (made(ctx, loaded, told, prompts[1]) - made(ctx, loaded, *ours)).abs().max() < 1e-5
