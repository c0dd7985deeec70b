"""Hostile and broken weights files: each gets its sentence, at once, and nothing else happens."""

import json
import os
import struct
import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.diffusion.files import HEADER_MAX, TENSORS_MAX, read_config, read_header
from engine.errors import BadFile


def packed(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(shape=(2, 2), dtype="F32", begin=0, end=16, **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end], **more}


GOOD = packed({"__metadata__": {"format": "pt"}, "a": entry(), "b": entry((3,), "F16", 16, 22)}, bytes(22))


def test_a_good_header_is_read(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(GOOD)
    header = read_header(path)
    assert list(header) == ["a", "b"]
    assert header["b"].shape == (3,)
    assert header.size == 7
    assert header["b"].nbytes == 6
    assert header.shape("nothing") == ()
    assert header.metadata == {"format": "pt"}


def test_a_header_whose_length_begins_like_a_pickle_is_read(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(packed(b"{}".ljust(0x280)))
    assert path.read_bytes().startswith(b"\x80\x02")
    assert list(read_header(path)) == []


BAD = {
    "empty": (b"", "too short"),
    "seven bytes": (b"1234567", "too short"),
    "pickle": (b"\x80\x02}q\x00." + bytes(100), "pickle"),
    "zip": (b"PK\x03\x04" + bytes(100), "pickle"),
    "gguf": (b"GGUF" + bytes(100), "GGUF"),
    "longer header than file": (struct.pack("<Q", 1 << 40) + b"{}", "at most 2 fit"),
    "no header": (struct.pack("<Q", 0) + bytes(10), "at most"),
    "not utf-8": (packed(b'{"\xff": 1}'), "corrupt header"),
    "not json": (packed(b"{abc"), "corrupt header"),
    "a list": (packed([]), "not a JSON object"),
    "deep nesting": (packed(b'{"a":' + b"[" * 200_000), "corrupt header"),
    "a name twice": (packed(b'{"a":' + json.dumps(entry()).encode() + b',"a":' + json.dumps(entry()).encode() + b"}"),
                     "comes twice"),
    "metadata of numbers": (packed({"__metadata__": {"a": 1}}), "metadata"),
    "unknown type": (packed({"a": entry(dtype="F7")}, bytes(16)), "unknown type"),
    "negative side": (packed({"a": entry((-2, -2))}, bytes(16)), "impossible shape"),
    "fraction as side": (packed({"a": entry((1.5, 2))}, bytes(16)), "impossible shape"),
    "huge side": (packed({"a": entry((1 << 60,))}, bytes(16)), "impossible shape"),
    "overflow": (packed({"a": entry((1 << 47, 1 << 47))}, bytes(16)), "its shape needs"),
    "wrong length": (packed({"a": entry(end=12)}, bytes(12)), "its shape needs"),
    "backwards": (packed({"a": entry(begin=16, end=0)}, bytes(16)), "takes -16 bytes"),
    "overlap": (packed({"a": entry(), "b": entry(begin=8, end=24)}, bytes(24)), "where 16 was due"),
    "gap": (packed({"a": entry(), "b": entry(begin=20, end=36)}, bytes(36)), "where 16 was due"),
    "cut off": (GOOD[:-1], "cut off"),
    "too long": (GOOD + b"x", "cut off or corrupt"),
    "missing key": (packed({"a": {"dtype": "F32", "shape": [2, 2]}}, bytes(16)), "described wrongly"),
    "extra key": (packed({"a": entry(x=1)}, bytes(16)), "described wrongly"),
    "too many": (packed(b'{"a": "' + b"{" * (TENSORS_MAX + 3) + b'"}'), "more than"),
    "too many numbers": (packed(b'{"a": [' + b"1," * 2_100_000 + b"1]}"), "more than"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_each_bad_file_gets_its_sentence(tmp_path, kind):
    content, sentence = BAD[kind]
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(BadFile) as error:
        read_header(path)
    assert sentence in error.value.message
    assert "a.safetensors" in error.value.message
    assert len(error.value.message) < 500


def test_a_huge_header_is_refused_at_once(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", HEADER_MAX + 1) + b"{")
    os.truncate(path, HEADER_MAX + 100)
    started = time.perf_counter()
    with pytest.raises(BadFile, match=r"mostly holes|at most"):
        read_header(path)
    assert time.perf_counter() - started < 2


def test_a_sparse_terabyte_is_refused_at_once(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(packed({"a": entry((1 << 38,), end=1 << 40)}))
    os.truncate(path, path.stat().st_size + (1 << 40))
    with pytest.raises(BadFile, match="holes"):
        read_header(path)


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.safetensors")
    for name, sentence in (("pipe.safetensors", "regular"), (".", "cannot be read"), ("gone.safetensors", "No such")):
        with pytest.raises(BadFile, match=sentence):
            read_header(tmp_path / name)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_flipped_and_cut_files_are_read_or_refused(tmp_path, data):
    """No byte string makes anything but a Header that fills its file, or BadFile."""
    content = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    content = content[: data.draw(st.integers(0, len(content)))]
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    try:
        header = read_header(path)
    except BadFile:
        return
    length = struct.unpack("<Q", content[:8])[0]
    assert sum(t.nbytes for t in header.values()) == len(content) - 8 - length


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"a": "' + "x" * (1 << 20) + '"}'])
def test_bad_configs_get_their_sentence(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(BadFile, match=r"config\.json"):
        read_config(path)


def test_headers_are_read_without_torch():
    code = "import sys, engine.diffusion.files; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
