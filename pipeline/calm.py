"""Is the machine itself at rest? On a shared host an idle system is not an idle machine: a neighbour takes its share of
cores, caches and memory unseen. What a fixed loop and a copy take says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from serve_bench.latency import stats
from serve_bench.latency.clock import calibrate, calibrate_copy

PROBE_S = 2.0
PROBES = 3
"""So many in a row must be calm before a trial begins."""
PAUSE_S = 5.0
"""Between a probe that was not calm and the next."""
WITHIN = 1.2
"""A probe is calm where its medians are at most so many times the best that the machine has shown."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What `calibrate` and `calibrate_copy` took, in ns: the 10 % quantile and the median of each."""

    loop_ns: tuple[float, float]
    copy_ns: tuple[float, float]


def probe(seconds: float = PROBE_S) -> Probe:
    loops: list[int] = []
    copies: list[int] = []
    end = time.monotonic() + seconds
    while not loops or time.monotonic() < end:
        loops.append(calibrate())
        copies.append(calibrate_copy())
    return Probe(loop_ns=_edges(loops), copy_ns=_edges(copies))


def _edges(found: Sequence[float]) -> tuple[float, float]:
    return stats.quantile(found, 0.1), stats.quantile(found, 0.5)


def is_calm(found: Probe, known: Sequence[Probe]) -> bool:
    """Is `found` near the best of `known` and itself?"""
    probes = [*known, found]
    loop, copy = min(p.loop_ns[0] for p in probes), min(p.copy_ns[0] for p in probes)
    return found.loop_ns[1] <= WITHIN * loop and found.copy_ns[1] <= WITHIN * copy


def wait(
    known: list[Probe],
    end: float,
    look: Callable[[], Probe] = probe,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> Probe | None:
    """The last of PROBES calm probes in a row; None where `clock` passed `end` before. `known` takes up every probe."""
    calm = 0
    while clock() <= end:
        found = look()
        known.append(found)
        calm = calm + 1 if is_calm(found, known) else 0
        if calm == PROBES:
            return found
        if not calm:
            pause(PAUSE_S)
    return None
