"""Picture files: what goes in comes out, and hostile files end in a sentence."""

from __future__ import annotations

import contextlib
import io
import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pil
from PIL import PngImagePlugin

from engine import pictures
from engine.errors import BadFile, NotFinite, NotFound
from engine.types import Image
from nodes.basics.image_files import load_image, load_mask, preview_image, save_image
from tests.nodes.support import context, random_image

ROOT = Path(__file__).parents[2]
WORKFLOW = {"format": "sfumato/1", "name": "grün 漢字", "nodes": {"a": {"type": "t", "inputs": {"x": 0.5}}}}
PIXELS = random_image(1, 20, 30).pixels[0].numpy()


def png(array: np.ndarray[Any, Any], mode: str | None = None, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image = Pil.fromarray(array)
    (image.convert(mode) if mode else image).save(buffer, form, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, *extra: bytes) -> bytes:
    """A valid PNG of zeros that claims any size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(bytes(64))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(extra) + body


@pytest.mark.parametrize("form", ["png", "webp", "jpeg"])
def test_a_saved_picture_carries_its_workflow(form: pictures.Format) -> None:
    data = pictures.encode(PIXELS, form, workflow=WORKFLOW)
    assert pictures.embedded_workflow(data) == WORKFLOW
    assert pictures.embedded_workflow(pictures.encode(PIXELS, form)) is None


@pytest.mark.parametrize(("form", "quality"), [("png", 92), ("webp", 100)])
def test_lossless_formats_keep_every_bit(form: pictures.Format, quality: int) -> None:
    decoded = pictures.decode(pictures.encode(PIXELS, form, quality=quality))
    assert np.array_equal(pictures.to_uint8(decoded.rgb), pictures.to_uint8(PIXELS))
    assert decoded.alpha is None


@pytest.mark.parametrize(("size", "kept"), [(30_000, "png webp jpeg"), (900_000, "png webp"), (1_100_000, "")])
def test_a_workflow_too_large_for_a_format_is_left_out(size: int, kept: str) -> None:
    large = {**WORKFLOW, "text": "x" * size}
    files = {f: pictures.encode(PIXELS, f, workflow=large) for f in pictures.MEDIA}
    found = {f: pictures.embedded_workflow(data) for f, data in files.items()}
    assert found == {f: large if f in kept.split() else None for f in files}
    assert all(pictures.decode(data).rgb.shape == (20, 30, 3) for data in files.values())


def test_a_workflow_that_others_made_too_large_is_not_read() -> None:
    exif = Pil.Exif()
    exif[0x010F] = "workflow:" + json.dumps({"a": "x" * 2**20})
    assert pictures.embedded_workflow(png(np.zeros((2, 2, 3), np.uint8), form="WEBP", exif=exif)) is None


def test_damaged_exif_is_passed_over() -> None:
    data = png(np.zeros((2, 2, 3), np.uint8), exif=b"Exif\0\0neither II nor MM")
    assert pictures.embedded_workflow(data) is None


@pytest.mark.parametrize(("form", "width"), [("webp", 17_000), ("jpeg", 66_000)])
def test_a_picture_too_wide_for_its_format_is_said(form: pictures.Format, width: int) -> None:
    with pytest.raises(BadFile, match=rf"cannot be written as {form} .* choose PNG"):
        pictures.encode(np.zeros((1, width, 3), np.uint8), form)


def test_workflows_of_comfyui_are_found() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("prompt", '{"1": {"class_type": "KSampler"}}')
    assert pictures.embedded_workflow(png(np.zeros((2, 2, 3), np.uint8), pnginfo=info)) == {
        "1": {"class_type": "KSampler"}
    }
    exif = Pil.Exif()
    exif[0x010F] = 'workflow:{"nodes": []}'
    webp = png(np.zeros((2, 2, 3), np.uint8), form="WEBP", exif=exif)
    assert pictures.embedded_workflow(webp) == {"nodes": []}


@pytest.mark.parametrize("text", ["not json", "[1]", "[" * 100_000, '{"a":' * 50_000])
def test_text_that_is_no_workflow_is_none(text: str) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("workflow", text)
    assert pictures.embedded_workflow(png(np.zeros((2, 2, 3), np.uint8), pnginfo=info)) is None


def test_exif_turns_a_picture_upright() -> None:
    upright = np.zeros((2, 3, 3), np.uint8)
    upright[0, 0] = 255
    exif = Pil.Exif()
    exif[0x0112] = 6  # stored lying on its left side: a viewer turns it by 90 degrees clockwise
    lying = np.rot90(upright, 1)
    assert np.array_equal(pictures.decode(png(lying.copy(), exif=exif)).rgb * 255, upright)


def test_sixteen_bit_grey_keeps_its_depth() -> None:
    grey = np.array([[0, 1, 32768, 65535]], np.uint16)
    assert np.allclose(pictures.decode(png(grey)).rgb[0, :, 0] * 65535, grey)


@pytest.mark.parametrize("mode", ["P", "LA", "1", "L", "RGBA"])
def test_every_png_mode_becomes_rgb(mode: str) -> None:
    array = (np.random.default_rng(0).random((4, 5, 4)) * 255).astype(np.uint8)
    picture = pictures.decode(png(array if "A" in mode else array[..., :3].copy(), mode))
    assert picture.rgb.shape == (4, 5, 3)
    assert (picture.alpha is not None) == ("A" in mode)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no PNG"),
        (b"GIF89a" + bytes(100), "no PNG"),
        (b"SIMPLE  =                    T" + bytes(3000), "no PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no PNG"),
        (png(np.zeros((9, 9, 3), np.uint8))[:48], "damaged"),
        (png(np.zeros((99, 99, 3), np.uint8), form="JPEG")[:400], "damaged"),
        (png_of(8000, 8001), "megapixels"),
        (png_of(60_000, 60_000), "megapixels"),
        (png_of(100, 100), "damaged"),
        (png_of(0, 9), "no PNG"),
    ],
)
def test_hostile_files_end_in_a_sentence(data: bytes, says: str) -> None:
    with pytest.raises(BadFile, match=f"holiday.png .*{says}"):
        pictures.decode(data, "holiday.png")


def test_text_bombs_are_refused() -> None:
    bomb = chunk(b"zTXt", b"workflow\0\0" + zlib.compress(bytes(2 * 2**20)))
    many = [chunk(b"zTXt", f"k{i}".encode() + b"\0\0" + zlib.compress(bytes(2**20 - 9))) for i in range(9)]
    for data in (png_of(1, 1, bomb), png_of(1, 1, *many)):
        with pytest.raises(BadFile):
            pictures.embedded_workflow(data)


def test_a_file_above_the_limit_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "FILE_MAX", 50)
    with pytest.raises(BadFile, match="MiB"):
        pictures.decode(pictures.encode(PIXELS))


SEEDS = [pictures.encode(PIXELS, form, workflow=WORKFLOW) for form in ("png", "webp", "jpeg")]


@settings(max_examples=300, deadline=None)
@given(
    seed=st.sampled_from(SEEDS),
    edits=st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=4), st.integers(0, 4)), min_size=1, max_size=5),
    mend=st.booleans(),
)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_files_never_escape_as_another_error(
    seed: bytes, edits: list[tuple[float, bytes, int]], mend: bool
) -> None:
    data = bytearray(seed)
    for where, new, drop in edits:
        at = int(where * len(data))
        data[at : at + drop] = new
    for read in (pictures.decode, pictures.embedded_workflow):
        with contextlib.suppress(BadFile):
            read(_with_right_checksums(bytes(data)) if mend else bytes(data))


def _with_right_checksums(data: bytes) -> bytes:
    """Repair a PNG's checksums, so that the damage reaches the parsers behind them."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    out, at = data[:8], 8
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        out += chunk(data[at + 4 : at + 8], data[at + 8 : at + 8 + length])
        at += 12 + length
    return out


def test_loading_gives_pixels_and_the_transparent_part(tmp_path: Path) -> None:
    array = np.array([[[255, 0, 0, 255], [0, 255, 0, 51]]], np.uint8)
    (tmp_path / "a.png").write_bytes(png(array))
    image, mask = load_image(context(tmp_path), "a.png")
    assert image.pixels.tolist() == [[[[1, 0, 0], [0, 1, 0]]]]
    assert mask.values == pytest.approx(torch.tensor([[[0, 0.8]]]))
    values = {c: load_mask(context(tmp_path), "a.png", c).values[0, 0].tolist() for c in ("red", "alpha", "brightness")}
    assert values["red"] == [1, 0]
    assert values["alpha"] == pytest.approx([1, 0.2])
    assert values["brightness"] == pytest.approx([0.299, 0.587])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"b\.png"):
        load_image(context(tmp_path), "b.png")


def test_saving_writes_every_picture_of_a_batch_with_the_workflow(tmp_path: Path) -> None:
    ctx, image = context(tmp_path), random_image(3)
    saved = save_image(ctx, image, prefix="cat")
    assert [f.name for f in saved.files] == ["cat_00001.png", "cat_00002.png", "cat_00003.png"]
    for ref, pixels in zip(saved.files, image.pixels, strict=True):
        data = (tmp_path / ref.name).read_bytes()
        assert np.array_equal(pictures.decode(data).rgb * 255, pictures.to_uint8(pixels.numpy()))
        assert pictures.embedded_workflow(data) == ctx.workflow


@pytest.mark.parametrize(("form", "suffix"), [("png", "png"), ("webp", "webp"), ("jpeg", "jpg")])
def test_saved_files_are_of_their_kind(form: pictures.Format, suffix: str, tmp_path: Path) -> None:
    (ref,) = save_image(context(tmp_path), random_image(), format=form).files
    assert ref.name.endswith(f".{suffix}")
    assert ref.media == f"image/{form}"
    with Pil.open(tmp_path / ref.name) as image:
        assert image.format == form.upper()


def test_a_preview_keeps_the_workflow_to_itself(tmp_path: Path) -> None:
    (ref,) = preview_image(context(tmp_path), random_image()).files
    assert pictures.embedded_workflow((tmp_path / ref.name).read_bytes()) is None


def test_nan_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(NotFinite, match="NaN"):
        save_image(context(tmp_path), Image(torch.full((1, 2, 2, 3), torch.nan)))
    assert not list(tmp_path.iterdir())


def test_reading_pictures_needs_no_torch() -> None:
    code = "import sys, engine.pictures; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT).returncode == 0


@pytest.mark.parametrize("form", ["png", "webp"])
def test_a_moving_picture_keeps_frames_time_and_workflow(form):
    frames = [np.full((4, 6, 3), value, np.float32) for value in (0.0, 0.5, 1.0)]
    data = pictures.encode_animation(frames, form, fps=8, workflow={"nodes": {}}, lossless=True)
    with Pil.open(io.BytesIO(data)) as found:
        assert (found.n_frames, found.size) == (3, (6, 4))
        found.seek(2)
        assert np.asarray(found.convert("RGB")).min() == 255
        assert found.info["duration"] == 125
    assert pictures.embedded_workflow(data) == {"nodes": {}}
