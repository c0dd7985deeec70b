"""Folders of weights elsewhere on the machine, from `extra_model_paths.yaml` in ComfyUI's documented format.

    comfyui:
        base_path: ~/ComfyUI/
        is_default: true
        checkpoints: models/checkpoints/
        text_encoders: |
            models/text_encoders/
            models/clip/

Each section names folders by kind, one a line (or a list), relative to its `base_path`, and that to the file itself.
Sections with `is_default` come before the models folder, the others after it. Kinds that nobody here reads are skipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from engine.errors import BadFile

FILE = "extra_model_paths.yaml"
SIZE_MAX = 1 << 20  # bytes


def read(path: Path) -> tuple[list[tuple[str, Path]], list[tuple[str, Path]]]:
    """Return (kind as written, folder) of the default sections and of the others; BadFile if it is no such file."""
    try:
        with path.open(encoding="utf-8") as file:
            plain = yaml.safe_load(file.read(SIZE_MAX))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise BadFile(f"{path.name} cannot be read: {' '.join(str(error).split())[:200]}.") from error
    sections = plain if plain is not None else {}
    if not isinstance(sections, dict) or not all(isinstance(s, dict) or s is None for s in sections.values()):
        raise BadFile(
            f"{path.name} needs sections, each with folders by kind, such as `checkpoints: models/checkpoints`."
        )
    found = [(bool(s.get("is_default")), list(_folders(path.parent, s))) for s in sections.values() if s]
    return [f for first, each in found if first for f in each], [f for first, each in found if not first for f in each]


def _folders(home: Path, section: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    base = home / Path(str(section.get("base_path") or "")).expanduser()
    for kind, value in section.items():
        if kind not in ("base_path", "is_default"):
            yield from ((str(kind), base / Path(line).expanduser()) for line in _lines(value))


def _lines(value: Any) -> Sequence[str]:
    lines = value if isinstance(value, list) else str(value or "").split("\n")
    return [text for line in lines if (text := str(line).partition("#")[0].strip())]
