"""Plain values and texts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from engine.node import STRING_MAX, Lazy, Range
from engine.types import Saved
from nodes.basics import strings, values
from nodes.comfyui._core import Line, Long, core

Whole = Annotated[int, Range(-(2**63), 2**63 - 1)]
Number = Annotated[float, Range(-1e15, 1e15)]
Index = Annotated[int, Range(-STRING_MAX, STRING_MAX)]


@core("PrimitiveInt", "utils/primitive", "Int")
def primitive_int(value: Whole = 0) -> int:
    """A whole number."""
    return value


@core("PrimitiveFloat", "utils/primitive", "Float")
def primitive_float(value: Number = 0.0) -> float:
    """A number."""
    return value


@core("PrimitiveString", "utils/primitive", "String")
def primitive_string(value: Line = "") -> str:
    """A text."""
    return value


@core("PrimitiveStringMultiline", "utils/primitive", "String (Multiline)")
def primitive_string_multiline(value: Long = "") -> str:
    """A text of many lines."""
    return value


@core("PrimitiveBoolean", "utils/primitive", "Boolean")
def primitive_boolean(value: bool = False) -> bool:
    """Yes or no."""
    return value


@core("PreviewAny", "utils", "Preview Any")
def preview_any(source: list[Any]) -> Saved:
    """Show what any value is.

    Args:
        source: The value.
    """
    texts = [value if isinstance(value, str) else values.describe(value) for value in source]
    return Saved("text", text="\n".join(texts))


@core("StringConcatenate", "utils/string", "Concatenate")
def string_concatenate(string_a: Long = "", string_b: Long = "", delimiter: Line = "") -> str:
    """Join two texts.

    Args:
        string_a: First text.
        string_b: Second text.
        delimiter: What comes between them.
    """
    return f"{string_a}{delimiter}{string_b}"


@core("StringSubstring", "utils/string", "Substring")
def string_substring(string: Long = "", start: Index = 0, end: Index = 0) -> str:
    """Take a part of a text.

    Args:
        start: Where it begins.
        end: Where it ends; this character is not part of it.
    """
    return string[start:end]


@core("StringLength", "utils/string", "Length")
def string_length(string: Long = "") -> int:
    """Count the characters of a text."""
    return len(string)


@core("CaseConverter", "utils/string", "Case Converter")
def case_converter(
    string: Long = "", mode: Literal["UPPERCASE", "lowercase", "Capitalize", "Title Case"] = "UPPERCASE"
) -> str:
    """Write a text in capitals or small letters.

    Args:
        mode: Which way.
    """
    ways = {"UPPERCASE": str.upper, "lowercase": str.lower, "Capitalize": str.capitalize, "Title Case": str.title}
    return ways[mode](string)


@core("StringTrim", "utils/string", "Trim")
def string_trim(string: Long = "", mode: Literal["Both", "Left", "Right"] = "Both") -> str:
    """Take spaces off the ends of a text.

    Args:
        mode: Which ends.
    """
    return {"Both": str.strip, "Left": str.lstrip, "Right": str.rstrip}[mode](string)


@core("StringReplace", "utils/string", "Replace")
def string_replace(string: Long = "", find: Long = "", replace: Long = "") -> str:
    """Replace every occurrence of a text.

    Args:
        find: What is replaced.
        replace: What takes its place.
    """
    return strings.replace_text(string, find, replace)


@core("StringContains", "utils/string", "Contains")
def string_contains(string: Long = "", substring: Long = "", case_sensitive: bool = True) -> bool:
    """Say whether a text contains another.

    Args:
        substring: The other.
        case_sensitive: Whether capitals count.
    """
    return substring in string if case_sensitive else substring.lower() in string.lower()


@core("StringCompare", "utils/string", "Compare")
def string_compare(
    string_a: Long = "", string_b: Long = "", mode: Literal["Starts With", "Ends With", "Equal"] = "Starts With",
    case_sensitive: bool = True,
) -> bool:  # fmt: skip
    """Compare two texts.

    Args:
        string_a: The text.
        string_b: What it is compared with.
        mode: Which way.
        case_sensitive: Whether capitals count.
    """
    a, b = (string_a, string_b) if case_sensitive else (string_a.lower(), string_b.lower())
    return {"Starts With": a.startswith(b), "Ends With": a.endswith(b), "Equal": a == b}[mode]


@core("RegexMatch", "utils/string", "Regex Match")
def regex_match(
    string: Long = "", regex_pattern: Long = "", case_insensitive: bool = True, multiline: bool = False,
    dotall: bool = False,
) -> bool:  # fmt: skip
    """Say whether a regular expression is found in a text.

    Args:
        regex_pattern: The expression.
        case_insensitive: Whether capitals do not count.
        multiline: Whether ^ and $ mean the ends of lines.
        dotall: Whether . means a line's end too.
    """
    return strings.match_text(string, flagged(regex_pattern, case_insensitive, multiline, dotall)).found


@core("RegexReplace", "utils/string", "Regex Replace")
def regex_replace(
    string: Long = "", regex_pattern: Long = "", replace: Long = "", case_insensitive: bool = True,
    multiline: bool = False, dotall: bool = False,
) -> str:  # fmt: skip
    """Replace what a regular expression finds in a text, all of it.

    Args:
        regex_pattern: The expression.
        replace: What takes its place.
        case_insensitive: Whether capitals do not count.
        multiline: Whether ^ and $ mean the ends of lines.
        dotall: Whether . means a line's end too.
    """
    pattern = flagged(regex_pattern, case_insensitive, multiline, dotall)
    return strings.replace_text(string, pattern, replace, regular=True)


@core("ComfySwitchNode", "logic", "Switch")
def comfy_switch_node(switch: bool, on_false: Lazy[Any], on_true: Lazy[Any]) -> Any:
    """Give one of two values; what the other needs does not run.

    Args:
        switch: Which one.
        on_false: The value if not.
        on_true: The value if so.
    """
    return on_true() if switch else on_false()


def flagged(pattern: str, case_insensitive: bool, multiline: bool, dotall: bool) -> str:
    """Return a regular expression with its flags at its beginning."""
    flags = "".join(letter for letter, on in (("i", case_insensitive), ("m", multiline), ("s", dotall)) if on)
    return f"(?{flags}){pattern}" if flags else pattern
