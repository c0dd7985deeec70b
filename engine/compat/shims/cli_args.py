"""`comfy.cli_args`: the flags that packs look at."""

from __future__ import annotations

from typing import Any


class _Args:
    """Flags; one that is not set here is None."""

    disable_metadata = False
    cpu = True
    listen = "127.0.0.1"
    multi_user = False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return None


args = _Args()
