from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import interpolate

from engine.diffusion import preview


def test_a_linear_map_is_found_and_drawn():
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(2, 4, 6, 5, generator=generator)
    factors = torch.cat([0.05 * torch.randn(4, 3, generator=generator), torch.full((1, 3), 0.5)])
    small = torch.einsum("bchw,ck->bkhw", latents, factors[:4]) + 0.5
    images = interpolate(small, scale_factor=8).movedim(1, -1)
    found = preview.fit(latents, images)
    torch.testing.assert_close(found, factors, rtol=1e-4, atol=1e-4)
    drawn = preview.to_rgb(latents[1], found)
    assert drawn.dtype == np.uint8
    assert drawn.shape == (6, 5, 3)
    assert np.abs(drawn.astype(int) - small[1].movedim(0, -1).numpy() * 255).max() <= 1


def test_colours_are_clamped():
    factors = torch.tensor([[10.0, -10.0, 0.0], [0.0, 0.0, 0.5]])
    assert preview.to_rgb(torch.ones(1, 1, 1), factors).tolist() == [[[255, 0, 128]]]
