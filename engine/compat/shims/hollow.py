"""Modules of ComfyUI that are not here: packs can import them, and what is taken from them fails once it is used.

So one class that needs them does not keep the others of its pack away. What a module is asked for by the name of a node
class is that class.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from engine.errors import Unavailable

PACKAGES = ("comfy", "comfy_extras", "app")
MODULES = (*PACKAGES, "execution", "latent_preview")


class Absence(type):
    """The class of what is not here: attributes are not here either, a call says so."""

    def __getattr__(cls, name: str) -> Any:
        return absent(f"{cls.__name__}.{name}", name)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Say what is not here; Unavailable."""
        told = next(base.__name__ for base in reversed(cls.__mro__[:-1]))
        raise Unavailable(
            f"{told} is a part of ComfyUI that Sfumato does not have: this node of the pack cannot run here."
        )


def absent(path: str, name: str) -> Absence:
    """Return what stands for something that is not here; AttributeError for names that Python itself looks for."""
    if name.startswith("__"):
        raise AttributeError(name)
    return Absence(path, (), {})


class Hollow(ModuleType):
    """A module without content of its own."""

    def __getattr__(self, name: str) -> Any:
        classes = sys.modules["nodes"].__dict__.get("NODE_CLASS_MAPPINGS", {})
        return classes.get(name) or absent(f"{self.__name__}.{name}", name)


class Finder(MetaPathFinder, Loader):
    """Finds a hollow module for every name of ComfyUI that nothing else was found for."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how to make the module."""
        if fullname not in MODULES and not fullname.startswith(tuple(f"{name}." for name in PACKAGES)):
            return None
        return ModuleSpec(fullname, self, is_package=fullname.partition(".")[0] in PACKAGES)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Make it."""
        return Hollow(spec.name, "Not in Sfumato.")

    def exec_module(self, module: ModuleType) -> None:
        """Leave it empty."""
