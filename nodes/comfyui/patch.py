"""Patches of a model: how it is guided and how it computes."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from engine.context import Context
from engine.diffusion import model_tweaks
from engine.diffusion.model_tweaks import added
from engine.errors import BadInput
from engine.node import Range
from engine.types import Conditioning, Model
from nodes.comfyui._core import Side, core

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


@core("TCFG", "advanced/guidance", "Tangential Damping CFG")
def tcfg(model: Model) -> Model:
    """Take out of the negative prediction what leads away from where both predictions point."""
    return added(model, "tcfg")


@core("FreSca", "_for_testing")
def fre_sca(
    model: Model, scale_low: Factor = 1.0, scale_high: Factor = 1.25,
    freq_cutoff: Annotated[int, Range(1, 10_000)] = 20,
) -> Model:  # fmt: skip
    """Scale how strongly guidance pulls at coarse and at fine detail.

    Args:
        scale_low: Factor on coarse detail.
        scale_high: Factor on fine detail.
        freq_cutoff: Up to which frequency detail is coarse, in waves per picture.
    """
    return added(model, "fresca", scale_low=scale_low, scale_high=scale_high, freq_cutoff=freq_cutoff)


@core("PerpNeg", "_for_testing", "Perp-Neg (DEPRECATED by PerpNegGuider)")
def perp_neg(model: Model, empty_conditioning: Conditioning, neg_scale: Scale = 1.0) -> Model:
    """Push away only from that part of the negative prompt that the positive one does not share.

    Args:
        empty_conditioning: An empty prompt.
        neg_scale: How strongly.
    """
    return added(model, "perp_neg", empty=empty_conditioning, neg_scale=neg_scale)


@core("UNetSelfAttentionMultiply", "_for_testing/attention_experiments")
def unet_self_attention_multiply(
    model: Model, q: Factor = 1.0, k: Factor = 1.0, v: Factor = 1.0, out: Factor = 1.0
) -> Model:
    """Multiply the parts of self-attention.

    Args:
        q: Factor on what places ask for.
        k: Factor on what they are found by.
        v: Factor on what they tell.
        out: Factor on the result.
    """
    return added(model, "attention", cross=False, q=q, k=k, v=v, out=out)


@core("UNetCrossAttentionMultiply", "_for_testing/attention_experiments")
def unet_cross_attention_multiply(
    model: Model, q: Factor = 1.0, k: Factor = 1.0, v: Factor = 1.0, out: Factor = 1.0
) -> Model:
    """Multiply the parts of the attention to the prompt.

    Args:
        q: Factor on what places ask for.
        k: Factor on what words are found by.
        v: Factor on what words tell.
        out: Factor on the result.
    """
    return added(model, "attention", cross=True, q=q, k=k, v=v, out=out)


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


Shift = Annotated[float, Range(0, 100, 0.01)]


@core("ModelSamplingSD3", "advanced/model")
def model_sampling_sd3(ctx: Context, model: Model, shift: Shift = 3.0) -> Model:
    """Spend more of the steps of a flow model on noisy levels.

    Args:
        shift: How much; 1 leaves the levels even, larger pictures need more.
    """
    with ctx.models.use(model) as network:
        if network.denoiser.levels.kind != "flow":
            raise BadInput("Only the levels of flow models (SD3, Flux and their like) can be shifted.", field="model")
    shifted: Model = model.with_options(shift=shift)
    return shifted


@core("ModelSamplingAuraFlow", "advanced/model")
def model_sampling_aura_flow(ctx: Context, model: Model, shift: Shift = 1.73) -> Model:
    """Spend more of the steps of a flow model on noisy levels.

    Args:
        shift: How much; 1 leaves the levels even, larger pictures need more.
    """
    return model_sampling_sd3(ctx, model, shift)


@core("ModelSamplingFlux", "advanced/model")
def model_sampling_flux(
    ctx: Context, model: Model, max_shift: Shift = 1.15, base_shift: Shift = 0.5, width: Side = 1024,
    height: Side = 1024,
) -> Model:  # fmt: skip
    """Spend more of the steps of a flow model on noisy levels, the more the larger the picture.

    The logarithm of the shift is linear in the number of the model's tokens (Flux, math of its first publication).

    Args:
        max_shift: Logarithm of the shift at 4096 tokens, 1024 x 1024 pixels.
        base_shift: The same at 256 tokens.
    """
    tokens = width * height / TOKEN_PIXELS
    part = (tokens - TOKENS[0]) / (TOKENS[1] - TOKENS[0])
    return model_sampling_sd3(ctx, model, math.exp(base_shift + (max_shift - base_shift) * part))


TOKENS = (256, 4096)  # of the pictures between which the shift of Flux is drawn as a line
TOKEN_PIXELS = 16 * 16
