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
from engine.compat.convert import is_foreign, open_file, opened
from engine.compat.export import to_api
from engine.compat.report import Report
from engine.errors import BadFile, NotFound
from engine.registry import specs_of
from engine.settings import Settings

PICTURES = {".png", ".webp", ".jpg", ".jpeg"}
API = "comfyui-api"


def main(args: argparse.Namespace) -> int:
    """Run `validate` or `convert`."""
    return validate(args) if args.command == "validate" else convert(args)


def validate(args: argparse.Namespace) -> int:
    """Check a whole workflow; WorkflowInvalid lists its problems."""
    specs = specs_of(catalogue(settings_of(args)))
    built = graph.build(opened(read(args.file), specs).workflow, specs, whole=True)
    print(f"{args.file} is valid: {len(built.nodes)} nodes; running it computes {', '.join(built.wanted)}.")
    return 0


def convert(args: argparse.Namespace) -> int:
    """Write a workflow in the present format, or as a prompt of ComfyUI; what changed on the way goes to stderr.

    Keys are sorted, so that files differ only where they mean something else.
    """
    specs = specs_of(catalogue(settings_of(args)))
    found = open_file(_bytes(args.file), specs)
    result, report = to_api(found.workflow, specs) if args.to == API else (found.workflow.to_json(), found.report)
    _tell(report)
    text = json.dumps(result, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
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


def ours(path: Path, settings: Settings) -> Any:
    """Return the workflow in a file as our JSON; one of another program is converted, and what changed is told."""
    plain = read(path)
    if not is_foreign(plain):
        return plain
    found = opened(plain, specs_of(catalogue(settings)))
    _tell(found.report)
    return found.workflow.to_json()


def read(path: Path) -> Any:
    """Return the JSON in a workflow file, or inside a picture; BadFile and NotFound say what is wrong with `path`."""
    data = _bytes(path)
    if path.suffix.lower() in PICTURES:
        return _inside(data, path)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as problem:
        raise BadFile(f"{path} is no workflow: it is not valid JSON ({problem}).") from problem


def _tell(report: Report) -> None:
    for sentence in report.sentences():
        print(sentence, file=sys.stderr)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as problem:
        folder = path.parent
        near = workflow.nearest(path.name, (p.name for p in folder.iterdir())) if folder.is_dir() else ""
        raise NotFound(f"There is no file {path}.{near}") from problem
    except OSError as problem:
        raise BadFile(f"{path} cannot be read: {problem.strerror}.") from problem


def _inside(data: bytes, path: Path) -> dict[str, Any]:
    from engine.pictures import embedded_workflow  # NumPy and Pillow take a fifth of a second

    found = embedded_workflow(data)
    if found is None:
        raise BadFile(f"{path} holds no workflow. Pictures that Sfumato saves do, unless a program removed it.")
    return found
