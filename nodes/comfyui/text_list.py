"""Lists of texts: each is changed by itself."""

from __future__ import annotations

from typing import Annotated, Literal

from engine.node import Range
from nodes.basics import strings
from nodes.comfyui._core import Line, Long, core
from nodes.comfyui.value import flagged

CATEGORY = "dataset/text"
Extract = Literal["First Match", "All Matches", "First Group", "All Groups"]


@core("AddTextPrefix", CATEGORY)
def add_text_prefix(texts: Line = "", prefix: Long = "") -> str:
    """Put a text before another.

    Args:
        texts: The text.
        prefix: What comes before it.
    """
    return prefix + texts


@core("AddTextSuffix", CATEGORY)
def add_text_suffix(texts: Line = "", suffix: Long = "") -> str:
    """Put a text after another.

    Args:
        texts: The text.
        suffix: What comes after it.
    """
    return texts + suffix


@core("ReplaceText", CATEGORY)
def replace_text(texts: Line = "", find: Line = "", replace: Line = "") -> str:
    """Replace every occurrence of a text.

    Args:
        texts: The text.
        find: What is replaced.
        replace: What takes its place.
    """
    return strings.replace_text(texts, find, replace)


@core("StripWhitespace", CATEGORY)
def strip_whitespace(texts: Line = "") -> str:
    """Take spaces off both ends of a text.

    Args:
        texts: The text.
    """
    return texts.strip()


@core("TextToLowercase", CATEGORY)
def text_to_lowercase(texts: Line = "") -> str:
    """Write a text in small letters.

    Args:
        texts: The text.
    """
    return texts.lower()


@core("TextToUppercase", CATEGORY)
def text_to_uppercase(texts: Line = "") -> str:
    """Write a text in capitals.

    Args:
        texts: The text.
    """
    return texts.upper()


@core("TruncateText", CATEGORY)
def truncate_text(texts: Line = "", max_length: Annotated[int, Range(1, 10_000)] = 77) -> str:
    """Cut a text off.

    Args:
        texts: The text.
        max_length: How many characters stay.
    """
    return texts[:max_length]


@core("MergeTextLists", CATEGORY)
def merge_text_lists(texts: list[str]) -> list[str]:
    """Give all texts as one list.

    Args:
        texts: The texts.
    """
    return texts


@core("RegexExtract", "utils/string", "Regex Extract")
def regex_extract(
    string: Long = "", regex_pattern: Long = "", mode: Extract = "First Match", case_insensitive: bool = True,
    multiline: bool = False, *, dotall: bool = False, group_index: Annotated[int, Range(0, 100)] = 1,
) -> str:  # fmt: skip
    """Take out what a regular expression finds in a text; several finds are lines.

    Args:
        regex_pattern: The expression.
        mode: Whether the finds or one of their groups, the first or all.
        case_insensitive: Whether capitals do not count.
        multiline: Whether ^ and $ mean the ends of lines.
        dotall: Whether . means a line's end too.
        group_index: Which group, the first is 1.
    """
    pattern = flagged(regex_pattern, case_insensitive, multiline, dotall)
    found = strings.matches(string, pattern, first=mode.startswith("First"))
    group = group_index if mode.endswith(("Group", "Groups")) else 0
    return "\n".join(match[group] or "" for match in found if group <= match.re.groups)
