"""Libraries that a kill left half written in inductor's cache: it takes every file that is there for whole, and loading
one that was cut short fails for good, or ends the process with SIGBUS.
"""

from __future__ import annotations

import contextlib
import re
import struct
import time
from pathlib import Path

from export.bundle.environment import inductor_cache

WRITTEN_S = 60.0
"""A library that nobody has written to for so long is no longer being written."""
ELF64 = b"\x7fELF\x02\x01"
HEADER = struct.Struct("<40xQ10xHH")
"""Of a 64-bit ELF file: where its table of sections begins, size and number of its entries (System V ABI, ch. 4)."""

CUT_SHORT = re.compile(r"(/[^:\n]+\.so): (?:file too short|invalid ELF header|.*file data)")
"""What the loader says of such a library."""


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
    for library in inductor_cache().rglob("*.so"):
        with contextlib.suppress(OSError):
            if library.stat().st_mtime < oldest and not is_whole(library):
                library.unlink()


def taken_out(error: BaseException) -> bool:
    """Whether `error` names a library of the cache that was cut short, which is then out of it: what was left so a
    moment ago is no older than one that is being written."""
    found = CUT_SHORT.search(str(error))
    path = Path(found[1]) if found else None
    if path is None or not path.is_relative_to(inductor_cache()) or not path.is_file():
        return False
    path.unlink()
    return True
