"""Finding samplers and schedules: each is a module in a package, known by its file name."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from types import ModuleType

from engine.errors import NotFound


def names(package: ModuleType) -> tuple[str, ...]:
    """Return the names of the package's public modules, sorted."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_")))


def load(package: ModuleType, name: str, what: str) -> ModuleType:
    """Import the module called `name`; an unknown name is answered with those that come near."""
    known = names(package)
    if name not in known:
        near = difflib.get_close_matches(name, known) or known
        raise NotFound(f"There is no {what} called {name!r}. Try {', '.join(near)}.")
    return importlib.import_module(f"{package.__name__}.{name}")
