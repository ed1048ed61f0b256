"""Libraries that a kill left half written in inductor's cache: it takes every file that is there for whole, and loading
one that was cut short fails for good, or ends the process with SIGBUS.
"""

from __future__ import annotations

import contextlib
import os
import struct
import time
from pathlib import Path

from export.bundle.environment import inductor_cache

WRITTEN_S = 60.0
"""A library that nobody has written to for so long is no longer being written."""
ELF64 = b"\x7fELF\x02\x01"
HEADER = struct.Struct("<40xQ10xHH")
"""Of a 64-bit ELF file: where its table of sections begins, size and number of its entries (System V ABI, ch. 4)."""


def folder() -> Path:
    return Path(os.environ.get("TORCHINDUCTOR_CACHE_DIR") or inductor_cache())


def is_whole(library: Path) -> bool:
    """Whether its table of sections, which linkers write last, lies within the file; of another kind of file whether it
    is longer than a header."""
    with library.open("rb") as stream:
        head = stream.read(64)
    if len(head) < HEADER.size:
        return False
    if not head.startswith(ELF64):
        return True
    start, size, count = HEADER.unpack_from(head)
    return bool(start + size * count <= library.stat().st_size)


def clear_away(now: float | None = None) -> None:
    """Takes what is not whole and not being written out of the cache: it is then compiled again."""
    oldest = (time.time() if now is None else now) - WRITTEN_S
    for library in folder().rglob("*.so"):
        with contextlib.suppress(OSError):
            if library.stat().st_mtime < oldest and not is_whole(library):
                library.unlink()
