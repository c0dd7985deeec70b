"""Files by name and by content."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.errors import BadFile, BadInput, NotFound, Unavailable
from engine.files import UNKNOWN_MEDIA, FileStore, sniff
from engine.settings import Settings
from engine.types import FileRef

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 32


@pytest.fixture
def place(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", output_dir=tmp_path / "out")


@pytest.fixture
def store(tmp_path: Path, place: Settings) -> Iterator[FileStore]:
    examples = tmp_path / "nodes" / "topic" / "examples"
    examples.mkdir(parents=True)
    (examples / "boat.png").write_bytes(PNG)
    store = FileStore(place, examples=tmp_path / "nodes")
    yield store
    store.close()


def put(store: FileStore, data: bytes, name: str) -> FileRef:
    with store.receive() as upload:
        upload.write(data[:5])
        upload.write(data[5:])
        return store.commit(upload, name)


def save(store: FileStore, data: bytes, prefix: str = "a", *, temporary: bool = False) -> FileRef:
    return store.save(data, prefix=prefix, suffix="png", media="image/png", temporary=temporary)


def test_an_upload_is_found_by_name_and_content(store: FileStore) -> None:
    ref = put(store, PNG + b"1", "C:\\pictures\\cat.png")
    assert (ref.name, ref.media) == ("cat.png", "image/png")
    assert ref.digest == hashlib.sha256(PNG + b"1").hexdigest()
    assert store.find("input", "cat.png") == store.find("input", ref.digest) == store.open(ref.digest)[0]
    assert store.digest("input", "cat.png") == ref.digest
    assert store.open(ref.digest)[1].name == "cat.png"
    assert store.read(ref) == PNG + b"1"


def test_names_stay_unique(store: FileStore) -> None:
    assert [put(store, PNG + b, "cat.png").name for b in (b"1", b"2", b"1", b"3")] == [
        "cat.png", "cat (2).png", "cat.png", "cat (3).png",
    ]  # fmt: skip
    assert put(store, b"other", "boat.png").name == "boat (2).png"
    assert put(store, b"x", "noend").name == "noend"
    assert put(store, b"y", "noend").name == "noend (2)"
    cats = ["cat (2).png", "cat (3).png", "cat.png"]
    assert store.names("input") == ["boat (2).png", "boat.png", *cats, "noend", "noend (2)"]


@pytest.mark.parametrize("name", ["", "..", ".", "a/", "x" * 256, "a\0b", "a:b", "\ud800"])
def test_bad_names_keep_nothing(store: FileStore, place: Settings, name: str) -> None:
    with pytest.raises(BadInput):
        put(store, PNG, name)
    assert list((place.data_dir / "files").iterdir()) == []


def test_an_upload_that_breaks_off_leaves_nothing(store: FileStore, place: Settings) -> None:
    def broken() -> None:
        with store.receive() as upload:
            upload.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        broken()
    assert list((place.data_dir / "files").iterdir()) == []


def test_dropped_files_and_examples_are_inputs(store: FileStore, place: Settings) -> None:
    (place.data_dir / "input" / "sub").mkdir()
    (place.data_dir / "input" / "sub" / "own.png").write_bytes(PNG + b"own")
    assert store.names("input") == ["boat.png", "sub/own.png"]
    assert store.read(FileRef(store.digest("input", "sub/own.png"), "own.png")) == PNG + b"own"
    assert store.open(store.digest("input", "boat.png"))[1].name == "boat.png"
    with pytest.raises(NotFound, match=r"Did you mean 'boat\.png'"):
        store.find("input", "boot.png")
    with pytest.raises(NotFound, match="choose one of"):
        store.names("checkpoints")


def test_results_are_numbered(store: FileStore, place: Settings) -> None:
    assert [save(store, bytes([b])).name for b in range(3)] == ["a_00001.png", "a_00002.png", "a_00003.png"]
    assert save(store, b"x", "sub/a b").name == "sub/a b_00001.png"
    (place.output_dir / "a_00009.jpg").touch()
    assert save(store, b"y").name == "a_00010.png"
    assert save(store, b"y", "a_b").name == "a_b_00001.png"
    assert not list(place.output_dir.rglob("*.tmp-*"))


def test_a_result_saved_again_is_the_same_file(store: FileStore, place: Settings) -> None:
    first = save(store, b"one")
    assert save(store, b"one") == first
    assert save(store, b"one", "b").name == "b_00001.png"
    (place.output_dir / first.name).write_bytes(b"edited")
    assert save(store, b"one").name == "a_00002.png"


def test_writers_at_the_same_time_get_different_numbers(store: FileStore, place: Settings) -> None:
    other = FileStore(place, examples=place.data_dir)
    with ThreadPoolExecutor(8) as pool:
        refs = list(pool.map(lambda i: save((store, other)[i % 2], b"%d" % i), range(40)))
    other.close()
    assert len({ref.name for ref in refs}) == 40
    assert all((place.output_dir / ref.name).read_bytes() == b"%d" % i for i, ref in enumerate(refs))


@pytest.mark.parametrize("prefix", ["../a", "/a", "a/../../b", "a\\b", "", "a\0", "x" * 300])
def test_prefixes_stay_inside(store: FileStore, place: Settings, prefix: str) -> None:
    if prefix == "":
        assert save(store, b"x", prefix).name == "_00001.png"
        return
    with pytest.raises(BadInput):
        save(store, b"x", prefix)
    assert not list(place.output_dir.rglob("*"))


def test_an_edited_or_deleted_result_is_gone_by_content(store: FileStore, place: Settings) -> None:
    ref = save(store, PNG)
    assert store.open(ref.digest)[1].name == ref.name
    path = place.output_dir / ref.name
    path.write_bytes(PNG + b"edited")
    with pytest.raises(NotFound, match="changed or removed"):
        store.open(ref.digest)
    path.unlink()
    with pytest.raises(NotFound):
        store.read(ref)


def test_a_flipped_bit_is_noticed(store: FileStore, place: Settings) -> None:
    ref = put(store, PNG, "cat.png")
    (place.data_dir / "files" / ref.digest).write_bytes(PNG[:-1] + b"1")
    with pytest.raises(BadFile, match="changed on disk"):
        store.read(ref)


def test_previews_last_a_week(store: FileStore, place: Settings) -> None:
    old, new = save(store, b"old", temporary=True), save(store, b"new", temporary=True)
    assert store.read(new) == b"new"
    week_ago = time.time() - 8 * 86_400
    os.utime(place.data_dir / "previews" / old.digest, (week_ago, week_ago))
    store.forget_previews()
    assert store.read(new) == b"new"
    with pytest.raises(NotFound):
        store.read(old)
    assert store.names("output") == []


def test_pages_show_the_last_changed_first(store: FileStore, place: Settings) -> None:
    for number in range(5):
        save(store, b"%d" % number)
        os.utime(place.output_dir / f"a_{number + 1:05}.png", (number, number))
    (place.output_dir / "away").symlink_to("/etc/hostname")
    page, total = store.page("output", limit=2, offset=1)
    assert [file.name for file in page] == ["a_00004.png", "a_00003.png"]
    assert total == 5
    assert page[0].digest == hashlib.sha256(b"3").hexdigest()


def test_a_digest_is_only_computed_once(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    first = store.digest("input", "boat.png")
    monkeypatch.setattr(hashlib, "file_digest", None)
    assert store.digest("input", "boat.png") == first


def test_a_full_disk_is_a_sentence(store: FileStore, place: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unavailable, match="No space left"):
        put(store, PNG, "cat.png")
    with pytest.raises(Unavailable, match="No space left"):
        save(store, PNG)
    monkeypatch.undo()
    assert store.names("output") == []
    assert save(store, PNG).name == "a_00001.png"
    assert not [p for p in place.data_dir.rglob("*.tmp-*")]


@pytest.mark.parametrize(
    ("head", "media"),
    [(PNG, "image/png"), (b"\xff\xd8\xff\xe0", "image/jpeg"), (b"RIFF....WEBPVP8 ", "image/webp"),
     (b"\0\0\0\x20ftypisom", "video/mp4"), (b"<svg xmlns", UNKNOWN_MEDIA), (b"", UNKNOWN_MEDIA),
     (b"RIFF....WAVE", UNKNOWN_MEDIA), (b"<html>", UNKNOWN_MEDIA)],
)  # fmt: skip
def test_sniff(head: bytes, media: str) -> None:
    assert sniff(head) == media
