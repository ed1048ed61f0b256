"""Files of an app that stand in a folder beside its target, with @NAME@ where data of the bundle belong."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from export.bundle.errors import ExportError

HERE = Path(__file__).resolve().parent


def filled(text: str, values: Mapping[str, str]) -> str:
    """`text` with every @NAME@ replaced once: a value is no template. Raises ExportError for a name without one."""

    def value(found: re.Match[str]) -> str:
        if found[1] not in values:
            raise ExportError(f"{found[0]} has no value; known are {', '.join(sorted(values))}")
        return values[found[1]]

    return re.sub(r"@([A-Z_]+)@", value, text)


def template(folder: str, name: str) -> str:
    return (HERE / folder / name).read_text(encoding="utf-8")


def copied(folder: str, names: tuple[str, ...], destination: Path) -> None:
    """Copies files as they are."""
    for name in names:
        (destination / name).write_bytes((HERE / folder / name).read_bytes())
