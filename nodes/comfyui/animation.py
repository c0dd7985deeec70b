"""Pictures that move."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from engine import pictures
from engine.context import Context
from engine.node import Range
from engine.types import Image, Saved
from nodes.comfyui._core import Line, core

Fps = Annotated[float, Range(0.01, 1000, 0.01)]
EFFORT = {"default": 4, "fastest": 0, "slowest": 6}


@core("SaveAnimatedWEBP", "image/animation", effect=True)
def save_animated_webp(
    ctx: Context, images: Image, filename_prefix: Line = "ComfyUI", fps: Fps = 6.0, lossless: bool = True,
    *, quality: Annotated[int, Range(0, 100)] = 80, method: Literal["default", "fastest", "slowest"] = "default",
) -> Saved:  # fmt: skip
    """Save pictures as one WebP that moves.

    Args:
        fps: Pictures per second.
        lossless: Whether every bit is kept.
        quality: How well detail is kept, if not all of it; lossless, how hard it tries to be small.
        method: How much time it takes for that.
    """
    return _saved(ctx, images, filename_prefix, "webp", fps=fps, lossless=lossless, quality=quality,
                  method=EFFORT[method])  # fmt: skip


@core("SaveAnimatedPNG", "image/animation", effect=True)
def save_animated_png(
    ctx: Context, images: Image, filename_prefix: Line = "ComfyUI", fps: Fps = 6.0,
    compress_level: Annotated[int, Range(0, 9)] = 4,
) -> Saved:  # fmt: skip
    """Save pictures as one PNG that moves.

    Args:
        fps: Pictures per second.
        compress_level: How hard it tries to be small.
    """
    return _saved(ctx, images, filename_prefix, "png", fps=fps, compress_level=compress_level)


def _saved(ctx: Context, images: Image, prefix: str, form: Literal["png", "webp"], **options: Any) -> Saved:
    data = pictures.encode_animation([p.numpy() for p in images.pixels], form, workflow=ctx.workflow, **options)
    return Saved("images", (ctx.files.save(data, prefix=prefix, suffix=form, media=pictures.MEDIA[form]),))
