"""Guiders and samplers as values."""

from __future__ import annotations

from typing import Annotated, Literal

from engine.node import Range
from engine.types import Conditioning, Guider, Model, Sampler
from nodes.basics import sampling_custom as ours
from nodes.comfyui._core import Cfg, core
from nodes.comfyui._sampling import SamplerName, guider_of, sampler_named

Eta = Annotated[float, Range(0, 100, 0.01)]
Device = Literal["gpu", "cpu"]


@core("CFGGuider", "sampling/custom_sampling/guiders")
def cfg_guider(model: Model, positive: Conditioning, negative: Conditioning, cfg: Cfg = 8.0) -> Guider:
    """Pull from a negative towards a positive prompt."""
    return guider_of(model, positive, negative, cfg)


@core("BasicGuider", "sampling/custom_sampling/guiders")
def basic_guider(model: Model, conditioning: Conditioning) -> Guider:
    """Follow one prompt without a pull."""
    return guider_of(model, conditioning, None)


@core("DualCFGGuider", "sampling/custom_sampling/guiders")
def dual_cfg_guider(
    model: Model, cond1: Conditioning, cond2: Conditioning, negative: Conditioning, cfg_conds: Cfg = 8.0,
    cfg_cond2_negative: Cfg = 8.0, *, style: Literal["regular", "nested"] = "regular",
) -> Guider:  # fmt: skip
    """Pull in two steps, from negative to the second and from there to the first condition.

    Args:
        cond1: Both conditions.
        cond2: The second condition alone.
        cfg_conds: How strongly from the second to the first.
        cfg_cond2_negative: How strongly from negative to the second.
        style: nested pulls from negative to where the first pull ended.
    """
    if style == "regular":
        return ours.dual_guider(model, cond1, cond2, negative, cfg_conds, cfg_cond2_negative)
    conds = {"positive": cond1, "middle": cond2, "negative": negative}
    return Guider("adjusted", model, conds, {"scale": cfg_cond2_negative, "middle_scale": cfg_conds})


@core("PerpNegGuider", "_for_testing")
def perp_neg_guider(
    model: Model, positive: Conditioning, negative: Conditioning, empty_conditioning: Conditioning, cfg: Cfg = 8.0,
    neg_scale: Cfg = 1.0,
) -> Guider:  # fmt: skip
    """Push away only from that part of the negative prompt that the positive one does not share.

    Args:
        empty_conditioning: An empty prompt.
        neg_scale: How strongly.
    """
    conds = {"positive": positive, "negative": negative, "empty": empty_conditioning}
    return Guider("perp_neg", model, conds, {"scale": cfg, "negative_scale": neg_scale})


@core("KSamplerSelect", "sampling/custom_sampling/samplers")
def ksampler_select(sampler_name: SamplerName = "euler") -> Sampler:
    """Choose how steps are taken."""
    return sampler_named(sampler_name)


@core("SamplerEulerAncestral", "sampling/custom_sampling/samplers")
def sampler_euler_ancestral(eta: Eta = 1.0, s_noise: Eta = 1.0) -> Sampler:
    """Take Euler's steps and add fresh noise at each."""
    return Sampler("euler_ancestral", {"eta": eta, "s_noise": s_noise})


@core("SamplerLMS", "sampling/custom_sampling/samplers")
def sampler_lms(order: Annotated[int, Range(1, 100)] = 4) -> Sampler:
    """Extrapolate from the last steps.

    Args:
        order: How many of them.
    """
    return Sampler("lms", {"order": order})


@core("SamplerDPMPP_2M_SDE", "sampling/custom_sampling/samplers")
def sampler_dpmpp_2m_sde(
    solver_type: Literal["midpoint", "heun"] = "midpoint", eta: Eta = 1.0, s_noise: Eta = 1.0,
    noise_device: Device = "gpu",
) -> Sampler:  # fmt: skip
    """Take steps of DPM-Solver++(2M) for the SDE.

    Args:
        solver_type: How the second order is made.
        noise_device: Read and left aside: noise is always the CPU's.
    """
    return Sampler("dpmpp_2m_sde", {"solver": solver_type, "eta": eta, "s_noise": s_noise})


@core("SamplerDPMPP_3M_SDE", "sampling/custom_sampling/samplers")
def sampler_dpmpp_3m_sde(eta: Eta = 1.0, s_noise: Eta = 1.0, noise_device: Device = "gpu") -> Sampler:
    """Take steps of DPM-Solver++(3M) for the SDE.

    Args:
        noise_device: Read and left aside: noise is always the CPU's.
    """
    return Sampler("dpmpp_3m_sde", {"eta": eta, "s_noise": s_noise})


@core("SamplerDPMPP_SDE", "sampling/custom_sampling/samplers")
def sampler_dpmpp_sde(eta: Eta = 1.0, s_noise: Eta = 1.0, r: Eta = 0.5, noise_device: Device = "gpu") -> Sampler:
    """Take steps of DPM-Solver++ for the SDE, with a stage between.

    Args:
        r: Where the stage lies.
        noise_device: Read and left aside: noise is always the CPU's.
    """
    return Sampler("dpmpp_sde", {"eta": eta, "s_noise": s_noise, "r": r})


@core("SamplerDPMPP_2S_Ancestral", "sampling/custom_sampling/samplers")
def sampler_dpmpp_2s_ancestral(eta: Eta = 1.0, s_noise: Eta = 1.0) -> Sampler:
    """Take steps of DPM-Solver++(2S) and add fresh noise at each."""
    return Sampler("dpmpp_2s_ancestral", {"eta": eta, "s_noise": s_noise})


@core("SamplerER_SDE", "sampling/custom_sampling/samplers")
def sampler_er_sde(
    solver_type: Literal["ER-SDE", "Reverse-time SDE", "ODE"] = "ER-SDE", max_stage: Annotated[int, Range(1, 3)] = 3,
    eta: Eta = 1.0, s_noise: Eta = 1.0,
) -> Sampler:  # fmt: skip
    """Take steps of the extended reverse-time SDE.

    Args:
        solver_type: Which equation; only ER-SDE and ODE are known here, the other is read as ER-SDE.
        max_stage: Order of the steps.
        eta: Read and left aside.
    """
    return Sampler("er_sde", {"order": max_stage, "s_noise": 0.0 if solver_type == "ODE" else s_noise})
