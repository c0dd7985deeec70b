"""The judge's network: classes and colours on a 32 x 32 grid, a 64 x 64 mask, style, background, identity."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.bozzetto.scenes import vocabulary as words
from models.bozzetto.scenes.holdout import INSTANCES

GRID = 32  # cells of the class and colour maps along a side (4 pixels each)
MASK = 64  # side of the foreground mask
COLOUR_NAMES = tuple(words.COLOURS)
IDENTITIES = len(words.OBJECTS) * (len(COLOUR_NAMES) + 1) + len(INSTANCES)
EMBEDDING = 64


def _block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.GroupNorm(8, outputs), nn.SiLU(inplace=True)
    )


def _up(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


class Judge(nn.Module):
    """About 1.7 M parameters. Input (B, 3, 128, 128) in -1..1."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _block(12, 32)
        self.down1 = nn.Sequential(_block(32, 64, 2), _block(64, 64))
        self.down2 = nn.Sequential(_block(64, 128, 2), _block(128, 128))
        self.down3 = nn.Sequential(_block(128, 192, 2), _block(192, 192))
        self.up2 = _block(192 + 128, 128)
        self.up1 = _block(128 + 64, 96)
        self.classes = nn.Conv2d(96, len(words.OBJECTS) + 1, 1)
        self.colours = nn.Sequential(nn.Conv2d(96 + 12, 64, 1), nn.SiLU(), nn.Conv2d(64, len(COLOUR_NAMES), 1))
        self.mask = nn.Sequential(nn.Conv2d(96 + 12, 32, 1), nn.SiLU(), nn.Conv2d(32, 4, 1), nn.PixelShuffle(2))
        heads = len(words.STYLES) + len(words.BACKGROUNDS) + len(COLOUR_NAMES)
        self.whole = nn.Sequential(nn.Linear(192 * 2 + 128 + 64 + 32 + 96, 192), nn.SiLU(), nn.Linear(192, heads))
        self.identity = nn.Linear(96, EMBEDDING)
        self.proxies = nn.Parameter(torch.randn(IDENTITIES, EMBEDDING) * 0.1)

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 96, 32, 32) features of places, and (B, 608) features of the whole picture."""
        a = self.stem(F.pixel_unshuffle(x, 2))  # (B, 32, 64, 64)
        b = self.down1(a)
        c = self.down2(b)
        d = self.down3(c)
        places = self.up1(torch.cat([_up(self.up2(torch.cat([_up(d), c], 1))), b], 1))
        means = [t.mean((2, 3)) for t in (d, c, b, a)]
        return places, torch.cat([*means, d.amax((2, 3))], 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Logits: classes (B, K+1, 32, 32), colours (B, C, 32, 32), mask (B, 64, 64), style, background, tone."""
        places, whole = self.features(x)
        # The raw colours of each cell, so that the colour and mask heads see more than features.
        detail = torch.cat([places, F.pixel_unshuffle(F.avg_pool2d(x, 2), 2)], 1)
        mask = self.mask(detail)[:, 0]
        # The style shows in how the objects are drawn: their features count apart from the background's.
        weight = F.avg_pool2d(mask.detach().sigmoid()[:, None], 2) + 1e-4
        drawn = (places * weight).sum((2, 3)) / weight.sum((2, 3))
        style, background, tone = self.whole(torch.cat([whole, drawn], 1)).split(
            [len(words.STYLES), len(words.BACKGROUNDS), len(COLOUR_NAMES)], 1
        )
        return {
            "classes": self.classes(places), "colours": self.colours(detail), "mask": mask,
            "style": style, "background": background, "tone": tone, "places": places, "whole": whole,
        }  # fmt: skip

    def embed(self, places: Tensor, masks: Tensor) -> Tensor:
        """Unit-length (B, 64) identity of what (B, 32, 32) float masks select in (B, 96, 32, 32) features."""
        weight = masks[:, None]
        pooled = (places * weight).sum((2, 3)) / weight.sum((2, 3)).clamp_min(1e-6)
        return F.normalize(self.identity(pooled), dim=-1)
