"""`main.py packs`: ComfyUI's node packs, and the one time that a person says that their code may run."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from engine.cli.parser import settings_of
from engine.compat import packs


def main(args: argparse.Namespace) -> int:
    """List packs, or change what is trusted."""
    settings = settings_of(args)
    if args.action == "trust":
        packs.trust(settings, args.name)
    elif args.action == "distrust":
        packs.distrust(settings, args.name)
    found = packs.listed(settings)
    if args.json:
        print(json.dumps({"packs": [asdict(pack) for pack in found]}))
        return 0
    for pack in found:
        print(f"{pack.name}: {'trusted' if pack.trusted else pack.reason} ({pack.files} files, {pack.digest[:12]})")
    if not found:
        print("No ComfyUI packs in " + ", ".join(map(str, settings.custom_nodes)) + ".")
    return 0
