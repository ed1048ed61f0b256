"""Two measurements of one cell that were not taken in one run: how many times as fast is the new one? Pure functions.

Within a run the replicate is drawn anew; between runs the machine is another one too (its memory, its neighbours, its
clock), which no number of replicates shows. So an interval carries both: with K runs a side and R replicates a run, the
mean log latency of a side varies by τ²/K + s²/(K·R). τ comes from repeated runs where there are any, else from
`BETWEEN_RUNS`. Runs that alternate are paired instead, and their pairs carry everything.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from serve_bench.latency.stats import Interval, half_width, location, t_quantile

BETWEEN_RUNS = 0.01
"""Standard deviation of a log latency between runs of one artifact, where nothing better is known; METHODOLOGY §2."""
MANY = 1e6
"""Degrees of freedom of what is given, not estimated."""

Medians = Mapping[int, float]
"""Median latency of each replicate of one cell in one run, in ns."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How far log latencies of one cell lie apart between runs."""

    deviation: float
    freedom: float
    """Degrees of freedom that it is known with."""


def between(cells: Sequence[Sequence[Medians]]) -> Spread:
    """τ, pooled over the cells that were measured in several runs; `BETWEEN_RUNS` where none was.

    Of the variance between the runs' means, what the replicates explain is taken off (one-way analysis of variance,
    Scheffé, The Analysis of Variance, §7.2), and nothing below 0 is left.
    """
    squares, freedom = 0.0, 0
    for runs in cells:
        means = [_mean(run) for run in runs if len(run) > 1]
        if len(means) < 2:
            continue
        within = statistics.fmean(_variance(run) / len(run) for run in runs if len(run) > 1)
        squares += (len(means) - 1) * max(statistics.variance(means) - within, 0.0)
        freedom += len(means) - 1
    if not freedom:
        return Spread(deviation=BETWEEN_RUNS, freedom=MANY)
    return Spread(deviation=math.sqrt(squares / freedom), freedom=freedom)


def ratio(base: Sequence[Medians], new: Sequence[Medians], spread: Spread, confidence: float = 0.95) -> Interval | None:
    """How many times as fast `new` is as `base`, from runs that were taken apart; None without two replicates a side.

    The interval is Welch's, the variance between runs being one of its parts (Satterthwaite's degrees of freedom).
    """
    parts: list[tuple[float, float]] = []
    means = []
    for runs in (base, new):
        whole = [run for run in runs if len(run) > 1]
        if not whole:
            return None
        count = sum(map(len, whole))
        means.append(statistics.fmean(map(_mean, whole)))
        parts.append((statistics.fmean(map(_variance, whole)) / count, count - len(whole)))
        parts.append((spread.deviation**2 / len(whole), spread.freedom))
    variance = sum(part for part, _ in parts)
    freedom = variance**2 / sum(part**2 / known for part, known in parts) if variance else MANY
    half = t_quantile((1 + confidence) / 2, min(freedom, MANY)) * math.sqrt(variance)
    return _interval(means[0] - means[1], half)


def alternated(base: Sequence[Medians], new: Sequence[Medians], confidence: float = 0.95) -> Interval | None:
    """The same from runs that took turns, the i-th of either side beside each other; None below two pairs."""
    logs = [_middle(b) - _middle(n) for b, n in zip(base, new, strict=False) if b and n]
    if len(logs) < 2:
        return None
    return _interval(statistics.fmean(logs), half_width(statistics.stdev(logs), len(logs), len(logs) - 1, confidence))


def slower_by(found: Interval, share: float) -> bool:
    """Whether the interval says that the new one takes more than 1 + `share` times as long."""
    return found.high < 1 / (1 + share)


def _mean(run: Medians) -> float:
    return statistics.fmean(math.log(value) for value in run.values())


def _middle(run: Medians) -> float:
    return location([math.log(value) for value in run.values()])


def _variance(run: Medians) -> float:
    return statistics.variance([math.log(value) for value in run.values()])


def _interval(middle: float, half: float) -> Interval:
    return Interval(math.exp(middle), math.exp(middle - half), math.exp(middle + half))
