"""UniPC with B(h) = e^h - 1, which its authors found better at few steps."""

from __future__ import annotations

from torch import Tensor

from engine.diffusion.samplers import uni_pc
from engine.diffusion.stepping import Denoise, OnStep, StepNoise

ORDER = 4  # the corrector raises the predictor's order by one


def sample(denoise: Denoise, x: Tensor, sigmas: Tensor, *, noise: StepNoise, on_step: OnStep, order: int = 3) -> Tensor:
    """Sample by Zhao et al. 2023, arXiv 2302.04867, with its B_2."""
    return uni_pc.sample(denoise, x, sigmas, noise=noise, on_step=on_step, order=order, b="bh2")
