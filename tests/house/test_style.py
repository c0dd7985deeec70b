"""What ruff cannot say: where broad excepts may stand, what may be imported where, which words may not appear."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from engine.cli.bootstrap import REQUIREMENTS, pins
from engine.compat.shims import MODULES
from tests.house.source import PRODUCT, ROOT, Source, sources

# The three boundaries behind which anything may go wrong, and where they are.
BROAD_EXCEPTS = {
    "web/errors.py": "a web request",
    "engine/call.py": "a worker's step: the call of a node",
    "engine/jobs/worker.py": "a worker's step: what a worker is asked besides",
    "engine/registry.py": "a plugin's import",
}
LIBRARY = "engine/diffusion/"
DIFFUSERS_HOMES = (LIBRARY + "families/", LIBRARY + "device.py", LIBRARY + "training/",
                   LIBRARY + "bench/", "models/bozzetto/")  # fmt: skip
PACKAGES = {"PIL": "pillow", "cv2": "opencv-python-headless", "yaml": "pyyaml"}  # import name: package name
FORBIDDEN = re.compile(r"/(work|tmp|root|home)/|pypi\.org|registry\.npmjs|pythonhosted|\bTODO\b|\bFIXME\b|\bXXX\b")


def test_every_function_is_annotated() -> None:
    assert [s.at(f) for s in sources() for f in s.functions() if not annotated(f)] == []


def test_there_is_no_global() -> None:
    assert [s.at(n) for s in sources() for n in ast.walk(s.tree) if isinstance(n, ast.Global)] == []


def test_broad_excepts_stand_at_the_three_boundaries_only() -> None:
    broad = [(s, n) for s in sources() for n in ast.walk(s.tree) if isinstance(n, ast.ExceptHandler) and is_broad(n)]
    assert sorted(s.path for s, _ in broad) == sorted(BROAD_EXCEPTS)


def test_diffusers_and_transformers_stay_behind_their_seam() -> None:
    outside = [s for s in sources() if not s.path.startswith(DIFFUSERS_HOMES)]
    assert [s.path for s in outside if {"diffusers", "transformers"} & set(imported(s))] == []


def test_every_package_that_is_imported_is_pinned() -> None:
    ours = {*PRODUCT, "tests", "main", "__future__"}
    assert missing(sources("engine", "nodes", "web", "custom_nodes", "main.py"), ours, set(pins("run"))) == {}
    given = {name.partition(".")[0] for name in MODULES}  # to packs, by the worker
    assert missing(sources("models", "tests"), ours | given, set(pins("test"))) == {}


def test_every_pin_is_exact() -> None:
    for name in REQUIREMENTS.values():
        for line in (ROOT / name).read_text("utf-8").splitlines():
            assert re.fullmatch(r"#.*|-r [\w.-]+|[a-z0-9-]+==[\w.]+( ;.*)?", line), line


def test_no_machine_path_registry_host_or_leftover_is_written_down() -> None:
    found = {
        f"{path.relative_to(ROOT)}:{number} {match[0]}"
        for path in texts() for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if (match := FORBIDDEN.search(line))
    }  # fmt: skip
    assert found == set()


def texts() -> Iterator[Path]:
    """Yield every text file of the project, generated and installed ones and this one apart."""
    kinds = {".py", ".md", ".toml", ".txt", ".json", ".ts", ".tsx", ".css", ".html"}
    apart = {"node_modules", "static"}
    found = (p for place in (*PRODUCT, "tests", "docs") for p in (ROOT / place).rglob("*.*"))
    yield ROOT / ".ci" / "run"
    for path in (*ROOT.glob("*.*"), *found):
        if path.is_file() and path.suffix in kinds and not apart & set(path.parts) and path != Path(__file__):
            yield path


def annotated(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    spec = function.args
    every = [*spec.posonlyargs, *spec.args, *spec.kwonlyargs, *filter(None, (spec.vararg, spec.kwarg))]
    own = [a for a in every if a.arg not in ("self", "cls")]
    return function.returns is not None and all(a.annotation for a in own)


def is_broad(handler: ast.ExceptHandler) -> bool:
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(c is None or (isinstance(c, ast.Name) and c.id in {"Exception", "BaseException"}) for c in caught)


def imported(source: Source) -> Iterator[str]:
    """Yield the top-level packages that a file imports, also inside functions."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from (a.name.partition(".")[0] for a in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def missing(files: tuple[Source, ...], ours: set[str], pinned: set[str]) -> dict[str, set[str]]:
    """Return file -> packages that it imports and that no requirement names."""
    known = ours | set(sys.stdlib_module_names)
    known |= {name for name in _all(files) if PACKAGES.get(name, name.replace("_", "-").lower()) in pinned}
    return {s.path: names for s in files if (names := set(imported(s)) - known)}


def _all(files: tuple[Source, ...]) -> set[str]:
    return {name for s in files for name in imported(s)}
