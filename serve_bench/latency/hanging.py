"""How long something may take before it counts as hanging and is ended."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

HANG_S, HANG_FACTOR = 30.0, 20.0
"""What takes longer than both, the second times what was expected, hangs."""


def hangs_after_s(expected_s: float) -> float:
    """Seconds that something may take which should take `expected_s`."""
    return max(HANG_S, HANG_FACTOR * expected_s)


def limit_after(known_ns: Sequence[int]) -> float | None:
    """Seconds for opening or warming up, which took `known_ns` in earlier replicates; None, the worker's own limit, in
    a subject's first, which may compile."""
    return hangs_after_s(statistics.median(known_ns) / 1e9) if known_ns else None
