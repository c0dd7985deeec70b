"""Small files, small functions, little nesting."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from tests.house.source import Function, Source, depth, length, sources

FILE_LINES = 400
FUNCTION_LINES = 60
MEDIAN_LINES = 10
NESTING = 4
POSITIONAL = 6
MAIN_LINES = 150


def test_files_are_short() -> None:
    assert [s.path for s in sources() if s.text.count("\n") > FILE_LINES] == []


def test_functions_are_short_flat_and_narrow() -> None:
    long = [f"{s.at(f)}: {length(f)} lines" for s, f in functions() if length(f) > FUNCTION_LINES]
    deep = [f"{s.at(f)}: {depth(f)} deep" for s, f in functions() if depth(f) > NESTING]
    wide = [f"{s.at(f)}: {positional(f)} positional" for s, f in functions() if positional(f) > POSITIONAL]
    assert long + deep + wide == []


def test_half_of_all_functions_are_short() -> None:
    assert median(length(f) for _, f in functions()) < MEDIAN_LINES


def test_main_only_starts_the_program() -> None:
    (main,) = sources("main.py")
    assert main.text.count("\n") < MAIN_LINES
    assert [f.name for f in main.functions()] == ["main"]


def functions() -> Iterator[tuple[Source, Function]]:
    return ((s, f) for s in sources() for f in s.functions())


def positional(function: Function) -> int:
    names = [a.arg for a in function.args.posonlyargs + function.args.args]
    return len(names) - (names[:1] in (["self"], ["cls"]))
