"""`main.py models`: the weights that are found, what each was recognised as, and why; pickles made safetensors."""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Iterator
from typing import Any

from engine.cli.parser import settings_of
from engine.jobs.execute import cards
from engine.settings import Settings


def main(args: argparse.Namespace) -> int:
    """List the weights by kind, or convert a file."""
    if args.action == "convert":
        return convert(args)
    settings = settings_of(args)
    found = found_in(settings)
    if args.json:
        print(json.dumps({"models": found}))
        return 0
    for kind in dict.fromkeys(each["kind"] for each in found):
        print(kind)
        for each in (e for e in found if e["kind"] == kind):
            print("\n".join(lines(each)))
    if not found:
        print(f"No weights in {settings.models_dir}.")
    return 0


def convert(args: argparse.Namespace) -> int:
    """Convert one file and say what came of it."""
    done = importlib.import_module("engine.diffusion.convert").convert(args.file, args.out)
    if args.json:
        print(json.dumps(done))
        return 0
    left = f", left out: {', '.join(done['left_out'][:5])}" if done["left_out"] else ""
    print(f"{done['file']}: {done['tensors']} tensors{left}")
    return 0


def found_in(settings: Settings) -> list[dict[str, Any]]:
    """Return kind, name and card of all weights."""
    device = importlib.import_module("engine.diffusion.device")  # by name: it brings torch
    return list(cards(device.ModelManager(settings.models_dir, settings.data_dir, extra=settings.extra_model_paths)))


def lines(each: dict[str, Any]) -> Iterator[str]:
    """Yield one file's text."""
    yield f"  {each['name']}: {each.get('title') or each.get('family') or each.get('problem')}"
    for reason in each.get("entries", ()):
        yield f"      {reason['entry']}: {reason['value']} ({reason['why']})"
