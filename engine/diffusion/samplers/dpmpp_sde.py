"""DPM-Solver++ on the reverse SDE, two calls per step."""

from __future__ import annotations

from torch import Tensor

from engine.diffusion.stepping import Denoise, OnStep, StepNoise, ancestral_split, walk

ORDER = 2
STOCHASTIC = True
BROWNIAN = True


def sample(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: StepNoise,
    on_step: OnStep,
    eta: float = 1.0,
    s_noise: float = 1.0,
    r: float = 0.5,
) -> Tensor:
    """Sample by Lu et al. 2022, arXiv 2211.01095, algorithm 1, with each of its two moves an ancestral one.

    The first move goes the part r of the step in lambda; the second uses the two D extrapolated to the middle
    of the step. Noise for the first move and for the whole step must come from one Brownian path.
    """

    def move(target: Tensor, sigma: float, sigma_next: float) -> Tensor:
        sigma_down, sigma_up = ancestral_split(sigma, sigma_next, eta)
        fresh = s_noise * sigma_up * noise(sigma, sigma_next) if sigma_up > 0 else 0.0
        return target + sigma_down / sigma * (x - target) + fresh

    for step in walk(sigmas):
        denoised = target = denoise(x, step.sigma)
        if step.sigma_next > 0:
            sigma_mid = step.sigma ** (1 - r) * step.sigma_next**r
            denoised_mid = denoise(move(denoised, step.sigma, sigma_mid), sigma_mid)
            target = denoised + (denoised_mid - denoised) / (2 * r)
        x = step.done(on_step, move(target, step.sigma, step.sigma_next), denoised)
    return x
