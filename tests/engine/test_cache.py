"""The store, the traces and the disk beneath them."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from engine import codec, disk
from engine.disk import Disk
from engine.errors import BadFile, Unavailable
from engine.store import Store
from engine.trace import Trace, Traces

TENSOR = torch.ones(100)  # 400 bytes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.safetensors"))


# In memory


@pytest.mark.parametrize("value", [0, -7, 2**60, 1.5, -0.0, True, None, "", "a text"])
def test_small_plain_values_spell_themselves_out(value: Any) -> None:
    """They need no place, and come back exactly."""
    store = Store(0)
    digest = store.put(value)
    assert store.has(digest)
    assert repr(store.get(digest)) == repr(value)
    assert store.nbytes == 0


@pytest.mark.parametrize("value", ["x" * 256, 2**200, [1], Path])
def test_other_values_are_stored(value: Any) -> None:
    if value is Path:
        value = {"a": TENSOR}
    store = Store(10**6)
    assert len(store.put(value)) == 64


def test_the_least_used_value_is_evicted() -> None:
    """But none that is held, and never the newest."""
    store = Store(1000)
    first, second, third = (store.put(TENSOR * i) for i in range(3))
    store.hold([first, first])
    store.release([first])
    assert [store.has(d) for d in (first, second, third)] == [True, False, True]
    store.get(third)
    store.release([first])
    store.put(TENSOR * 3)
    store.release([])
    assert not store.has(first)
    with pytest.raises(KeyError):
        store.get(first)
    assert store.nbytes <= 1000


def test_a_value_is_kept_once() -> None:
    """And forgotten with all others when one was changed in place."""
    store = Store(10**6)
    digest = store.put(TENSOR.clone())
    assert store.put(TENSOR.clone()) == digest
    assert store.nbytes < 2 * 400
    store.forget_all()
    assert (store.has(digest), store.nbytes) == (False, 0)


def test_memory_holds_what_disk_would_give_back() -> None:
    """A node that goes on changing its own list changes nothing that is stored."""
    store = Store(10**6)
    own = [1, 2]
    digest = store.put(own)
    own.append(3)
    assert store.get(digest) == [1, 2]


# On disk


def test_values_survive_a_restart(folder: Path) -> None:
    """Small ones in the database, large ones in files; memory is only a cache of them."""
    store = Store(0, Disk(folder, 10**6))
    values = [{"small": 1}, "text" * 2000, TENSOR, TENSOR * 2]
    digests = [store.put(v) for v in values]
    assert all(map(store.has, digests))
    store.disk.close()  # type: ignore[union-attr]
    store = Store(0, Disk(folder, 10**6))
    assert len(files(folder)) == 3
    assert all(map(store.has, digests))
    assert [store.get(d) for d in digests[:2]] == values[:2]
    assert torch.equal(store.get(digests[2]), TENSOR)
    assert store.put(TENSOR) == digests[2]
    with pytest.raises(KeyError):
        store.get("0" * 64)


def test_a_value_that_another_process_deletes_is_gone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also between the look and the reading."""
    store = Store(0, Disk(folder, 10**6))
    digest = store.put(TENSOR)

    def deleted(path: Path, digest: str, **_: Any) -> Any:
        raise FileNotFoundError(path)

    monkeypatch.setattr(codec, "read_file", deleted)
    with pytest.raises(KeyError):
        store.disk.read(digest)  # type: ignore[union-attr]


@pytest.mark.parametrize("value", ["text" * 200, TENSOR])
def test_damaged_values_are_dropped(folder: Path, value: Any, caplog: pytest.LogCaptureFixture) -> None:
    """In the database as in files: they count as gone, and can be written again."""
    store = Store(0, Disk(folder, 10**6))
    digest = store.put(value)
    store.disk.close()  # type: ignore[union-attr]
    for file in files(folder):
        file.write_bytes(file.read_bytes()[:-1] + b"x")
    with sqlite3.connect(folder / disk.DATABASE) as db:
        db.execute("UPDATE small SET body = CAST(replace(body, 'text', 'test') AS BLOB)")
    db.close()
    store = Store(0, Disk(folder, 10**6))
    with pytest.raises(KeyError):
        store.get(digest)
    assert "made again" in caplog.text
    assert not store.has(digest)
    store.put(value)
    assert store.has(digest)


def test_files_beyond_the_budget_are_deleted(folder: Path) -> None:
    """The least used ones, those of other processes too; half-written files of ended processes as well."""
    one, other = Disk(folder, 3000), Disk(folder, 3000)
    digests = []
    for i in range(6):
        encoded = codec.encode(TENSOR * i)
        (one if i % 2 else other).write(encoded)
        digests.append(encoded.digest)
        path = one._path(encoded.digest)
        os.utime(path, (i, i))
    left = [files(folder)[0].with_name(name) for name in ("old.tmp-1", "new.tmp-1")]
    for file in left:
        file.write_bytes(b"")
    os.utime(left[0], (0, 0))
    one.read(digests[0])
    one.put("recent", "ab", b"")
    one.flush()
    assert [one.has(d) for d in digests] == [True, False, True, True, True, True]
    assert [f.exists() for f in left] == [False, True]
    other.flush()


def test_a_file_that_vanishes_while_counting_is_skipped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes may clear up at the same time."""
    store = Disk(folder, 10**6)
    store.write(codec.encode(TENSOR))

    class Vanished:
        def __init__(self, entry: os.DirEntry[str]) -> None:
            self.name, self.path, self.is_dir = entry.name, entry.path, entry.is_dir

        def __fspath__(self) -> str:
            return self.path

        def stat(self) -> Any:
            raise FileNotFoundError(self.path)

    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: [Vanished(e) for e in scan(path)])
    store.flush()
    assert store._written == 0


def test_a_damaged_database_is_set_aside(folder: Path) -> None:
    """Everything in it can be made again; the large values are still there."""
    store = Disk(folder, 10**6)
    encoded = codec.encode(TENSOR)
    store.write(encoded)
    store.close()
    (folder / disk.DATABASE).write_bytes(b"no database" * 1000)
    (folder / f"{disk.DATABASE}-wal").write_bytes(b"")
    store = Disk(folder, 10**6)
    assert store.has(encoded.digest)
    assert store.get("traces", "00") is None
    assert (folder / f"{disk.DATABASE}.damaged").exists()


def test_a_database_that_cannot_be_opened_is_explained(tmp_path: Path) -> None:
    (tmp_path / disk.DATABASE).mkdir()
    with pytest.raises(Unavailable, match="Check the disk"):
        Disk(tmp_path, 0)


def test_a_database_that_fails_later_is_explained(folder: Path) -> None:
    store = Disk(folder, 0)
    store._db.close()
    with pytest.raises(Unavailable, match="Cannot read"):
        store.get("traces", "00")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("I/O error: no space")])
def test_a_full_disk_is_explained(folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """And leaves nothing half-written behind."""

    def full(path: Path, encoded: Any) -> None:
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(codec, "write_file", full)
    store = Disk(folder, 10**6)
    with pytest.raises(Unavailable, match="Make room"):
        store.write(codec.encode(TENSOR))
    assert [f for f in folder.rglob("*") if f.is_file() and "sqlite" not in f.name] == []


def test_rows_stay_pending_until_they_can_be_written(folder: Path) -> None:
    """Another writer holds the database: the flush fails with a sentence, the next one succeeds."""
    store = Disk(folder, 10**6)
    store._db._db.execute("PRAGMA busy_timeout=1")
    store.put("traces", "aa", b"body")
    other = sqlite3.connect(folder / disk.DATABASE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="database is locked"):
        store.flush()
    other.execute("ROLLBACK")
    assert other.execute("SELECT count(*) FROM traces").fetchone() == (0,)
    store.flush()
    assert other.execute("SELECT body FROM traces").fetchone() == (b"body",)
    other.close()


def test_old_rows_make_room(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The history does not grow for ever."""
    store = Disk(folder, 10**6)
    for i in range(10):
        store.put("traces", f"{i:02x}", b"")
        store.flush()
    store.close()
    monkeypatch.setattr(disk, "ROWS_MAX", 4)
    store = Disk(folder, 10**6)
    assert [i for i in range(10) if store.get("traces", f"{i:02x}") is not None] == [6, 7, 8, 9]


def test_processes_share_a_folder(folder: Path) -> None:
    """What one has flushed, the other finds."""
    one, other = Disk(folder, 10**6), Disk(folder, 10**6)
    digest = Store(0, one).put(["shared"])
    Traces(one).put("aa" * 32, Trace((digest,)))
    one.flush()
    assert Traces(other).get("aa" * 32) == Trace((digest,))
    assert Store(0, other).get(digest) == ["shared"]


def test_reading_renews_a_file(folder: Path) -> None:
    """Its time of use is what counts when room is needed."""
    store = Disk(folder, 10**6)
    encoded = codec.encode(TENSOR)
    store.write(encoded)
    path = store._path(encoded.digest)
    os.utime(path, (0, 0))
    store.write(encoded)
    assert path.stat().st_mtime == 0
    store.read(encoded.digest)
    assert path.stat().st_mtime > time.time() - 100
    path.write_bytes(b"")
    with pytest.raises(BadFile):
        store.read(encoded.digest)


# Traces


def test_traces_and_histories_survive_a_restart(folder: Path) -> None:
    """Outputs, lists, demands and expansions."""
    traces = Traces(Disk(folder, 0))
    kept = {"aa" * 32: Trace(("i:1", ("i:2", "i:3"))), "bb" * 32: Trace(demand="a"), "cc" * 32: Trace(expansion="dd")}
    for key, trace in kept.items():
        traces.put(key, trace)
    traces.note_inputs("step \ud800", {"a": "i:1"})
    traces.disk.close()  # type: ignore[union-attr]
    traces = Traces(Disk(folder, 0))
    assert {key: traces.get(key) for key in kept} == kept
    assert traces.get("00" * 32) is None
    assert traces.last_inputs("step \ud800") == {"a": "i:1"}
    assert traces.last_inputs("other") is None
    assert Traces().last_inputs("other") is None


def test_traces_in_memory_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Traces, "KEPT", 3)
    traces = Traces()
    for i in range(5):
        traces.put(str(i), Trace())
        traces.note_inputs(str(i), {})
    assert [traces.get(str(i)) is not None for i in range(5)] == [False, False, True, True, True]
