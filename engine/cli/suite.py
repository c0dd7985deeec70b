"""`main.py test`: the whole suite, or what pytest's own arguments choose."""

from __future__ import annotations

import argparse
import subprocess
import sys

from engine.settings import ROOT


def main(args: argparse.Namespace) -> int:
    """Run pytest in a process of its own, so that it measures every module from its import on."""
    return subprocess.call([sys.executable, "-m", "pytest", *args.rest], cwd=ROOT)
