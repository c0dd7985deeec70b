"""Sign, time and packing of each adapter: its network replaced by the velocity of a Gaussian, which is known exactly.

Each stand-in reads its inputs as its diffusers class does: it puts tokens where their positions say, not where the
adapter's own packing puts them.
"""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from engine.diffusion import guidance, samplers, schedules
from engine.diffusion.families import flux, qwen_image, sd3, wan
from engine.diffusion.levels import flow
from engine.diffusion.noise import NoiseSource
from engine.types import Cond, Conditioning

CHANNELS, HEIGHT, WIDTH, TEXT = 16, 6, 4, 8
DEVIATION = 0.7
MEAN = torch.randn(CHANNELS, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))


def velocity(x, s):
    """E[eps - x0 | x_s] where x0 ~ N(MEAN, DEVIATION^2): x (B, C, h, w), s (B,)."""
    s = s.reshape(-1, 1, 1, 1)
    rest = (x - (1 - s) * MEAN) / ((1 - s) ** 2 * DEVIATION**2 + s**2)
    return s * rest - (MEAN + (1 - s) * DEVIATION**2 * rest)


class StandIn(nn.Module):
    """Answers as the network of a family would."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))
        self.config = SimpleNamespace(joint_attention_dim=TEXT, text_dim=TEXT, guidance_embeds=True)


class SD3Network(StandIn):
    def forward(self, hidden_states, timestep, encoder_hidden_states, pooled_projections, return_dict):
        return (velocity(hidden_states, timestep / 1000),)


class WanNetwork(StandIn):
    def forward(self, hidden_states, timestep, encoder_hidden_states, return_dict):
        assert hidden_states.shape[2] == 1
        return (velocity(hidden_states[:, :, 0], timestep / 1000)[:, :, None],)


def gridded(tokens, rows, columns, at):
    """Put tokens (B, N, 64), a channel's 2 x 2 cells side by side, at their (row, column)."""
    grid = torch.full((len(tokens), CHANNELS, 2 * rows, 2 * columns), torch.nan)
    for n, (row, column) in enumerate(at):
        cells = tokens[:, n].reshape(-1, CHANNELS, 2, 2)
        grid[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = cells
    return grid


def tokens_of(grid, at):
    return torch.stack([grid[:, :, 2 * r : 2 * r + 2, 2 * c : 2 * c + 2].flatten(1) for r, c in at], 1)


class FluxNetwork(StandIn):
    def forward(self, hidden_states, timestep, guidance, img_ids, txt_ids, **rest):
        assert guidance.tolist() == [3.5] * len(hidden_states)
        assert txt_ids.shape[1] == 3
        assert not txt_ids.any()
        assert not img_ids[:, 0].any()
        at = [(int(r), int(c)) for _, r, c in img_ids.tolist()]
        x = gridded(hidden_states, HEIGHT // 2, WIDTH // 2, at)
        return (tokens_of(velocity(x, timestep), at),)


class QwenNetwork(StandIn):
    def forward(self, hidden_states, timestep, img_shapes, **rest):
        assert len(img_shapes) == len(hidden_states)
        ((_, rows, columns),) = img_shapes[0]
        at = [(r, c) for r in range(rows) for c in range(columns)]
        return (tokens_of(velocity(gridded(hidden_states, rows, columns, at), timestep), at),)


ADAPTERS = {
    "sd3": sd3.SD3(SD3Network(), flow(shift=3.0), CHANNELS),
    "flux": flux.Flux(FluxNetwork(), flow(), CHANNELS, sized=flux.SHIFT),
    "qwen_image": qwen_image.QwenImage(QwenNetwork(), flow(), CHANNELS, sized=qwen_image.SHIFT),
    "wan": wan.Wan(WanNetwork(), flow(shift=5.0), CHANNELS),
}
COND = Cond(torch.zeros(1, 3, TEXT), torch.zeros(1, TEXT))


@pytest.mark.parametrize("name", ADAPTERS)
def test_the_posterior_mean_is_exact(name):
    denoiser = ADAPTERS[name].denoiser
    x = torch.randn(3, CHANNELS, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(2))
    for sigma in (0.01, 0.3, 1.0, 5.0, 900.0):
        noisy = MEAN + x * (sigma**2 + DEVIATION**2) ** 0.5
        expected = MEAN + DEVIATION**2 / (sigma**2 + DEVIATION**2) * (noisy - MEAN)
        assert torch.allclose(denoiser(noisy, sigma, COND), expected, atol=2e-4), sigma


@pytest.mark.parametrize("name", ADAPTERS)
def test_the_marginal_is_exact(name):
    """The probability flow carries x at sigma to MEAN + (x - MEAN) DEVIATION / sqrt(DEVIATION^2 + sigma^2).

    What is left is the error of Heun's steps. Guidance between equal conditions changes nothing, whatever its form.
    """
    network = ADAPTERS[name]
    sigmas = schedules.get("simple")(network.levels_for(HEIGHT, WIDTH), 150)
    noise = NoiseSource.of(3, 2)
    start = noise.initial(torch.zeros(2, CHANNELS, HEIGHT, WIDTH)) * sigmas[0]
    conds = {role: Conditioning((COND,)) for role in ("positive", "negative")}
    denoise = guidance.build("cfg", network.denoiser, conds, scale=6.0)
    algorithm = samplers.get("heun").on(network.levels)
    found = algorithm(denoise, start.float(), sigmas, noise=algorithm.noise(noise, start))
    expected = MEAN + (start - MEAN) * DEVIATION / (DEVIATION**2 + float(sigmas[0]) ** 2) ** 0.5
    assert float((found - expected).abs().max()) < 5e-3
