"""Files of people: uploads, shipped examples and results, found by name in a folder or by content, never by path."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from engine.errors import BadFile, BadInput, NotFound, Unavailable
from engine.settings import ROOT, Settings
from engine.sqlite import Sqlite
from engine.types import FileRef
from engine.workflow import nearest

NAME_BYTES = 255
PATH_CHARS = 1_024
PREVIEW_DAYS = 7
HINTS_MAX = 500  # how many names are compared with one that is not there
DIGEST = re.compile(r"[0-9a-f]{64}")
FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\:]")  # control characters, other separators, drives and streams
UNKNOWN_MEDIA = "application/octet-stream"

MIGRATIONS = (
    """
    CREATE TABLE uploads (name TEXT PRIMARY KEY, digest TEXT NOT NULL, at REAL NOT NULL);
    CREATE TABLE seen (
        kind TEXT NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL, changed INTEGER NOT NULL, inode INTEGER NOT NULL,
        digest TEXT NOT NULL, PRIMARY KEY (kind, name)
    );
    CREATE INDEX seen_digest ON seen(digest)
    """,
)


@dataclass(frozen=True, slots=True)
class Stored:
    """A file as lists show it; `changed` is in seconds since the epoch, `digest` the SHA-256 of its content."""

    name: str
    digest: str
    media: str
    size: int
    changed: float


def safe_join(root: Path, name: str) -> Path:
    """Return the path of `name` inside `root`, links followed; BadInput if it leads, or could lead, outside."""
    parts = name.split("/")
    if FORBIDDEN.search(name) or len(name) > PATH_CHARS or any(p in {"", ".", ".."} or not _fits(p) for p in parts):
        raise BadInput(f"{name[:80]!r} is not a file name that can be used here.")
    try:
        path = root.joinpath(*parts).resolve()
    except (OSError, RuntimeError) as error:  # a loop of links, a name the file system refuses
        raise BadInput(f"{name[:80]!r} cannot be looked up.") from error
    if not path.is_relative_to(root.resolve()):
        raise BadInput(f"{name[:80]!r} leads outside its folder.")
    return path


def sniff(head: bytes) -> str:
    """Return the media type that a file's first 16 bytes show; only what browsers may show inline is told apart."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return "video/mp4" if head[4:8] == b"ftyp" else UNKNOWN_MEDIA


class Upload:
    """A file being received: `write` its bytes, then `commit`."""

    def __init__(self, file: BinaryIO, temporary: Path) -> None:
        self._file = file
        self.temporary = temporary
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, chunk: bytes) -> None:
        """Add bytes."""
        self._hash.update(chunk)
        self._file.write(chunk)
        self.size += len(chunk)

    def finish(self) -> str:
        """Bring the bytes to the disk and return their digest."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._hash.hexdigest()


class FileStore:
    """`engine.context.Files` over `data_dir/files` (by content), `data_dir/input` and `output_dir` (by name).

    Processes may share it. Kind `input` holds uploads, what people drop into `data_dir/input`, and the examples shipped
    with the nodes; kind `output` what jobs saved.
    """

    def __init__(self, settings: Settings, *, examples: Path = ROOT / "nodes") -> None:
        self._blobs = settings.data_dir / "files"
        self._previews = settings.data_dir / "previews"
        self._roots = {"input": settings.data_dir / "input", "output": settings.output_dir}
        for folder in (self._blobs, self._previews, *self._roots.values()):
            folder.mkdir(parents=True, exist_ok=True)
        self._example_root = examples
        self._db = Sqlite(settings.data_dir / "files.sqlite3", MIGRATIONS)

    # By name ---------------------------------------------------------------------------------------------------------

    def names(self, kind: str) -> Sequence[str]:
        """Return the file names of a kind, sorted."""
        root = self._root(kind)
        names = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
        if kind == "input":
            with self._db.read() as db:
                names |= self._examples.keys() | {row[0] for row in db.execute("SELECT name FROM uploads")}
        return sorted(name for name in names if not FORBIDDEN.search(name) and ".tmp-" not in name)

    def find(self, kind: str, name: str) -> Path:
        """Return where `name` lies inside a kind; NotFound otherwise, also for names that lead outside."""
        for path in self._candidates(kind, name):
            if path.is_file():
                return path
        near = nearest(name[:80], self.names(kind)[:HINTS_MAX])
        more = f" Put it into {self._root(kind).parent.name}/input, or drop it on the node." if kind == "input" else ""
        raise NotFound(f"There is no file {name[:80]!r} in {kind}.{near}{more}")

    def _candidates(self, kind: str, name: str) -> Iterator[Path]:
        root = self._root(kind)
        if kind == "input":
            digest = name if DIGEST.fullmatch(name) else self._upload(name)
            if digest:
                yield self._blobs / digest
        with suppress(BadInput):
            yield safe_join(root, name)
        if kind == "input" and name in self._examples:
            yield self._examples[name]

    def digest(self, kind: str, name: str) -> str:
        """Return the SHA-256 of a file's content (remembered by size, time and inode)."""
        return self._digest(kind, name, self.find(kind, name))

    def _digest(self, kind: str, name: str, path: Path) -> str:
        if path.parent == self._blobs:
            return path.name
        stat = path.stat()
        with self._db.read() as db:
            row = db.execute("SELECT * FROM seen WHERE kind = ? AND name = ?", (kind, name)).fetchone()
        if row and (row["size"], row["changed"], row["inode"]) == (stat.st_size, stat.st_mtime_ns, stat.st_ino):
            return str(row["digest"])
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self._remember(kind, name, stat, digest)
        return digest

    def page(self, kind: str, *, limit: int, offset: int = 0) -> tuple[tuple[Stored, ...], int]:
        """Return a part of a kind's files, the last changed first, and how many there are."""
        found: list[tuple[float, str, Path]] = []
        for name in self.names(kind):
            with suppress(NotFound, FileNotFoundError):  # removed since it was listed, or a link that leads outside
                path = self.find(kind, name)
                found.append((path.stat().st_mtime, name, path))
        found.sort(reverse=True)
        page = found[offset : offset + limit]
        return tuple(_stored(path, name, self._digest(kind, name, path)) for _, name, path in page), len(found)

    # By content ------------------------------------------------------------------------------------------------------

    def open(self, digest: str) -> tuple[Path, Stored]:
        """Return where the file with this content lies, and what it is; NotFound if there is none any more."""
        for path, name in self._places(digest) if DIGEST.fullmatch(digest) else ():
            if path.is_file():
                return path, _stored(path, name, digest)
        raise NotFound("There is no file with this content. It may have been changed or removed.")

    def _places(self, digest: str) -> Iterator[tuple[Path, str]]:
        with self._db.read() as db:
            label = db.execute("SELECT name FROM uploads WHERE digest = ?", (digest,)).fetchone()
            rows = db.execute("SELECT kind, name FROM seen WHERE digest = ?", (digest,)).fetchall()
        yield self._blobs / digest, label[0] if label else digest[:12]
        for kind, name in rows:
            with suppress(NotFound):
                if self.digest(kind, name) == digest:  # it may have been edited since
                    yield self.find(kind, name), name.rpartition("/")[2]
        yield self._previews / digest, digest[:12]

    def read(self, ref: FileRef) -> bytes:
        """Return the content of an upload or result, verified."""
        data = self.open(ref.digest)[0].read_bytes()
        if hashlib.sha256(data).hexdigest() != ref.digest:
            raise BadFile(f"The file {ref.name!r} has changed on disk since it was stored.")
        return data

    # Coming in -------------------------------------------------------------------------------------------------------

    @contextmanager
    def receive(self) -> Iterator[Upload]:
        """Open an upload; what was not committed when the block ends is removed."""
        temporary = _temporary(self._blobs)
        try:
            with _disk(), temporary.open("xb") as file:
                yield Upload(file, temporary)
        finally:
            temporary.unlink(missing_ok=True)

    def commit(self, upload: Upload, name: str) -> FileRef:
        """Keep an upload under its content, and under `name`, numbered if another file has that name."""
        label = name.replace("\\", "/").rpartition("/")[2]
        if not _fits(label) or FORBIDDEN.search(label) or label in {"", ".", ".."}:
            raise BadInput("A file name is 1 to 255 bytes long, without control characters and ':'.", field="name")
        digest = upload.finish()
        os.replace(upload.temporary, self._blobs / digest)
        _sync_folder(self._blobs)
        with self._db.write() as db:
            label = next(n for n in _numbered(label) if self._is_free(n, digest))
            db.execute("INSERT OR REPLACE INTO uploads VALUES (?, ?, ?)", (label, digest, time.time()))
        return FileRef(digest, label, _stored(self._blobs / digest, label, digest).media)

    def _is_free(self, name: str, digest: str) -> bool:
        taken = self._upload(name)
        return taken == digest or (taken is None and not any(p.exists() for p in self._candidates("input", name)))

    # Going out -------------------------------------------------------------------------------------------------------

    def save(self, data: bytes, *, prefix: str, suffix: str, media: str, temporary: bool = False) -> FileRef:
        """Write a result as `prefix_00001.suffix`; temporary ones are only shown, and kept for a week.

        The same bytes under the same prefix are one file: a step that runs again after a crash adds nothing.
        """
        digest = hashlib.sha256(data).hexdigest()
        suffix = suffix.removeprefix(".")
        if temporary:
            _write(data, self._previews / digest)
            return FileRef(digest, f"{prefix.rpartition('/')[2]}.{suffix}", media)
        name = self._saved(prefix, suffix, digest)
        if name is None:
            name = self._reserve(prefix, suffix)
            path = safe_join(self._roots["output"], name)
            try:
                _write(data, path)
            except Unavailable:
                path.unlink()
                raise
            self._remember("output", name, path.stat(), digest)
        return FileRef(digest, name, media)

    def _saved(self, prefix: str, suffix: str, digest: str) -> str | None:
        """Return the name under which these bytes were saved before and still are."""
        pattern = re.compile(re.escape(prefix) + r"_\d{5,}\." + re.escape(suffix))
        with self._db.read() as db:
            rows = db.execute("SELECT name FROM seen WHERE kind = 'output' AND digest = ?", (digest,)).fetchall()
        for (name,) in rows:
            with suppress(NotFound):
                if pattern.fullmatch(name) and self.digest("output", name) == digest:
                    return str(name)
        return None

    def _reserve(self, prefix: str, suffix: str) -> str:
        """Claim the next free number by creating an empty file: two processes never get the same one."""
        folder = safe_join(self._roots["output"], f"{prefix}_.{suffix}").parent
        with _disk():
            folder.mkdir(parents=True, exist_ok=True)
            stem = prefix.rpartition("/")[2]
            pattern = re.compile(re.escape(stem) + r"_(\d{5,})\.")
            taken = (int(m[1]) for entry in os.scandir(folder) if (m := pattern.match(entry.name)))
            for number in itertools.count(max(taken, default=0) + 1):
                with suppress(FileExistsError):
                    (folder / f"{stem}_{number:05}.{suffix}").touch(exist_ok=False)
                    return f"{prefix}_{number:05}.{suffix}"
        raise AssertionError("unreachable")  # pragma: no cover

    def forget_previews(self) -> None:
        """Remove previews older than a week."""
        oldest = time.time() - PREVIEW_DAYS * 86_400
        for path in self._previews.iterdir():
            if path.stat().st_mtime < oldest:
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the index."""
        self._db.close()

    # Inside ----------------------------------------------------------------------------------------------------------

    def _root(self, kind: str) -> Path:
        if kind not in self._roots:
            raise NotFound(f"There is no folder {kind[:80]!r}; choose one of: {', '.join(self._roots)}.")
        return self._roots[kind]

    def _upload(self, name: str) -> str | None:
        with self._db.read() as db:
            row = db.execute("SELECT digest FROM uploads WHERE name = ?", (name,)).fetchone()
        return row[0] if row else None

    @cached_property
    def _examples(self) -> dict[str, Path]:
        return {p.name: p for p in sorted(self._example_root.glob("**/examples/*"), reverse=True) if p.is_file()}

    def _remember(self, kind: str, name: str, stat: os.stat_result, digest: str) -> None:
        row = (kind, name, stat.st_size, stat.st_mtime_ns, stat.st_ino, digest)
        with self._db.write() as db:
            db.execute("INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?, ?, ?)", row)


def _fits(part: str) -> bool:
    """Say whether a part of a path is short enough, and text that a file system takes."""
    try:
        return len(part.encode()) <= NAME_BYTES
    except UnicodeEncodeError:  # a lone surrogate
        return False


def _numbered(name: str) -> Iterator[str]:
    """Yield `cat.png`, `cat (2).png`, `cat (3).png` ..."""
    yield name
    stem, dot, suffix = name.rpartition(".")
    for number in itertools.count(2):  # pragma: no branch
        yield f"{stem or suffix} ({number}){dot if stem else ''}{suffix if stem else ''}"


def _stored(path: Path, name: str, digest: str) -> Stored:
    stat = path.stat()
    with path.open("rb") as file:
        media = sniff(file.read(16))
    return Stored(name, digest, media, stat.st_size, stat.st_mtime)


def _temporary(folder: Path) -> Path:
    return folder / f".{secrets.token_hex(8)}.tmp-{os.getpid()}"


def _write(data: bytes, path: Path) -> None:
    """Put `data` at `path` so that a crash leaves the old file or the new one, never a part."""
    temporary = _temporary(path.parent)
    try:
        with _disk(), temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a rename durable. Windows cannot open folders, and does not need to."""
    if os.name == "posix":  # pragma: no branch
        handle = os.open(folder, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)


@contextmanager
def _disk() -> Iterator[None]:
    """Turn a full or read-only disk into a sentence."""
    try:
        yield
    except OSError as error:
        why = f"The file cannot be written: {error.strerror}."
        raise Unavailable(f"{why} Make room, or choose another name, then try again.") from error
