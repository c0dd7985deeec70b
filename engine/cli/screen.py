"""Lines on standard error: on a terminal one of them refreshes. Standard library only: the installer uses it."""

from __future__ import annotations

import shutil
import sys
from typing import TextIO


class Screen:
    """Writes lines that stay and, on a terminal, one that passes."""

    def __init__(self, file: TextIO | None = None, *, live: bool | None = None) -> None:
        self._file = file or sys.stderr
        self.live = self._file.isatty() if live is None else live

    def line(self, text: str) -> None:
        """Show a line that stays."""
        self._write(f"{text}\n")

    def update(self, lasting: str, passing: str) -> None:
        """Show the passing line on a terminal; elsewhere the lasting one, if there is any."""
        if self.live:
            self._write(passing[: shutil.get_terminal_size().columns - 1])
        elif lasting:
            self.line(lasting)

    def _write(self, text: str) -> None:
        self._file.write(f"\r\x1b[K{text}" if self.live else text)
        self._file.flush()
