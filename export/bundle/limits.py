"""What a container may use of its machine: the limits of its control group, in version 2 and 1 of Linux's interface.

Affinity and sysconf know nothing of them: `docker run --cpus=2` on 64 cores shows all 64.
"""

from __future__ import annotations

import math
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
"""Where a container sees its own control group; on a plain machine the root group, which has no limits."""


def core_limit(root: Path = CGROUPS) -> int | None:
    """Cores whose whole time may be used, a part of one counting as one; None without a limit."""
    found = _numbers(root / "cpu.max") or (
        _numbers(root / "cpu" / "cpu.cfs_quota_us") + _numbers(root / "cpu" / "cpu.cfs_period_us")
    )
    if len(found) != 2 or min(found) <= 0:
        return None
    quota, period = found
    return math.ceil(quota / period)


def memory_limit(root: Path = CGROUPS) -> int | None:
    """Bytes; None without a limit."""
    found = _numbers(root / "memory.max") or _numbers(root / "memory" / "memory.limit_in_bytes")
    return found[0] if len(found) == 1 and found[0] > 0 else None


def _numbers(file: Path) -> tuple[int, ...]:
    """The whole numbers of a file; none where it is not there or says "max", which is no limit."""
    try:
        return tuple(map(int, file.read_text().split()))
    except (OSError, ValueError):
        return ()
