"""Where things lie: the shipped folder, and the folder for caches and resumable training state."""

import os
from pathlib import Path

HERE = Path(__file__).resolve().parent


def train_dir() -> Path:
    """Folder for caches and training state, outside the work tree; `SFUMATO_TRAIN_DIR` moves it."""
    chosen = os.environ.get("SFUMATO_TRAIN_DIR")
    folder = Path(chosen) if chosen else Path.home() / ".cache" / "sfumato" / "bozzetto"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def cache_dir() -> Path:
    """Folder for things that can be made again from the repository alone (rasterised sprites, latents)."""
    folder = train_dir() / "cache"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
