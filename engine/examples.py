"""Ready-made workflows: `GROUP/METHOD.json` in a node pack, with its text, pictures and measured time beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from engine import workflow
from engine.errors import NotFound
from engine.pictures import WORKFLOW_MAX
from engine.settings import ROOT, Settings

SHIPPED = ROOT / "nodes"
MEASURED = "gallery.json"  # per group: method -> needs, seconds, threads; `main.py thumbnails` writes it
ENDINGS = ("webp", "png", "jpg")
SENTENCE = re.compile(r"(?<=[.!?])\s")
Which = Literal["before", "after"]


@dataclass(frozen=True)
class Example:
    """A ready-made workflow: `sentence` for its card, `help` in Markdown, `pictures` that lie beside it.

    `needs` is what a person has to bring; `seconds` is how long it took on a CPU with `threads` threads, None if that
    was not measured.
    """

    group: str
    id: str
    name: str
    sentence: str
    help: str
    pictures: tuple[Which, ...]
    needs: tuple[str, ...] = ()
    seconds: float | None = None
    threads: int | None = None


def found(settings: Settings) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Give the workflow files one folder deep; other JSON is passed over, and the first of a name wins."""
    seen = set()
    for root in (SHIPPED, *settings.custom_nodes):
        for path in sorted(root.glob("*/*.json")):
            plain = read(path)
            if plain.get("format") == workflow.FORMAT and path.parts[-2:] not in seen:
                seen.add(path.parts[-2:])
                yield path, plain


def one(settings: Settings, group: str, name: str) -> tuple[Path, dict[str, Any]]:
    """Return the workflow file called `group/name`; NotFound otherwise."""
    for path, plain in found(settings):
        if (path.parent.name, path.stem) == (group, name):
            return path, plain
    raise NotFound(f"There is no ready-made workflow {f'{group}/{name}'[:80]!r}.")


def read(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file, {} if there is none or it is too large."""
    try:
        plain = json.loads(path.read_bytes()) if path.stat().st_size <= WORKFLOW_MAX else None
    except (OSError, ValueError, RecursionError):
        return {}
    return plain if isinstance(plain, dict) else {}


def describe(path: Path, plain: dict[str, Any]) -> Example:
    """Return what the gallery shows of a workflow file."""
    beside = path.with_suffix(".md")
    title, _, text = (beside.read_text(encoding="utf-8") if beside.is_file() else "").partition("\n")
    name = title.removeprefix("# ").strip() or str(plain.get("name") or path.stem)
    sentence = SENTENCE.split(" ".join(text.strip().partition("\n\n")[0].split()), maxsplit=1)[0]
    which = tuple(which for which, _ in pictures(path))
    return Example(path.parent.name, path.stem, name, sentence, text.strip(), which, **_measured(path))


def pictures(path: Path) -> Iterator[tuple[Which, Path]]:
    """Give `method.before.webp` and `method.webp` (or png, jpg) that lie beside `method.json`."""
    suffixes: tuple[tuple[Which, str], ...] = (("before", ".before"), ("after", ""))
    for which, middle in suffixes:
        for ending in ENDINGS:
            beside = path.with_name(f"{path.stem}{middle}.{ending}")
            if beside.is_file():
                yield which, beside
                break


def _measured(path: Path) -> dict[str, Any]:
    """Return `needs`, `seconds` and `threads` as they are written down, each only if it is what it should be."""
    kept = read(path.with_name(MEASURED)).get(path.stem)
    kept = kept if isinstance(kept, dict) else {}
    needs, seconds, threads = (kept.get(name) for name in ("needs", "seconds", "threads"))
    return {
        "needs": tuple(map(str, needs)) if isinstance(needs, list) else (),
        "seconds": float(seconds) if isinstance(seconds, int | float) else None,
        "threads": threads if isinstance(threads, int) else None,
    }
