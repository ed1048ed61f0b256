"""A folder is a registry: each module in it exports `ENTRIES`, a sequence of objects with a `name` (or `id`)."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import Any

from export.bundle.errors import PipelineError, UnknownName


def _name(entry: Any) -> str:
    return str(entry.id if hasattr(entry, "id") else entry.name)


@cache
def entries(package: str) -> dict[str, Any]:
    """Every entry of the folder `package` (a dotted name), by name, in the order of their modules.

    Modules whose name begins with an underscore are the seams, not entries. Two entries of one name, a module
    without `ENTRIES`, or one that does not import stop the program: an entry is never lost in silence.
    """
    found: dict[str, Any] = {}
    for module_info in sorted(pkgutil.iter_modules(importlib.import_module(package).__path__), key=lambda m: m.name):
        if module_info.name.startswith("_"):
            continue
        module = importlib.import_module(f"{package}.{module_info.name}")
        if not hasattr(module, "ENTRIES"):
            raise PipelineError(f"{module.__file__}: exports no ENTRIES; a file in {package} must name what it adds")
        for entry in module.ENTRIES:
            if _name(entry) in found:
                raise PipelineError(f"{module.__file__}: a second entry named {_name(entry)!r} in {package}")
            found[_name(entry)] = entry
    return found


def entry(package: str, kind: str, name: str) -> Any:
    """The entry of exactly this name; raises UnknownName, which lists the known ones."""
    known = entries(package)
    if name not in known:
        raise UnknownName(kind, name, known)
    return known[name]
