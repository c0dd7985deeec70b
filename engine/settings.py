"""What a person can set: one dataclass, filled from flags or environment variables by `main.py`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from engine.errors import BadInput

ROOT = Path(__file__).resolve().parent.parent
SIZE = re.compile(r"([\d.]+)\s*([KMGT]?)(I?)B?", re.IGNORECASE)
CacheMode = Literal["disk", "ram", "none"]


def parse_bytes(text: str) -> int:
    """Read a size such as `4GiB` (binary), `800MB` (decimal) or `1048576` in bytes."""
    match = SIZE.fullmatch(text.strip())
    if match is None or match[1].count(".") > 1:
        raise BadInput(f"{text!r} is not a size; write for example 4GiB, 800MB or a number of bytes.")
    power = " KMGT".index(match[2].upper() or " ")
    return int(float(match[1]) * (1024 if match[3] else 1000) ** power)


def _setting(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class Settings:
    """All settings. Each is a flag (`--data-dir`) and an environment variable (`SFUMATO_DATA_DIR`)."""

    host: str = _setting("127.0.0.1", "address to listen on; other than loopback needs a token")
    port: int = _setting(8187, "port to listen on; 0 takes a free one")
    token: str | None = _setting(None, "token that clients must show; made at start if not given")
    no_token: bool = _setting(False, "ask for no token; loopback only")
    data_dir: Path = _setting(ROOT / "data", "folder of jobs, results, uploads and workflows")
    models_dir: Path = _setting(ROOT / "models", "folder of weights: checkpoints, loras, vae, ...")
    output_dir: Path = _setting(ROOT / "output", "folder that saved pictures go to")
    custom_nodes: tuple[Path, ...] = _setting((ROOT / "custom_nodes",), "folder of node packs; repeatable")
    cache: CacheMode = _setting("disk", "where finished steps are kept: disk, ram or none")
    budget: int | None = _setting(None, "memory for models and results, e.g. 4GiB; half of the machine's by default")

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ, **given: Any) -> Settings:
        """Fill settings from flags (`given`, None = not given), else `SFUMATO_*`, else the defaults."""
        values = {name: value for name, value in given.items() if value is not None}
        for setting in fields(cls):
            text = env.get(f"SFUMATO_{setting.name.upper()}")
            if text is not None and setting.name not in values:
                values[setting.name] = _parse(setting.name, text)
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON, for the worker's command line; the token is not its business."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in {"token", "no_token"}}
        return {k: [str(p) for p in v] if isinstance(v, tuple) else str(v) if isinstance(v, Path) else v for k, v in plain.items()}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Settings:
        """Read what `to_json` wrote."""
        values = {k: Path(v) if k.endswith("_dir") else v for k, v in plain.items()}
        if "custom_nodes" in values:
            values["custom_nodes"] = tuple(Path(p) for p in values["custom_nodes"])
        return cls(**values)


def _parse(name: str, text: str) -> Any:
    if name.endswith("_dir"):
        return Path(text)
    if name == "custom_nodes":
        return tuple(Path(p) for p in text.split(os.pathsep) if p)
    if name == "budget":
        return parse_bytes(text)
    if name == "port":
        if not text.isdigit():
            raise BadInput(f"SFUMATO_PORT must be a number, got {text!r}.")
        return int(text)
    if name == "no_token":
        return text.lower() in {"1", "true", "yes"}
    return text
