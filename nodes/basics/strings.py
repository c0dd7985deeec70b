"""Texts: join, fill in, replace, search, split."""

from __future__ import annotations

import re
from typing import Annotated, Any, NamedTuple

import regex  # type: ignore[import-untyped]

from engine.errors import BadInput
from engine.node import STRING_MAX, Range, Text, node

Line = Annotated[str, Text(multiline=False, max_length=1000)]
Long = Annotated[str, Text()]
PLACE = re.compile(r"\{([abcd])\}")
PATTERN_SECONDS = 1.0
PARTS_MAX = 1000


class Match(NamedTuple):
    """What a pattern found."""

    found: bool
    text: str
    groups: list[str]


@node(category="text/tools")
def join_texts(a: Long = "", b: Long = "", c: Long = "", separator: Line = ", ") -> str:
    """Join texts; empty ones are left out.

    Args:
        a: First text.
        b: Second text.
        c: Third text.
        separator: What stands between them.
    """
    return _bounded(separator.join(t for t in (a, b, c) if t))


@node(category="text/tools")
def join_list(texts: list[str], separator: Line = ", ") -> str:
    """Join a list of texts to one.

    Args:
        texts: The texts.
        separator: What stands between them.
    """
    return _bounded(separator.join(texts))


@node(category="text/tools")
def format_text(template: Long = "{a}", a: Any = "", b: Any = "", c: Any = "", d: Any = "") -> str:
    """Fill values into a text: {a}, {b}, {c} and {d} are replaced, all else stays as it is.

    Args:
        template: The text with its places.
        a: What stands for {a}; numbers are written shortest.
        b: What stands for {b}.
        c: What stands for {c}.
        d: What stands for {d}.
    """
    shown = {name: _shown(value) for name, value in {"a": a, "b": b, "c": c, "d": d}.items()}
    _check_length(len(template) + sum(len(shown[name]) for name in PLACE.findall(template)))
    return PLACE.sub(lambda m: shown[m[1]], template)


@node(category="text/tools")
def replace_text(text: Long = "", find: Line = "", replacement: Line = "", regular: bool = False) -> str:
    """Replace every occurrence of a text or pattern.

    Args:
        text: The text to change.
        find: What to look for; an empty one changes nothing.
        replacement: What to put there; with patterns, \\1 stands for the first group.
        regular: Read `find` as a regular expression.
    """
    if not find:
        return text
    if not regular:
        return _bounded(text.replace(find, replacement))
    try:
        return _bounded(_pattern(find).sub(replacement, text, timeout=PATTERN_SECONDS))
    except (TimeoutError, regex.error, IndexError) as error:
        raise _bad_pattern(find, error) from error


@node(category="text/tools")
def match_text(text: Long = "", pattern: Line = "") -> Match:
    """Search a text for a regular expression and give the first match.

    Args:
        text: The text to search.
        pattern: The regular expression; one that takes longer than a second is stopped.
    """
    found = next(iter(matches(text, pattern, first=True)), None)
    return Match(True, found[0], [g or "" for g in found.groups()]) if found else Match(False, "", [])


@node(category="text/tools")
def split_lines(text: Long = "", separator: Line = "", keep_empty: bool = False) -> list[str]:
    """Split a text into a list: what it feeds runs once for each part.

    Args:
        text: The text, for example one prompt per line.
        separator: What stands between the parts; a line break if empty.
        keep_empty: Keep parts that hold nothing but spaces.
    """
    parts = [p.strip() for p in (text.split(separator) if separator else text.splitlines())]
    kept = [p for p in parts if p or keep_empty]
    if len(kept) > PARTS_MAX:
        raise BadInput(f"The text has {len(kept)} parts; the limit is {PARTS_MAX}.", field="text")
    return kept


@node(category="text/tools")
def text_length(text: Long = "") -> int:
    """Count the characters of a text.

    Args:
        text: The text.
    """
    return len(text)


@node(category="text/tools")
def cut_text(
    text: Long = "",
    start: Annotated[int, Range(-STRING_MAX, STRING_MAX)] = 0,
    count: Annotated[int, Range(0, STRING_MAX)] = 100,
) -> str:
    """Take a part of a text.

    Args:
        text: The text.
        start: First character, counted from 0; negative counts from the end.
        count: How many characters.
    """
    return text[start:][:count]


def matches(text: str, pattern: str, *, first: bool = False) -> list[Any]:
    """Return what a regular expression finds in a text, as match objects: all of it, or the first."""
    compiled = _pattern(pattern)
    try:
        if first:
            return [m for m in [compiled.search(text, timeout=PATTERN_SECONDS)] if m]
        return list(compiled.finditer(text, timeout=PATTERN_SECONDS))
    except TimeoutError as error:
        raise _bad_pattern(pattern, error) from error


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _bounded(text: str) -> str:
    _check_length(len(text))
    return text


def _check_length(length: int) -> None:
    if length > STRING_MAX:
        raise BadInput(f"The text would be {length} characters long; the limit is {STRING_MAX}.")


def _pattern(pattern: str) -> Any:
    try:
        return regex.compile(pattern)
    except regex.error as error:
        raise _bad_pattern(pattern, error) from error


def _bad_pattern(pattern: str, error: Exception) -> BadInput:
    reason = "takes too long on this text; make it simpler" if isinstance(error, TimeoutError) else f"is wrong: {error}"
    return BadInput(f"The pattern {pattern[:60]!r} {reason}.")
