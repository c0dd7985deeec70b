"""Weights by name: the folders of a models directory as people have them, and content digests that are remembered."""

from __future__ import annotations

import contextlib
import difflib
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from engine.diffusion import model_paths
from engine.diffusion.families.base import INDEX, SUFFIX, digest_of, folder_files, open_source
from engine.errors import BadFile, NotFound
from engine.types import Weights

EMBEDDED = "bozzetto"
WORD = "embeddings"  # the kind whose names are words in prompts, written without folder and suffix
FOLDERS: Mapping[str, tuple[str, ...]] = {
    "checkpoints": ("checkpoints", "Stable-diffusion"),
    "diffusers": ("diffusers",),
    "unet": ("unet", "diffusion_models"),
    "vae": ("vae", "VAE"),
    "clip": ("clip", "text_encoders"),
    "loras": ("loras", "Lora", "LyCORIS"),
    "embeddings": ("embeddings",),
    "controlnet": ("controlnet", "ControlNet", "t2i_adapter"),
    "gligen": ("gligen",),
    "encoder": ("dual_encoders",),
    "clip_vision": ("clip_vision",),
    "style_models": ("style_models",),
    "hypernetworks": ("hypernetworks",),
    "upscale_models": ("upscale_models", "ESRGAN", "RealESRGAN", "SwinIR"),
}
KINDS = ("embedded", *FOLDERS)
SHIPPED = ("loras", "embeddings", "controlnet", "gligen", "encoder")  # what may lie beside the embedded model
CHUNK = 1 << 20
PICTURES = tuple(f"{middle}.{end}" for middle in (".preview", "") for end in ("png", "webp", "jpg", "jpeg"))


class Library:
    """Finds weights. `embedded` is the shipped model's folder; what lies in its `loras` and so on is listed as well,
    and itself after all checkpoints.

    `extra`: a file that names further folders (`model_paths`); without it, the one in the models folder, if any.
    """

    def __init__(self, models_dir: Path, data_dir: Path, *, embedded: Path, extra: Path | None = None) -> None:
        self.models_dir, self.embedded = models_dir, embedded
        there = (models_dir / model_paths.FILE).is_file()
        self._extra = extra or (models_dir / model_paths.FILE if there else None)
        self._digests = Digests(data_dir / "weights.sqlite")

    def paths(self, kind: str) -> dict[str, Path]:
        """Return name -> path of all weights of a kind. Names are relative, with `/`; people's own come first."""
        if kind == "embedded":
            return {EMBEDDED: self.embedded} if (self.embedded / INDEX).is_file() else {}
        if kind not in FOLDERS:
            raise NotFound(f"There is no kind of weights {kind!r}; known: {', '.join(KINDS)}.")
        listed = (_listed(root, folders=kind == "diffusers") for root in reversed(self._roots(kind)))
        found = {name: path for each in listed for name, path in each}  # of one name, the first root's
        shipped = _listed(self.embedded / kind, folders=False) if kind in SHIPPED else ()
        whole = self.paths("embedded") if kind == "checkpoints" else {}
        return {**{f"{EMBEDDED}/{name}": path for name, path in shipped}, **dict(sorted(found.items())), **whole}

    def _roots(self, kind: str) -> list[Path]:
        first, later = model_paths.read(self._extra) if self._extra else ([], [])
        own = [self.models_dir / folder for folder in FOLDERS[kind]]
        return [*_of_kind(kind, first), *own, *_of_kind(kind, later)]

    def picture(self, kind: str, name: str) -> Path | None:
        """Return the picture that people put beside weights: `name.preview.png` or `name.png`, webp or jpg."""
        path = self._known(kind, name)
        beside = (path.with_name(path.name.removesuffix(SUFFIX) + ending) for ending in PICTURES)
        return next((picture for picture in beside if picture.is_file()), None)

    def metadata(self, kind: str, name: str) -> dict[str, str]:
        """Return what weights say of themselves in their headers."""
        headers = open_source(self._known(kind, name)).headers.values()
        return {key: text for header in headers for key, text in header.metadata.items()}

    def state(self, kind: str) -> str:
        """Return a digest of what lies in the folders of a kind, by names, sizes and times."""
        stamps = {name: _stamp(path) if path.exists() else "gone" for name, path in self.paths(kind).items()}
        return digest_of(f"{name}\0{stamp}\n".encode() for name, stamp in stamps.items())

    def path(self, weights: Weights) -> Path:
        """Return where `weights` lie; BadFile if their content is no longer what the digest says."""
        path = self._known(weights.kind, weights.name)
        if self._digests.of(path) != weights.digest:
            raise BadFile(f"{weights.name} has changed since the workflow loaded it; run it again.")
        return path

    def find(self, kind: str, name: str) -> Weights:
        """Return the weights called `name`, with their content's digest; BadFile if their headers are corrupt."""
        path = self._known(kind, name)
        if not self._digests.knows(path):
            open_source(path)  # before a terabyte of holes is read through
        return Weights(kind, name, self._digests.of(path))

    def _known(self, kind: str, name: str) -> Path:
        paths = self.paths(kind)
        if kind == WORD and name not in paths:
            words = {n.rpartition("/")[2].removesuffix(SUFFIX): n for n in reversed(paths)}
            name = words.get(name, name)
        if name not in paths:
            near = difflib.get_close_matches(name, paths, n=4, cutoff=0.3) or sorted(paths)[:4]
            there = f"Nearest are: {', '.join(near)}." if near else f"Put one into {self._home(kind)}."
            raise NotFound(f"There is no {name[:200]!r} among the {kind}. {there}")
        return paths[name]

    def _home(self, kind: str) -> str:
        return f"models/{FOLDERS[kind][0]}" if kind in FOLDERS else "models/bozzetto"


def _of_kind(kind: str, named: Sequence[tuple[str, Path]]) -> list[Path]:
    """Return the folders whose name for their kind is one of this kind's."""
    return [path for written, path in named if written == kind or written in FOLDERS[kind]]


class Digests:
    """SHA-256 of files and diffusers folders, remembered by path, size, time and inode."""

    def __init__(self, database: Path) -> None:
        database.parent.mkdir(parents=True, exist_ok=True)
        self._database = database
        with self._open() as db:
            db.execute("CREATE TABLE IF NOT EXISTS digests (path TEXT PRIMARY KEY, stamp TEXT, digest TEXT)")

    def of(self, path: Path) -> str:
        """Return the digest of a file's content, or of a folder's files with their names."""
        try:
            with self._open() as db:
                if not path.is_dir():
                    return _remembered(db, path)
                lines = (f"{f.relative_to(path)}:{_remembered(db, f)}\n" for f in folder_files(path))
                return digest_of(line.encode() for line in lines)
        except OSError as error:
            raise BadFile(f"{path.name} cannot be read: {error.strerror or error}.") from error

    def knows(self, path: Path) -> bool:
        """Say whether a file's digest is remembered, so that its content has been read before."""
        try:
            with self._open() as db:
                return not path.is_dir() and _looked_up(db, path)[1] is not None
        except OSError:
            return False

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self._database, timeout=30)) as db, db:
            yield db


def _remembered(db: sqlite3.Connection, path: Path) -> str:
    """Return a file's digest, computed if it is new or has changed."""
    stamp, known = _looked_up(db, path)
    if known:
        return known
    digest = digest_of(_chunks(path))
    db.execute("INSERT OR REPLACE INTO digests VALUES (?, ?, ?)", (str(path), stamp, digest))
    return digest


def _looked_up(db: sqlite3.Connection, path: Path) -> tuple[str, str | None]:
    """Return a file's stamp, and its digest if it is remembered."""
    stamp = _stamp(path)
    row = db.execute("SELECT digest FROM digests WHERE path = ? AND stamp = ?", (str(path), stamp)).fetchone()
    return stamp, str(row[0]) if row else None


def _stamp(path: Path) -> str:
    """Return what changes when a file does: its size, time and inode."""
    status = path.stat()
    return f"{status.st_size}:{status.st_mtime_ns}:{status.st_ino}"


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def _listed(root: Path, *, folders: bool) -> Sequence[tuple[str, Path]]:
    """Return (name, path) of the weights files, or diffusers folders, under `root`, sorted; links are followed once."""
    seen: set[str] = set()
    found: list[tuple[str, Path]] = []
    for base, inner, files in os.walk(root, followlinks=True):
        real = os.path.realpath(base)
        if real in seen:
            inner.clear()
            continue
        seen.add(real)
        if folders and INDEX in files:
            inner.clear()
            found.append((Path(base).relative_to(root).as_posix(), Path(base)))
        elif not folders:
            weights = (Path(base, f) for f in files if f.lower().endswith(SUFFIX))
            found += [(p.relative_to(root).as_posix(), p) for p in weights]
    return sorted(found)
