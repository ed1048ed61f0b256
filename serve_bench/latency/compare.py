"""Two measurements of one cell that were not taken in one run: how many times as fast is the new one? Pure functions.

Within a run the replicate is drawn anew; between runs the machine is another one too (its memory, its neighbours, its
clock), which no number of replicates shows. So an interval carries both: with K runs a side and R replicates a run, the
mean log latency of a side varies by τ²/K + s²/(K·R). τ is `BETWEEN_RUNS`, corrected by repeated runs where there are
any. What the machine alone was seen to do otherwise widens the interval besides (`widened`). Runs that alternate are
paired instead, and their pairs carry everything.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from serve_bench.latency.stats import Interval, half_width, location, t_quantile

BETWEEN_RUNS = 0.01
"""Standard deviation of a log latency between runs of one artifact, where nothing better is known; METHODOLOGY §2."""
KNOWN_LIKE = 10
"""Repeated runs that `BETWEEN_RUNS` weighs as much as."""
MANY = 1e6
"""Degrees of freedom of what is known."""

Medians = Mapping[int, float]
"""Median latency of each replicate of one cell in one run, in ns."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How far log latencies of one cell lie apart between runs."""

    deviation: float
    freedom: float
    """Degrees of freedom that it is known with."""
    repeats: int = 0
    """Runs after the first of a side."""


def between(sides: Sequence[Sequence[Sequence[Medians]]]) -> Spread:
    """τ of the cells of each side, from those that were measured in several runs.

    Of the variance between the runs' means, what the replicates explain is taken off (one-way analysis of variance,
    Scheffé, The Analysis of Variance, §7.2), and nothing below 0 is left; the rest is averaged over the cells. The
    cells of a run share its machine, so N runs of a side are N − 1 degrees of freedom, however many cells they hold.
    `BETWEEN_RUNS` is put to that with the weight of `KNOWN_LIKE` runs: with ν = repeats,
    τ² = (10·τ₀² + ν·s²) / (10 + ν) on 10 + ν degrees of freedom (the scaled inverse χ² of Gelman et al., Bayesian Data
    Analysis, 3rd ed., §2.6), so that two runs that agree by luck do not say that runs always do.
    """
    squares, freedom = KNOWN_LIKE * BETWEEN_RUNS**2, 0
    for cells in sides:
        found = [_between(whole) for runs in cells if len(whole := [run for run in runs if len(run) > 1]) > 1]
        if found:
            repeats = max(count for _, count in found)
            squares += repeats * statistics.fmean(variance for variance, _ in found)
            freedom += repeats
    known = KNOWN_LIKE + freedom
    return Spread(deviation=math.sqrt(squares / known), freedom=known, repeats=freedom)


def _between(runs: Sequence[Medians]) -> tuple[float, int]:
    """Of one cell: the variance between runs that replicates do not explain, and its degrees of freedom."""
    within = statistics.fmean(_variance(run) / len(run) for run in runs)
    return max(statistics.variance(map(_mean, runs)) - within, 0.0), len(runs) - 1


def ratio(base: Sequence[Medians], new: Sequence[Medians], spread: Spread, confidence: float = 0.95) -> Interval | None:
    """How many times as fast `new` is as `base`, from runs that were taken apart; None without two replicates a side.

    The interval is Welch's, the variance between runs being one of its parts (Satterthwaite's degrees of freedom): one
    for both sides, since both have it from the same estimate.
    """
    parts: list[tuple[float, float]] = []
    means, shares = [], 0.0
    for runs in (base, new):
        whole = [run for run in runs if len(run) > 1]
        if not whole:
            return None
        count = sum(map(len, whole))
        means.append(statistics.fmean(map(_mean, whole)))
        parts.append((statistics.fmean(map(_variance, whole)) / count, count - len(whole)))
        shares += 1 / len(whole)
    parts.append((shares * spread.deviation**2, spread.freedom))
    variance = sum(part for part, _ in parts)
    freedom = variance**2 / sum(part**2 / known for part, known in parts) if variance else MANY
    half = t_quantile((1 + confidence) / 2, min(freedom, MANY)) * math.sqrt(variance)
    return _interval(means[0] - means[1], half)


def latency_ns(runs: Sequence[Medians]) -> float:
    """What `ratio` is the quotient of: the geometric mean over runs of the geometric means over replicates."""
    return math.exp(statistics.fmean(_mean(run) for run in runs if len(run) > 1))


def latency_in_turns_ns(runs: Sequence[Medians]) -> float:
    """What `alternated` is the quotient of: the geometric mean over runs of what each comes to."""
    return math.exp(statistics.fmean(_middle(run) for run in runs if run))


def alternated(base: Sequence[Medians], new: Sequence[Medians], confidence: float = 0.95) -> Interval | None:
    """The same from runs that took turns, the i-th of either side beside each other; None below two pairs."""
    logs = [_middle(b) - _middle(n) for b, n in zip(base, new, strict=False) if b and n]
    if len(logs) < 2:
        return None
    return _interval(statistics.fmean(logs), half_width(statistics.stdev(logs), len(logs), len(logs) - 1, confidence))


def of_pairs(found: Interval, pairs: int, more: int, confidence: float = 0.95) -> Interval:
    """The interval that `alternated` would give of `more` pairs which differ as much as the `pairs` that it was of."""
    now, then = (half_width(1.0, count, count - 1, confidence) for count in (pairs, more))
    middle, half = math.log(found.value), math.log(found.high / found.value) * then / now
    return _interval(middle, half)


def widened(found: Interval, moved: Iterable[float]) -> Interval:
    """The interval, reaching as far as what the machine alone did may explain.

    `moved` are factors by which the machine may have lengthened a new latency. A form may feel all of one or nothing:
    true is then any ratio between the measured one and it times the factor.
    """
    shifts = [1.0, *moved]
    return Interval(found.value, found.low * min(shifts), found.high * max(shifts))


def least_seen(found: Interval, share: float) -> float:
    """The least slowdown, as a share, that an interval of this width says to be more than `share`."""
    return (1 + share) * found.high / found.value - 1


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
