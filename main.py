#!/usr/bin/env python3
"""Sfumato: a node-based visual workflow engine for diffusion image models. `python3 main.py --help` tells the rest."""

from __future__ import annotations

import sys

from engine.cli import bootstrap


def main() -> int:
    """Read the command line, build the parts and run them; returns the exit code."""
    bootstrap.check_python()
    from engine.cli.app import start  # an old Python cannot read it

    return start(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
