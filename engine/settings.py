"""What a person can set: one dataclass, filled from flags or environment variables by `main.py`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from engine.errors import BadInput

ROOT = Path(__file__).resolve().parent.parent
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(I?)B?", re.IGNORECASE | re.ASCII)
CacheMode = Literal["disk", "ram", "none"]


def parse_bytes(text: str) -> int:
    """Read a size such as `4GiB` (binary), `800MB` (decimal) or `1048576` in bytes."""
    match = SIZE.fullmatch(text.strip())
    if match is None:
        raise BadInput(f"{text!r} is not a size; write for example 4GiB, 800MB or a number of bytes.")
    power = " KMGT".index(match[2].upper() or " ")
    return int(float(match[1]) * (1024 if match[3] else 1000) ** power)


def _says(text: str) -> dict[str, str]:
    return {"help": text}


@dataclass(frozen=True)
class Settings:
    """All settings. Each is a flag (`--data-dir`) and an environment variable (`SFUMATO_DATA_DIR`)."""

    host: str = field(default="127.0.0.1", metadata=_says("address to listen on; other than loopback needs a token"))
    port: int = field(default=8187, metadata=_says("port to listen on; 0 takes a free one"))
    comfyui_port: int = field(
        default=0, metadata=_says("loopback port where ComfyUI's clients need no token, usually 8188; 0 opens none")
    )
    token: str | None = field(default=None, metadata=_says("token that clients must show; made at start if not given"))
    no_token: bool = field(default=False, metadata=_says("ask for no token; loopback only"))
    allow_host: str = field(
        default="", metadata=_says("further names of this server, comma-separated; https://NAME behind a TLS proxy")
    )
    data_dir: Path = field(default=ROOT / "data", metadata=_says("folder of jobs, results, uploads and workflows"))
    models_dir: Path = field(default=ROOT / "models", metadata=_says("folder of weights: checkpoints, loras, vae, ..."))
    extra_model_paths: Path | None = field(
        default=None,
        metadata=_says("YAML file that names more folders of weights, in ComfyUI's format"),
    )
    output_dir: Path = field(default=ROOT / "output", metadata=_says("folder that saved pictures go to"))
    custom_nodes: tuple[Path, ...] = field(
        default=(ROOT / "custom_nodes",), metadata=_says("folder of node packs; repeatable")
    )
    cache: CacheMode = field(default="disk", metadata=_says("where finished steps are kept: disk, ram or none"))
    budget: int | None = field(
        default=None, metadata=_says("memory for models and results, e.g. 4GiB; half of the machine's by default")
    )

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
        plain["custom_nodes"] = [str(folder) for folder in self.custom_nodes]
        return {name: str(value) if isinstance(value, Path) else value for name, value in plain.items()}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Settings:
        """Read what `to_json` wrote."""
        values: dict[str, Any] = {k: Path(v) if _is_path(k) and v else v for k, v in plain.items()}
        if "custom_nodes" in values:
            values["custom_nodes"] = tuple(map(Path, values["custom_nodes"]))
        return cls(**values)


def _is_path(name: str) -> bool:
    return name.endswith(("_dir", "_paths"))


def _parse(name: str, text: str) -> Any:
    if _is_path(name):
        return Path(text)
    if name == "custom_nodes":
        return tuple(Path(p) for p in text.split(os.pathsep) if p)
    if name == "budget":
        return parse_bytes(text)
    if name in {"port", "comfyui_port"}:
        if not (text.isascii() and text.isdigit() and int(text) < 2**16):
            raise BadInput(f"SFUMATO_{name.upper()} must be a number from 0 to 65535, got {text!r}.")
        return int(text)
    if name == "cache" and text not in get_args(CacheMode):
        raise BadInput(f"SFUMATO_CACHE must be one of {', '.join(get_args(CacheMode))}, got {text!r}.")
    if name == "no_token":
        return text.lower() in {"1", "true", "yes"}
    return text
