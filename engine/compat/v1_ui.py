"""What a v1 class shows people (`ui`), as files and text of ours; its own words are kept for its clients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from engine.compat.v1_spec import plain
from engine.context import Context
from engine.errors import SfumatoError
from engine.files import safe_join, sniff
from engine.types import FileRef, Saved


def saved(context: Context, ui: Mapping[str, Any]) -> Saved:
    """Return what is shown: pictures as files, the rest as text, and all of it as JSON in `extra`."""
    extra = {str(key): plain(list(value) if isinstance(value, (list, tuple)) else [value]) for key, value in ui.items()}
    files = tuple(_files(context, extra))
    texts = [v for key in ("text", "string", "value") for v in extra.get(key, []) if isinstance(v, (str, int, float))]
    return Saved("images" if files else "text", files, "\n".join(map(str, texts)), extra)


def _files(context: Context, extra: Mapping[str, Any]) -> Iterator[FileRef]:
    for value in (v for values in extra.values() for v in values if isinstance(v, dict) and "filename" in v):
        name = f"{value.get('subfolder') or ''}/{value['filename']}".replace("\\", "/").strip("/")
        try:
            yield _file(context, str(value.get("type", "output")), name)
        except (SfumatoError, OSError):  # shown by its name alone
            continue


def _file(context: Context, kind: str, name: str) -> FileRef:
    if kind == "temp":
        from engine.compat.shims.folder_paths import temp

        data = safe_join(temp(), name).read_bytes()
        suffix = name.rpartition(".")[2]
        return context.files.save(data, prefix="preview", suffix=suffix, media=sniff(data[:16]), temporary=True)
    with context.files.find(kind, name).open("rb") as file:
        return FileRef(context.files.digest(kind, name), name, sniff(file.read(16)))
