"""Model families, one per file. A family is found by its module's `FAMILY`; no list is kept."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module

from engine.diffusion.families.base import Family, Source, Verdict
from engine.errors import BadFile


@cache
def all_families() -> tuple[Family, ...]:
    """Return every family, in the order in which they are asked."""
    modules = [import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    families: list[Family] = [m.FAMILY for m in modules if hasattr(m, "FAMILY")]
    return tuple(sorted(families, key=lambda f: (f.order, f.name)))


def get(name: str) -> Family:
    """Return the family called `name`; BadFile if this version has none."""
    found = next((f for f in all_families() if f.name == name), None)
    if found is None:
        known = ", ".join(f.name for f in all_families())
        raise BadFile(f"There is no model family {name!r} here; known are: {known}.")
    return found


def recognise(source: Source, *, name: str = "") -> tuple[Family, Verdict]:
    """Return the first family that says yes; BadFile names the nearest ones and what speaks against each.

    `name` overrides: that family is taken, whatever its verdict.
    """
    if name:
        return get(name), get(name).recognise(source)
    verdicts = [(family, family.recognise(source)) for family in all_families()]
    for family, verdict in verdicts:
        if verdict.yes:
            return family, verdict
    nearest = sorted(verdicts, key=lambda v: -v[1].likeness)[:3]
    lines = "; ".join(f"{f.title}: {_objection(v)}" for f, v in nearest if v.found or v.against)
    raise BadFile(f"{source.path.name} is of an unknown kind. Nearest are {lines or 'none'}.")


def _objection(verdict: Verdict) -> str:
    return ", ".join([f"no {m}" for m in verdict.missing[:2]] + [f"has {a}" for a in verdict.against[:2]])
