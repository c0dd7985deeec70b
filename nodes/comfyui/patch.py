"""Patches of a model: how it is guided and how it computes."""

from __future__ import annotations

from typing import Annotated, Literal

from engine.diffusion import model_tweaks
from engine.diffusion.model_tweaks import added
from engine.node import Range
from engine.types import Model
from nodes.comfyui._core import core

Scale = Annotated[float, Range(0, 100, 0.01)]
Factor = Annotated[float, Range(0, 10, 0.01)]


@core("RescaleCFG", "advanced/model")
def rescale_cfg(model: Model, multiplier: Annotated[float, Range(0, 1, 0.01)] = 0.7) -> Model:
    """Take back the contrast that strong guidance adds.

    Args:
        multiplier: How much of it.
    """
    return added(model, "rescale", multiplier=multiplier)


@core("PerturbedAttentionGuidance", "model_patches/unet")
def perturbed_attention_guidance(model: Model, scale: Scale = 3.0) -> Model:
    """Push away from what the model makes when it does not look around.

    Args:
        scale: How strongly.
    """
    return added(model, "pag", scale=scale)


@core("SelfAttentionGuidance", "_for_testing")
def self_attention_guidance(
    model: Model, scale: Annotated[float, Range(-2, 5, 0.01)] = 0.5, blur_sigma: Annotated[float, Range(0, 10)] = 2.0
) -> Model:
    """Push away from a picture that is blurred where the model looks most.

    Args:
        scale: How strongly.
        blur_sigma: Width of the blur in latent cells.
    """
    return added(model, "sag", scale=scale, blur_sigma=blur_sigma)


@core("APG", "sampling/custom_sampling", "Adaptive Projected Guidance")
def apg(
    model: Model, eta: Annotated[float, Range(-10, 10)] = 1.0, norm_threshold: Annotated[float, Range(0, 50)] = 5.0,
    momentum: Annotated[float, Range(-5, 1)] = 0.0,
) -> Model:  # fmt: skip
    """Bound the pull of guidance, and weaken the part of it that only adds contrast.

    Args:
        eta: How much of that part stays.
        norm_threshold: How long the pull may be; 0 sets no bound.
        momentum: How much of the pulls before is added; negative values push away from them.
    """
    return added(model, "apg", eta=eta, norm_threshold=norm_threshold, momentum=momentum)


@core("CFGZeroStar", "advanced/guidance")
def cfg_zero_star(model: Model) -> Model:
    """Scale the negative prediction to fit the positive one before guiding."""
    return added(model, "cfg_zero_star")


@core("CFGNorm", "advanced/guidance")
def cfg_norm(model: Model, strength: Scale = 1.0) -> Model:
    """Let guidance make nothing longer than the positive prediction."""
    return added(model, "cfg_norm", strength=strength)


@core("Epsilon Scaling", "model_patches/unet")
def epsilon_scaling(model: Model, scaling_factor: Annotated[float, Range(0.5, 1.5)] = 1.005) -> Model:
    """Divide the predicted noise by a factor a little above 1.

    Args:
        scaling_factor: The factor.
    """
    return added(model, "epsilon_scaling", scaling_factor=scaling_factor)


@core("DifferentialDiffusion", "_for_testing", "Differential Diffusion")
def differential_diffusion(model: Model, strength: Annotated[float, Range(0, 1)] = 1.0) -> Model:
    """Let the mask of latents say how much each place may change.

    Args:
        strength: Read and left aside below 1.
    """
    return added(model, model_tweaks.DIFFERENTIAL)


@core("FreeU", "model_patches/unet")
def free_u(model: Model, b1: Factor = 1.1, b2: Factor = 1.2, s1: Factor = 0.9, s2: Factor = 0.2) -> Model:
    """Strengthen what the U-Net has understood against what it copies.

    Args:
        b1: Factor on the deepest features.
        b2: Factor on those above.
        s1: Factor on the low frequencies copied to the deepest.
        s2: Factor on those copied above.
    """
    return added(model, "freeu", b1=b1, b2=b2, s1=s1, s2=s2, by_mean=False)


@core("FreeU_V2", "model_patches/unet")
def free_u_v2(model: Model, b1: Factor = 1.3, b2: Factor = 1.4, s1: Factor = 0.9, s2: Factor = 0.2) -> Model:
    """Strengthen what the U-Net has understood, most where there is most of it.

    Args:
        b1: Factor on the deepest features.
        b2: Factor on those above.
        s1: Factor on the low frequencies copied to the deepest.
        s2: Factor on those copied above.
    """
    return added(model, "freeu", b1=b1, b2=b2, s1=s1, s2=s2, by_mean=True)


@core("HyperTile", "model_patches/unet")
def hyper_tile(
    model: Model, tile_size: Annotated[int, Range(1, 2048)] = 256, swap_size: Annotated[int, Range(1, 128)] = 2,
    max_depth: Annotated[int, Range(0, 10)] = 0, scale_depth: bool = False,
) -> Model:  # fmt: skip
    """Let the model look around inside tiles only, which is faster on large pictures.

    Args:
        tile_size: Side of a tile in pixels.
        swap_size: Read and left aside: tiles have one size.
        max_depth: How often the grid may be halved where tiles are used.
        scale_depth: Read and left aside.
    """
    return added(model, "hypertile", tile_size=tile_size, max_depth=max_depth)


@core("TomePatchModel", "model_patches/unet", "ToMe Patch Model")
def tome_patch_model(model: Model, ratio: Annotated[float, Range(0, 1, 0.01)] = 0.3) -> Model:
    """Merge places that look alike before the model looks around, which is faster.

    Args:
        ratio: Share of the places that are merged away.
    """
    return added(model, "tome", ratio=ratio)


@core("ModelSamplingDiscrete", "advanced/model")
def model_sampling_discrete(
    model: Model, sampling: Literal["eps", "v_prediction", "lcm", "x0", "img_to_img"] = "eps", zsnr: bool = False
) -> Model:
    """Say what the model predicts, where its file says it wrongly.

    Args:
        sampling: What it predicts; lcm and img_to_img count as eps and x0.
        zsnr: Whether its noisiest level is pure noise.
    """
    kinds = {"eps": "eps", "v_prediction": "v", "lcm": "eps", "x0": "x0", "img_to_img": "x0"}
    told: Model = model.with_options(prediction=kinds[sampling], zero_snr=zsnr or None)
    return told
