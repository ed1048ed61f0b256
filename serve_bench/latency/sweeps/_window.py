"""The time in which all of several processes were running. Pure functions of starts and latencies in ns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, kw_only=True)
class Window:
    """From the last process's first start to the first process's last end, ns after the barrier."""

    replicate: int
    start_ns: int
    end_ns: int
    tries: int = 1
    """Windows that were timed until this one held runs of every process; the others are not kept."""


class Runs(NamedTuple):
    """The runs of one process, in order."""

    starts_ns: list[int]
    latencies_ns: list[int]

    def ends_ns(self) -> list[int]:
        return [start + latency for start, latency in zip(self.starts_ns, self.latencies_ns, strict=True)]


def window_of(replicate: int, processes: Sequence[Runs]) -> Window | None:
    """The window in which every process had begun and none had ended; None where there was no such time."""
    if not processes or not all(runs.starts_ns for runs in processes):
        return None
    start = max(runs.starts_ns[0] for runs in processes)
    end = min(runs.ends_ns()[-1] for runs in processes)
    return Window(replicate=replicate, start_ns=start, end_ns=end) if start < end else None


def inside(runs: Runs, window: Window) -> list[int]:
    """Latencies of the runs that began and ended inside the window: all others ran alone for a part of their time."""
    return [
        latency
        for start, latency in zip(runs.starts_ns, runs.latencies_ns, strict=True)
        if start >= window.start_ns and start + latency <= window.end_ns
    ]


def completed(runs: Runs, window: Window) -> int:
    """Runs that ended inside the window.

    The one under way at its start counts whole and the one under way at its end not at all: over many windows the two
    cancel, where counting whole runs alone would lose one a process.
    """
    return sum(window.start_ns < end <= window.end_ns for end in runs.ends_ns())
