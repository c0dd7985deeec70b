"""Figures of methods as a page: a table and a strip of pictures for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from PIL import Image as Pil

from models.bozzetto.bed import Pixels

HEIGHT = 128


def strip(pictures: Mapping[str, Pixels]) -> Pil.Image:
    """Lay pictures of one height beside each other."""
    return Pil.fromarray(np.concatenate(list(pictures.values()), 1))


def rows(figures: Mapping[str, Any], drawn: float | None = None) -> Iterator[str]:
    """Yield a row per figure, as Markdown; one that is short of its bar has its reason.

    `drawn`: the share of plain samples that show what is named, which is said of shares without a reason of their own.
    """
    yield "| | metric | value | bar | met | without it | n | seconds | evaluations |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for name, f in figures.items():
        bar = f"{'at most ' if f.get('at_most') else ''}{f['bar']:g}"
        margin = f", {f['margin_bar']:g} apart" if "margin_bar" in f else ""
        yield (
            f"| {name} | {f['metric']} | {_number(f['value'])} | {bar}{margin} | {_met(f, drawn)} | "
            f"{_number(f['control'])} | {f['n']} | {f['seconds']:.3g} | {f['evaluations']} |"
        )


def _met(figure: Mapping[str, Any], drawn: float | None) -> str:
    if figure["met"]:
        return "yes"
    if "why" in figure:
        return f"**NO** ({figure['why']})"
    share = figure["value"] is not None and 0 <= figure["value"] <= 1 and figure["bar"] < 1
    excused = share and drawn is not None and drawn < 0.9  # else the model is not the reason
    return f"**NO** (plain samples show their thing in {drawn:.0%})" if excused else "**NO**"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def page(kept: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of a page: for each method a heading, its pictures and its figures."""
    figures = [f for method in kept.values() for f in method["figures"].values()]
    drawn = kept.get("text_to_image", {}).get("figures", {}).get("text_to_image", {}).get("value")
    yield f"{sum(f['met'] for f in figures)} of {len(figures)} figures meet their bar."
    for name, method in kept.items():
        yield from ("", f"## {name}", "", f"![{', '.join(method['shown'])}]({method['pictures']})", "",
                    " | ".join(method["shown"]), "", *rows(method["figures"], drawn))  # fmt: skip
