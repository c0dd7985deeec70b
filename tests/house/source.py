"""The product's Python files, parsed once."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("engine", "nodes", "web", "custom_nodes", "models")
GENERATED = ("web/static/", "web/editor/")
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """One file: its path from the root, its text and its syntax tree."""

    path: str
    text: str
    tree: ast.Module

    def functions(self) -> Iterator[Function]:
        """Yield every function and method, nested ones too."""
        return (n for n in ast.walk(self.tree) if isinstance(n, Function))

    def at(self, node: ast.AST) -> str:
        """Say where `node` is."""
        return f"{self.path}:{getattr(node, 'lineno', 1)} {getattr(node, 'name', '')}".strip()


@cache
def sources(*roots: str) -> tuple[Source, ...]:
    """Return the files under `roots` (the product and main.py by default)."""
    places = [ROOT / r for r in roots or (*PRODUCT, "main.py")]
    paths = sorted(p for place in places for p in ([place] if place.is_file() else place.rglob("*.py")))
    found = (_source(p) for p in paths)
    return tuple(s for s in found if not s.path.startswith(GENERATED))


def _source(path: Path) -> Source:
    text = path.read_text("utf-8")
    return Source(path.relative_to(ROOT).as_posix(), text, ast.parse(text))


def length(function: Function) -> int:
    """Count a function's lines from `def` to its end, its docstring apart."""
    lines = function.end_lineno - function.lineno + 1 if function.end_lineno else 0
    first = function.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def depth(node: ast.AST) -> int:
    """Return how deep the blocks of a function are nested; `elif` and functions inside do not count."""
    blocks = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.Match)
    deepest = 0
    for field, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or isinstance(child, Function | ast.ClassDef | ast.Lambda):
                continue
            is_elif = isinstance(node, ast.If) and field == "orelse" and isinstance(child, ast.If)
            deepest = max(deepest, depth(child) + (isinstance(child, blocks) and not is_elif))
    return deepest
