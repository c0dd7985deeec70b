"""`main.py serve`, and `main.py` alone."""

from __future__ import annotations

import argparse

from engine.cli.parser import settings_of
from web.serve import serve


def main(args: argparse.Namespace) -> int:
    """Serve until Ctrl+C."""
    serve(settings_of(args))
    return 0
