"""Tiny random ControlNets, T2I-Adapters and GLIGEN layers for the models of `zoo`, in every layout of their files."""

import functools

import torch
from diffusers import ControlNetModel, T2IAdapter, UNet2DConditionModel

from tests.diffusion_models import zoo

FOLDS = {"full_adapter": 2, "light_adapter": 2, "full_adapter_xl": 16}
Tensors = dict[str, torch.Tensor]


def stirred(module, seed, *, wider=1.0):
    """Make every parameter random, those that begin at zero too."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        fan = parameter[0].numel() if parameter.ndim > 1 else 10
        noise = torch.randn(parameter.shape, generator=generator) * (wider / fan**0.5)
        parameter.data = noise if parameter.ndim > 1 else parameter.data + noise
    return module.requires_grad_(False).eval()


@functools.cache
def controlnet(kind="sd1", seed=0):
    """A ControlNet of a model of the zoo whose picture is twice as large as the latent."""
    unet = zoo.networks(kind)["unet"]
    torch.manual_seed(seed)
    made = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(16, 32))
    stirred(made.controlnet_cond_embedding, seed, wider=3)
    for i, layer in enumerate((*made.controlnet_down_blocks, made.controlnet_mid_block)):
        stirred(layer, seed + i, wider=0.5)
    return made.requires_grad_(False).eval()


def controlnet_ldm(net, prefix="control_model.") -> Tensors:
    """A ControlNet's weights under LDM's names."""
    pairs = [*_hint_names(net), *zoo._unet_names(_encoder(net.config))]
    count = len(net.controlnet_down_blocks)
    pairs += [(f"controlnet_down_blocks.{i}", f"zero_convs.{i}.0") for i in range(count)]
    pairs.append(("controlnet_mid_block", "middle_block_out.0"))
    return {prefix + zoo._renamed(k, pairs): v.contiguous() for k, v in net.state_dict().items()}


def _hint_names(net):
    names = ["conv_in", *(f"blocks.{i}" for i in range(len(net.controlnet_cond_embedding.blocks))), "conv_out"]
    return [(f"controlnet_cond_embedding.{name}", f"input_hint_block.{2 * i}") for i, name in enumerate(names)]


def _encoder(config):
    return type("Config", (), {**config, "up_block_types": ()})


@functools.cache
def adapter(kind="full_adapter", colours=3, seed=0):
    """A T2I-Adapter for the tiny models."""
    channels = {"full_adapter": [32, 64], "light_adapter": [32, 64], "full_adapter_xl": [32, 64, 64, 64]}[kind]
    if kind == "light_adapter":
        channels = channels[:1]  # as wide as the only level but the last; see `light_unet`
    torch.manual_seed(seed)
    made = T2IAdapter(colours, channels, 4 if kind == "light_adapter" else 2, FOLDS[kind], kind)
    return stirred(made, seed)


def adapter_theirs(net) -> Tensors:
    """An adapter's weights under its authors' names."""
    found = {}
    for key, value in net.state_dict().items():
        path = key.removeprefix("adapter.").split(".")
        if path[0] == "body" and net.config.adapter_type == "light_adapter":
            path = ["body" if part == "resnets" else part for part in path]
        elif path[0] == "body":
            level = int(path[1])
            path = ["body", str(2 * level), *path[2:]] if path[2] == "in_conv" else [
                "body", str(2 * level + int(path[3])), *path[4:]
            ]  # fmt: skip
        found[".".join(path)] = value
    return found


@functools.cache
def gated(seed=0):
    """The zoo's SD 1 U-Net with GLIGEN layers, their gates open."""
    plain = zoo.networks("sd1")["unet"]
    torch.manual_seed(seed)
    made = UNet2DConditionModel(**{**zoo.UNET, "attention_type": "gated"})
    own = made.state_dict()
    made.load_state_dict({**own, **plain.state_dict()})
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in made.named_parameters():
        if "alpha_" in name or "null_" in name:
            parameter.data = 1 + torch.rand(parameter.shape, generator=generator)
    return made.requires_grad_(False).eval()


def gligen_state(*, ldm=True) -> Tensors:
    """The GLIGEN layers of `gated` alone, under LDM's or diffusers' names."""
    kept = {k: v for k, v in gated().state_dict().items() if "position_net" in k or ".fuser." in k}
    pairs = [("position_net", "position_net"), *zoo._unet_names(gated().config)]
    return {zoo._renamed(k, pairs) if ldm else k: v.contiguous() for k, v in kept.items()}
