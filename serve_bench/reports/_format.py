"""Numbers as people read them: the only place where a unit becomes text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from serve_bench.latency.stats import Interval, Quantile

MOST_DRAWS = 6
"""Draws of cores that are listed; of more the number is told."""


def significant(value: float, digits: int = 3) -> str:
    """Three significant digits without an exponent: "48.1", "413", "1,980"."""
    if value == 0:
        return "0"
    magnitude = len(str(int(abs(value)))) if abs(value) >= 1 else 0
    return f"{round(value, digits - magnitude) if magnitude > digits else value:,.{max(digits - magnitude, 0)}f}"


def unit_of(value_ns: float) -> tuple[str, float]:
    """The unit a latency is shown in, and its nanoseconds."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if value_ns >= size:
            return unit, size
    return "ns", 1.0


def latency(value_ns: float) -> str:
    """ "48.1 µs"."""
    unit, size = unit_of(value_ns)
    return f"{significant(value_ns / size)} {unit}"


def bounds(quantile: Quantile) -> str:
    """ "[47.3, 49.3]" in the unit of the quantile itself."""
    _, size = unit_of(quantile.value)
    return f"[{significant(quantile.low / size)}, {significant(quantile.high / size)}]"


def bounded(quantile: Quantile) -> str:
    """ "48.1 µs [47.3, 49.3]"."""
    return f"{latency(quantile.value)} {bounds(quantile)}"


def ratio(interval: Interval) -> str:
    """ "4.12× [3.94, 4.31]"."""
    return f"{significant(interval.value)}× [{significant(interval.low)}, {significant(interval.high)}]"


def error(value: float) -> str:
    """ "2.3e-07"."""
    return f"{value:.1e}"


def rate(per_second: float) -> str:
    """ "20,800"."""
    return significant(per_second)


def percent(fraction: float, digits: int = 1) -> str:
    """ "1.0 %"."""
    return f"{100 * fraction:.{digits}f} %"


def size(count: int) -> str:
    """Bytes as "1.23 MB" (powers of ten)."""
    for unit, one in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= one:
            return f"{significant(count / one)} {unit}"
    return f"{count} B"


def taken_at(started: Iterable[str]) -> str:
    """ "Taken 2026-11-22T08:51:27+00:00.", or from the first to the last of several."""
    times = sorted(set(started))
    return f"Taken {times[0]}." if len(times) == 1 else f"Taken from {times[0]} to {times[-1]}."


def prefixed(value: float, unit: str) -> str:
    """ "2.58 MFLOP", "258 GFLOP/s" (powers of ten)."""
    for prefix, one in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= one:
            return f"{significant(value / one)} {prefix}{unit}"
    return f"{significant(value)} {unit}"


def seconds(value: float) -> str:
    """ "58 s", "3 min 20 s"."""
    if value < 120:
        return f"{significant(value, 2)} s"
    return f"{int(value // 60)} min {int(value % 60)} s"


def cores(drawn: Sequence[Sequence[int]]) -> str:
    """ "the same for all CPU forms, drawn anew for each replicate: 0 in 6, 1 in 7", from those of each replicate."""
    counted = Counter(" + ".join(map(str, one)) for one in drawn if one)
    if not counted:
        return "as the system put each process: it binds none to a core"
    each = ", ".join(f"{one} in {count}" for one, count in sorted(counted.items()))
    if len(counted) > MOST_DRAWS:
        each = f"{len(counted)} draws of {len(next(one for one in drawn if one))}"
    free = sum(not one for one in drawn)
    left = f"; in {free} as the system put each process, which refused to bind them" if free else ""
    return f"the same for all CPU forms, drawn anew for each replicate: {each}{left}"


def place(batch: int, boundary: str) -> str:
    """ "batch 8", "batch 8, device": the boundary where it is not the whole of a run."""
    return f"batch {batch}" if boundary == "host" else f"batch {batch}, {boundary}"
