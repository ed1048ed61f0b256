"""Did the machine change during a run? A trend over its replicates, an effect of order within them. Pure functions."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from serve_bench.latency.stats import Interval, centre, half_width

LIKELY = 0.01
"""A trend that chance gives less often than this is told."""


class Drift(NamedTuple):
    """How latencies changed from the first replicate to the last."""

    share: float
    """Of the first: 0.03 for 3 % slower at the end."""
    p_value: float
    """How often chance alone gives as clear a trend."""


def kendall(values: Sequence[float]) -> tuple[int, float]:
    """S, pairs in order less pairs out of order, and the two-sided p-value of no trend (Mann 1945, Econometrica 13).

    Exact without ties, by counting permutations (Kendall 1938, Biometrika 30); with ties by the normal approximation
    with their variance and the continuity correction (Kendall, Rank Correlation Methods, §4). 1.0 below three values.
    """
    count = len(values)
    score = sum((b > a) - (b < a) for i, a in enumerate(values) for b in values[i + 1 :])
    if count < 3:
        return score, 1.0
    ties = [values.count(v) for v in set(values)]
    if max(ties) == 1:
        return score, _exact(count, abs(score))
    variance = (count * (count - 1) * (2 * count + 5) - sum(t * (t - 1) * (2 * t + 5) for t in ties)) / 18
    if variance == 0:
        return score, 1.0
    return score, min(1.0, math.erfc(max(abs(score) - 1, 0) / math.sqrt(2 * variance)))


def _exact(count: int, score: int) -> float:
    """The share of permutations whose |S| is at least `score`."""
    inversions = _inversions(count)
    pairs = count * (count - 1) // 2
    most = (pairs - score) // 2
    tail = sum(inversions[: most + 1])
    return min(1.0, 2 * tail / math.factorial(count))


@lru_cache(maxsize=64)
def _inversions(count: int) -> tuple[int, ...]:
    """Permutations of `count` by their number of inversions (Mahonian numbers)."""
    found = [1]
    for size in range(2, count + 1):
        longer = [0] * (len(found) + size - 1)
        for i, ways in enumerate(found):
            for more in range(size):
                longer[i + more] += ways
        found = longer
    return tuple(found)


def drift(cells: Sequence[Mapping[int, float]]) -> Drift | None:
    """The trend of a run: `cells` hold the median latency of each replicate, which came in the order of their numbers.

    What all cells have in common is tested: the mean over cells of ln(median) less the cell's own mean. The share is
    Theil and Sen's slope (Sen 1968, JASA 63) over the run's length. None below three common replicates.
    """
    common = sorted(set.intersection(*(set(cell) for cell in cells))) if cells else []
    if len(common) < 3:
        return None
    logs = [[math.log(cell[r]) for r in common] for cell in cells]
    middles = [statistics.fmean(row) for row in logs]
    path = [statistics.fmean(row[j] - m for row, m in zip(logs, middles, strict=True)) for j in range(len(common))]
    slopes = [(path[j] - path[i]) / (j - i) for i in range(len(path)) for j in range(i + 1, len(path))]
    _, p_value = kendall(path)
    return Drift(math.expm1(statistics.median(slopes) * (len(path) - 1)), p_value)


def still_falling(latencies: Sequence[float], replicates: Sequence[int], confidence: float = 0.95) -> Interval | None:
    """How many times as long the earlier half of a replicate's runs took as its later half: above 1 where they were
    timed while it still warmed up.

    Latencies are in the order they were taken. Of each replicate the log ratio of the two medians, an odd run in the
    middle left out; the figure and its interval are `stats.centre` of them. None below two replicates of two runs.
    """
    found: dict[int, list[float]] = {}
    for latency, replicate in zip(latencies, replicates, strict=True):
        found.setdefault(replicate, []).append(latency)
    logs = [
        math.log(statistics.median(runs[: len(runs) // 2]) / statistics.median(runs[-(len(runs) // 2) :]))
        for runs in found.values()
        if len(runs) > 1
    ]
    return Interval(*map(math.exp, centre(logs, confidence))) if len(logs) > 1 else None


def order_effect(
    cells: Sequence[tuple[Sequence[float], Sequence[int], Sequence[int]]], confidence: float = 0.95
) -> Interval | None:
    """How many times as long a run takes in the last round of a replicate as in its first: warm-up that was too short
    shows below 1, a machine that heats up above.

    `cells` hold latencies, their replicates and their rounds. In each replicate the log ratio of a cell's median in its
    last round to that in its first is averaged over the cells that were visited in both; the interval is t's over
    replicates, the unit that is drawn anew. None below two such replicates.
    """
    found: dict[int, list[float]] = {}
    for latencies, replicates, rounds in cells:
        groups: dict[tuple[int, int], list[float]] = {}
        for latency, replicate, number in zip(latencies, replicates, rounds, strict=True):
            groups.setdefault((replicate, number), []).append(latency)
        for replicate in {r for r, _ in groups}:
            seen = sorted(number for r, number in groups if r == replicate)
            if len(seen) > 1:
                first, last = (statistics.median(groups[replicate, n]) for n in (seen[0], seen[-1]))
                found.setdefault(replicate, []).append(math.log(last / first))
    means = [statistics.fmean(logs) for logs in found.values()]
    if len(means) < 2:
        return None
    mean, half = statistics.fmean(means), half_width(statistics.stdev(means), len(means), len(means) - 1, confidence)
    return Interval(math.exp(mean), math.exp(mean - half), math.exp(mean + half))
