"""Workflow files on the command line: read one, `main.py validate`, `main.py convert`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine import graph, workflow
from engine.cli.nodes import catalogue
from engine.cli.parser import settings_of
from engine.compat.convert import Opened, is_foreign, open_file
from engine.compat.export import to_api
from engine.compat.report import Report
from engine.errors import BadFile, NotFound
from engine.node import NodeSpec
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
    built = graph.build(found_in(args.file, specs).workflow, specs, whole=True)
    print(f"{args.file} is valid: {len(built.nodes)} nodes; running it computes {', '.join(built.wanted)}.")
    return 0


def convert(args: argparse.Namespace) -> int:
    """Write a workflow in the present format, or as a prompt of ComfyUI; what changed on the way goes to stderr.

    Keys are sorted, so that files differ only where they mean something else.
    """
    specs = specs_of(catalogue(settings_of(args)))
    found = found_in(args.file, specs)
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
    plain = _plain(_bytes(path))
    if isinstance(plain, dict) and not is_foreign(plain):
        return plain
    found = found_in(path, specs_of(catalogue(settings)))
    _tell(found.report)
    return found.workflow.to_json()


def found_in(path: Path, specs: Mapping[str, NodeSpec]) -> Opened:
    """Return the workflow in a file of any kind that can be opened; BadFile names the file."""
    try:
        return open_file(_bytes(path), specs)
    except BadFile as problem:
        raise BadFile(f"{path} holds no workflow. {problem.message}") from problem


def read(path: Path) -> Any:
    """Return the JSON in a workflow file, or inside a picture; BadFile and NotFound say what is wrong with `path`."""
    data = _bytes(path)
    if path.suffix.lower() in PICTURES:
        return _inside(data, path)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as problem:
        raise BadFile(f"{path} is no workflow: it is not valid JSON ({problem}).") from problem


def _plain(data: bytes) -> Any:
    """Return the JSON that a file is, or None."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


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
