"""Files of an app that stand in a folder beside its target, with @NAME@ where data of the bundle belong."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).resolve().parent


def filled(text: str, values: Mapping[str, str]) -> str:
    """`text` with every @NAME@ replaced once, so that a value is never read as a template; KeyError for one unknown."""
    return re.sub(r"@([A-Z_]+)@", lambda found: values[found[1]], text)


def template(folder: str, name: str) -> str:
    return (HERE / folder / name).read_text(encoding="utf-8")


def copied(folder: str, names: tuple[str, ...], destination: Path) -> None:
    """Copies files as they are."""
    for name in names:
        (destination / name).write_bytes((HERE / folder / name).read_bytes())
