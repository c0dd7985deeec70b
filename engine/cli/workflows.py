"""Workflow files on the command line: read one, `main.py validate`, `main.py convert`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from engine import graph, workflow
from engine.cli.nodes import catalogue
from engine.cli.parser import settings_of
from engine.errors import BadFile, NotFound
from engine.registry import specs_of

PICTURES = {".png", ".webp", ".jpg", ".jpeg"}


def main(args: argparse.Namespace) -> int:
    """Run `validate` or `convert`."""
    return validate(args) if args.command == "validate" else convert(args)


def validate(args: argparse.Namespace) -> int:
    """Check a whole workflow; WorkflowInvalid lists its problems."""
    parsed = workflow.parse(read(args.file))
    built = graph.build(parsed, specs_of(catalogue(settings_of(args))), whole=True)
    print(f"{args.file} is valid: {len(built.nodes)} nodes; running it computes {', '.join(built.wanted)}.")
    return 0


def convert(args: argparse.Namespace) -> int:
    """Write a workflow in the present format: keys sorted, so that files differ only where they mean something else."""
    text = json.dumps(workflow.parse(read(args.file)).to_json(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    if args.out is None:
        sys.stdout.write(text)
        return 0
    temporary = args.out.with_name(f"{args.out.name}.tmp-{os.getpid()}")
    try:
        temporary.write_text(text, "utf-8")
        temporary.replace(args.out)
    except OSError as problem:
        raise BadFile(f"{args.out} cannot be written: {problem.strerror}.") from problem
    print(args.out)
    return 0


def read(path: Path) -> Any:
    """Return the JSON in a workflow file, or inside a picture; BadFile and NotFound say what is wrong with `path`."""
    try:
        data = path.read_bytes()
    except FileNotFoundError as problem:
        folder = path.parent
        near = workflow.nearest(path.name, (p.name for p in folder.iterdir())) if folder.is_dir() else ""
        raise NotFound(f"There is no file {path}.{near}") from problem
    except OSError as problem:
        raise BadFile(f"{path} cannot be read: {problem.strerror}.") from problem
    if path.suffix.lower() in PICTURES:
        return _inside(data, path)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as problem:
        raise BadFile(f"{path} is no workflow: it is not valid JSON ({problem}).") from problem


def _inside(data: bytes, path: Path) -> dict[str, Any]:
    from engine.pictures import embedded_workflow  # NumPy and Pillow take a fifth of a second

    found = embedded_workflow(data)
    if found is None:
        raise BadFile(f"{path} holds no workflow. Pictures that Sfumato saves do, unless a program removed it.")
    return found
