"""PixArt-alpha: Sigma's network with Stable Diffusion 1.x's latents, captions of 120 tokens, and the size told at 1024.

Chen et al. 2023, arXiv 2310.00426.
"""

from __future__ import annotations

from engine.diffusion.families.autoencoder import KNOWN
from engine.diffusion.families.ldm import Shapes
from engine.diffusion.families.pixart_sigma import CAPTION, SIZES, PixArtSigma, PixArtT5
from engine.diffusion.families.transformer import side
from engine.diffusion.families.vae_parts import KlPart


class PixArtAlpha(PixArtSigma):
    """The family object; see `base.Family`."""

    name = "pixart_alpha"
    title = "PixArt-alpha architecture"
    order = 131
    pipeline = "PixArtAlphaPipeline"
    tokens = 120
    texts = (PixArtT5("text_encoder", ("text_encoders.t5xxl.transformer.",), length=120),)
    vae = KlPart(KNOWN["sd"])

    def _against(self, header: Shapes, prefix: str) -> dict[str, bool]:
        """Return what speaks for PixArt-Sigma, or a ControlNet; diffusers' names keep only the size embedders."""
        told = side(header, prefix + CAPTION, 0) == self.tokens or any(prefix + key in header for key in SIZES)
        return {
            "neither captions of 120 tokens nor csize_embedder": not told,
            "a ControlNet": any("controlnet" in key for key in header),
        }

    def stretch(self, cells: int) -> float:
        """Return the factor between steps of position and tokens, for a network made for so many cells per side."""
        return max(1, cells // 64)


FAMILY = PixArtAlpha()
