"""Picture files in and out, and the workflow inside them. Uploads are hostile: three formats, bounded in every size."""

from __future__ import annotations

import io
import json
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pil
from PIL import ImageOps, PngImagePlugin, UnidentifiedImageError

from engine.errors import BadFile, NotFinite

Format = Literal["png", "webp", "jpeg"]
MEDIA: dict[Format, str] = {"png": "image/png", "webp": "image/webp", "jpeg": "image/jpeg"}
FILE_MAX = 100 * 2**20
PIXELS_MAX = 64_000_000
WORKFLOW_MAX = 2**20
EXIF_MAKE = 0x010F  # where WebP files of ComfyUI carry `workflow:{json}`; JPEG and WebP of ours do the same
EXIF_MODEL = 0x0110  # and `prompt:{json}`
EXIF_IFD, EXIF_COMMENT = 0x8769, 0x9286  # where A1111 puts its text into JPEG and WebP
ROOM: dict[Format, int] = {"png": WORKFLOW_MAX, "webp": WORKFLOW_MAX, "jpeg": 65_000}  # bytes that a workflow may take

# Pillow's limits hold for the whole process: its own are 179 MP and 64 MiB of text.
Pil.MAX_IMAGE_PIXELS = PIXELS_MAX
PngImagePlugin.MAX_TEXT_CHUNK = WORKFLOW_MAX
PngImagePlugin.MAX_TEXT_MEMORY = 8 * 2**20
warnings.simplefilter("error", Pil.DecompressionBombWarning)

BOMB = (Pil.DecompressionBombError, Pil.DecompressionBombWarning)
# All that Pillow's decoders raise on a damaged file (found by fuzzing: tests/nodes/test_pictures.py).
BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError, struct.error,
          zlib.error)  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """A decoded picture. `rgb`: (H, W, 3) float32, 0..1, sRGB; `alpha`: (H, W) float32, 0..1, or None."""

    rgb: NDArray[np.float32]
    alpha: NDArray[np.float32] | None


def decode(data: bytes, name: str = "The file") -> Picture:
    """Decode a PNG, JPEG or WebP (its first frame), turned as its EXIF says; BadFile says what is wrong with it."""
    with _open(data, name) as image:
        try:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):  # 16-bit grey, which Pillow would clip to 255
                grey = np.asarray(upright, np.float32).clip(0, 65535) / np.float32(65535)
                return Picture(np.repeat(grey[..., None], 3, axis=-1), None)
            transparent = upright.has_transparency_data
            pixels = np.asarray(upright.convert("RGBA" if transparent else "RGB"), np.float32) / np.float32(255)
        except BROKEN as error:
            raise BadFile(f"{name} is damaged and cannot be decoded ({error}); save it again as PNG.") from error
    return Picture(pixels[..., :3], pixels[..., 3] if transparent else None)


def encode(
    rgb: NDArray[Any],
    form: Format = "png",
    *,
    quality: int = 92,
    workflow: dict[str, Any] | None = None,
    fast: bool = False,
) -> bytes:
    """Encode `rgb` (H, W, 3), uint8 or float 0..1, with the workflow inside. WebP of quality 100 is lossless.

    A workflow above 1 MiB (in a JPEG: 64 kB) has no room and is left out. `fast` trades PNG size for time.
    """
    image, buffer, inside = Pil.fromarray(to_uint8(rgb)), io.BytesIO(), _inside(form, workflow)
    if form == "png":
        image.save(buffer, "PNG", compress_level=1 if fast else 6, **inside)
        return buffer.getvalue()
    try:
        image.save(buffer, form.upper(), quality=quality, lossless=form == "webp" and quality == 100, **inside)
    except (OSError, ValueError) as error:
        raise BadFile(f"This picture cannot be written as {form} ({error}); choose PNG.") from error
    return buffer.getvalue()


def encode_animation(
    frames: Sequence[NDArray[Any]], form: Literal["png", "webp"], *, fps: float, workflow: dict[str, Any] | None = None,
    **options: Any,
) -> bytes:  # fmt: skip
    """Encode pictures (H, W, C) as one that moves, in a loop, with the workflow inside; `options` are Pillow's."""
    first, *rest = (Pil.fromarray(to_uint8(frame)) for frame in frames)
    buffer = io.BytesIO()
    inside = _inside(form, workflow)
    first.save(buffer, form.upper(), save_all=True, append_images=rest, duration=round(1000 / fps), loop=0, **inside,
               **options)  # fmt: skip
    return buffer.getvalue()


def _inside(form: Format, workflow: dict[str, Any] | None) -> dict[str, Any]:
    """Return what Pillow is told to write a workflow into a file."""
    text = json.dumps(workflow, separators=(",", ":")) if workflow else ""  # ASCII, as EXIF wants it
    text = text if len(text) <= ROOM[form] else ""
    if form == "png":
        info = PngImagePlugin.PngInfo()
        if text:
            info.add_itxt("workflow", text, zip=len(text) > 10_000)
        return {"pnginfo": info}
    exif = Pil.Exif()
    if text:
        exif[EXIF_MAKE] = f"workflow:{text}"
    return {"exif": exif}


def to_uint8(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return float 0..1 pixels as bytes, rounded; NotFinite if there is NaN or infinity among them."""
    if pixels.dtype == np.uint8:
        return pixels
    if not np.isfinite(pixels).all():
        raise NotFinite("The picture holds NaN or infinity: the step that made it went wrong; change its settings.")
    return (pixels.clip(0, 1) * 255).round().astype(np.uint8)


def embedded_workflow(data: bytes) -> dict[str, Any] | None:
    """Return the workflow inside a picture file, ours or ComfyUI's, or None; BadFile if it is no picture.

    It is hostile input: parse, validate and show it, never run it unasked.
    """
    with _open(data, "The file") as image:
        for text in _texts(image):
            found = _parse(text)
            if found is not None:
                return found
    return None


def embedded_parameters(data: bytes) -> str | None:
    """Return the text in which A1111's web UI and its kin say how a picture was made, or None."""
    with _open(data, "The file") as image:
        text = image.info.get("parameters")
        if isinstance(text, str):
            return text
        try:
            comment = image.getexif().get_ifd(EXIF_IFD).get(EXIF_COMMENT)
        except BROKEN:
            return None
    if not isinstance(comment, bytes):
        return comment if isinstance(comment, str) else None
    kind, text = comment[:8], comment[8:]
    return text.decode("utf-16-be" if kind.startswith(b"UNICODE") else "utf-8", errors="replace")


def _texts(image: Pil.Image) -> Iterator[str]:
    for key in ("workflow", "prompt"):
        text = image.info.get(key)
        if isinstance(text, str):
            yield text
    try:
        exif = image.getexif()
    except BROKEN:
        return
    for tag in (EXIF_MAKE, EXIF_MODEL):
        kind, _, text = str(exif.get(tag, "")).partition(":")
        if kind in ("workflow", "prompt"):
            yield text


def _parse(text: str) -> dict[str, Any] | None:
    if len(text) > WORKFLOW_MAX:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _open(data: bytes, name: str) -> Pil.Image:
    if len(data) > FILE_MAX:
        raise BadFile(f"{name} has {len(data) / 2**20:.0f} MiB; pictures may have {FILE_MAX // 2**20} MiB.")
    try:
        return Pil.open(io.BytesIO(data), formats=["PNG", "JPEG", "WEBP"])
    except BOMB as error:
        raise BadFile(f"{name} has more than {PIXELS_MAX // 10**6} megapixels; make it smaller first.") from error
    except UnidentifiedImageError as error:
        raise BadFile(f"{name} is no PNG, JPEG or WebP picture; convert it to one of them.") from error
    except BROKEN as error:
        raise BadFile(f"{name} is damaged and cannot be opened ({error}); save it again as PNG.") from error
