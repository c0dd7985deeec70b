"""What image and mask nodes share: batches that broadcast, resampling, and the way to OpenCV and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pil
from torch import Tensor

from engine import pictures
from engine.context import Context
from engine.errors import BadInput
from engine.node import Range, Widget
from engine.pictures import PIXELS_MAX, Format
from engine.types import FileRef, Image, Mask

SIZE_MAX = 8192
Size = Annotated[int, Range(1, SIZE_MAX)]
Offset = Annotated[int, Range(-SIZE_MAX, SIZE_MAX)]
Border = Annotated[int, Range(0, SIZE_MAX)]
Fraction = Annotated[float, Range(0, 1, 0.01)]
Count = Annotated[int, Range(1, 256)]
Color = Annotated[str, Widget("color")]
Filter = Literal["lanczos", "bicubic", "bilinear", "area", "nearest"]

RESAMPLING: dict[Filter, Pil.Resampling] = {
    "lanczos": Pil.Resampling.LANCZOS, "bicubic": Pil.Resampling.BICUBIC, "bilinear": Pil.Resampling.BILINEAR,
    "area": Pil.Resampling.BOX, "nearest": Pil.Resampling.NEAREST,
}  # fmt: skip


class ImageAndMask(NamedTuple):
    """A picture and where to act on it."""

    image: Image
    mask: Mask


def size_of(pixels: Tensor) -> str:
    """Say a picture's or mask's size in words: `512 x 768 (width x height)`."""
    return f"{pixels.shape[2]} x {pixels.shape[1]} (width x height)"


def check_room(batch: int, height: int, width: int) -> None:
    """Raise BadInput if a result of this size is larger than a picture may be."""
    if batch * height * width > PIXELS_MAX:
        raise BadInput(f"{batch} x {width} x {height} pixels are more than {PIXELS_MAX // 10**6} megapixels.")


def match_batches(a: Tensor, b: Tensor, what: str = "The two inputs") -> tuple[Tensor, Tensor]:
    """Repeat a batch of one to the other's length; BadInput if neither is one and they differ."""
    if len(a) == len(b):
        return a, b
    if 1 not in (len(a), len(b)):
        raise BadInput(f"{what} hold {len(a)} and {len(b)} pictures; give equally many, or one.")
    n = max(len(a), len(b))
    return a.expand(n, *a.shape[1:]), b.expand(n, *b.shape[1:])


def match(a: Tensor, b: Tensor, what: str = "The two inputs") -> tuple[Tensor, Tensor]:
    """Broadcast batches; BadInput if heights or widths differ."""
    if a.shape[1:3] != b.shape[1:3]:
        raise BadInput(f"{what} differ in size: {size_of(a)} and {size_of(b)}; put a resize node before one of them.")
    return match_batches(a, b, what)


def per_picture(pixels: Tensor, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Tensor:
    """Apply an OpenCV or Pillow function to each (H, W[, 3]) float32 array of a batch."""
    return torch.from_numpy(np.stack([change(p.contiguous().numpy()) for p in pixels]).astype(np.float32, copy=False))


def resample(pixels: Tensor, width: int, height: int, filter: Filter = "lanczos") -> Tensor:
    """Resize (B, H, W[, C]) to (B, height, width[, C]), anti-aliased, through Pillow's float resampler; 0..1."""
    check_room(len(pixels), height, width)
    if pixels.shape[1:3] == (height, width):
        return pixels

    def one(plane: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(Pil.fromarray(plane).resize((width, height), RESAMPLING[filter]))

    def change(picture: NDArray[Any]) -> NDArray[Any]:
        if picture.ndim == 2:
            return one(picture)
        return np.stack([one(np.ascontiguousarray(picture[..., c])) for c in range(picture.shape[-1])], -1)

    return per_picture(pixels, change).clamp(0, 1)


def place(canvas: Tensor, patch: Tensor, x: int, y: int) -> tuple[Tensor, Tensor]:
    """Return views of the parts of `canvas` and `patch` (B, H, W, ...) that meet when the patch lies at (x, y)."""
    left, top = max(x, 0), max(y, 0)
    right = max(left, min(x + patch.shape[2], canvas.shape[2]))
    bottom = max(top, min(y + patch.shape[1], canvas.shape[1]))
    return canvas[:, top:bottom, left:right], patch[:, top - y : bottom - y, left - x : right - x]


def border_ramp(height: int, width: int, left: int, top: int, right: int, bottom: int) -> Tensor:
    """Return (height, width) weights that rise from 0 outside to 1 over so many pixels at each side."""

    def ramp(length: int, first: int, last: int) -> Tensor:
        steps = torch.arange(1, length + 1)
        return (steps / (first + 1)).clamp(max=1) * (steps.flip(0) / (last + 1)).clamp(max=1)

    return ramp(height, top, bottom)[:, None] * ramp(width, left, right)[None]


def parse_color(text: str) -> tuple[float, float, float]:
    """Read `#rgb` or `#rrggbb` as red, green, blue in 0..1."""
    digits = text.strip().removeprefix("#")
    digits = "".join(2 * d for d in digits) if len(digits) == 3 else digits
    if len(digits) != 6 or not all(d in "0123456789abcdefABCDEF" for d in digits):
        raise BadInput(f"{text[:40]!r} is not a colour; write it as #rrggbb, for example #ff8800.")
    red, green, blue = bytes.fromhex(digits)
    return red / 255, green / 255, blue / 255


def filled(batch: int, height: int, width: int, color: str) -> Tensor:
    """Return (batch, height, width, 3) pixels of one colour."""
    check_room(batch, height, width)
    return torch.tensor(parse_color(color)).expand(batch, height, width, 3).clone()


def gray_image(values: Tensor) -> Image:
    """Return (B, H, W) values as grey pictures (B, H, W, 3)."""
    return Image(values[..., None].repeat(1, 1, 1, 3))


def luma(pixels: Tensor) -> Tensor:
    """Return brightness (B, H, W) of (B, H, W, 3) pixels, with the weights of Rec. 601."""
    return pixels @ torch.tensor([0.299, 0.587, 0.114])


def write_pictures(
    ctx: Context,
    pixels: Iterable[Tensor],
    prefix: str,
    form: Format = "png",
    *,
    quality: int = 92,
    temporary: bool = False,
) -> tuple[FileRef, ...]:
    """Encode (H, W, 3) pictures and hand them to `ctx.files`; kept ones carry the workflow."""
    workflow = None if temporary else ctx.workflow
    suffix = "jpg" if form == "jpeg" else form
    files = []
    for picture in pixels:
        ctx.check()
        data = pictures.encode(picture.numpy(), form, quality=quality, workflow=workflow, fast=temporary)
        media = pictures.MEDIA[form]
        files.append(ctx.files.save(data, prefix=prefix, suffix=suffix, media=media, temporary=temporary))
    return tuple(files)
