"""Is there room for set-up? `python -m pipeline.room VENV GB`, which `make` asks before pip fills the disk.

Imports nothing that is installed.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

LEAVES_GB = 7.0
"""What VENV holds when set-up is done: the more of it lies there already, the less room it takes to go on."""


def why_not(venv: Path, needed_gb: float) -> str:
    """Why set-up would end with a full disk, and what to do; empty where it will not. `needed_gb` are free where it
    begins with nothing."""
    place = next(path for path in (venv, *venv.absolute().parents) if path.exists())
    free_gb = shutil.disk_usage(place).free / 1e9
    needed_gb *= max(1 - held_bytes(venv) / 1e9 / LEAVES_GB, 0)
    if free_gb >= needed_gb:
        return ""
    return (
        f"set-up needs about {needed_gb:.3g} GB, {math.floor(10 * free_gb) / 10:g} GB are free at {place.absolute()}; "
        "free some space or name another place: make VENV=/path …"
    )


def held_bytes(folder: Path) -> int:
    """Of all files below it; 0 where there is none."""
    paths = (Path(where, name) for where, _, names in os.walk(folder) for name in names)
    return sum(path.lstat().st_size for path in paths)


def main(words: Sequence[str]) -> None:
    venv, needed_gb = words
    reason = why_not(Path(venv), float(needed_gb))
    if reason:
        sys.exit(f"error: {reason}")


if __name__ == "__main__":
    main(sys.argv[1:])
