"""Tiles cover all, meet without a seam, and are the whole where the function is local."""

import pytest
import torch

from engine.diffusion import tiles
from engine.errors import Cancelled


@pytest.mark.parametrize("size", [(8, 8), (17, 9), (30, 41)])
@pytest.mark.parametrize("side", [0, 8, 12, 64])
def test_a_local_function_in_tiles_is_the_function(size, side):
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    counts = []
    out = tiles.tiled(
        lambda t: t.repeat_interleave(2, 2).repeat_interleave(2, 3) + 1,
        x, side, scale=2, overlap=0.25, on_tile=lambda done, total: counts.append((done, total)),
    )  # fmt: skip
    assert torch.allclose(out, x.repeat_interleave(2, 2).repeat_interleave(2, 3) + 1)
    assert counts[-1][0] == counts[-1][1] == len(counts)


def test_tiles_that_disagree_fade_without_a_step():
    shade = iter([0.0, 1.0])
    out = tiles.tiled(
        lambda t: torch.full_like(t, next(shade)), torch.zeros(1, 1, 16, 28, dtype=torch.float64), 16,
        scale=1, overlap=0.25, on_tile=tiles.silent,
    )[0, 0, 0]  # fmt: skip
    assert out[0] == 0
    assert out[-1] == 1
    assert out.diff().max() <= 1 / 4 + 1e-9
    assert (out.diff() >= 0).all()


def test_starts_lie_on_the_grid_when_encoding():
    starts = []
    x = torch.arange(96.0).expand(1, 1, 64, 96)
    tiles.tiled(
        lambda t: starts.append(int(t[0, 0, 0, 0])) or t[:, :, ::8, ::8], x, 32,
        scale=1 / 8, overlap=0.25, grid=8,
    )  # fmt: skip
    assert sorted(set(starts)) == [0, 24, 40, 64]


def test_cancelling_stops_between_tiles():
    def cancel(done, total):
        raise Cancelled("stop")

    with pytest.raises(Cancelled):
        tiles.tiled(lambda t: t, torch.zeros(1, 1, 16, 16), 8, scale=1, overlap=0.25, on_tile=cancel)


def test_small_pictures_are_taken_whole():
    assert tiles.fitting(1, 512, 512, 384) == 0
    assert tiles.fitting(1, 4096, 4096, 384) == tiles.TILE
    assert tiles.working_bytes(1, 4096, 4096, 384, 512) == tiles.working_bytes(1, 512, 512, 384)
