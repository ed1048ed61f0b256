"""Statistics of latencies: pure functions, each with its source. Needs no scipy; the tests compare with it."""

from __future__ import annotations

import bisect
import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Literal, NamedTuple

CONFIDENCE = 0.99
"""Of each bound of a quantile, taken alone."""
LEAST_DELTA = 0.01
"""Two sessions of one graph were seen to differ by up to 1 % for as long as both lived (METHODOLOGY)."""
Word = Literal["faster", "slower", "indistinguishable"]


class Quantile(NamedTuple):
    """A quantile and its distribution-free bounds; the unit is the samples'."""

    value: float
    """Of the sample."""
    low: float
    """Lower bound, holds with 99 %."""
    high: float
    """Upper bound, holds with 99 %."""


class Interval(NamedTuple):
    """A figure with its 95 % interval."""

    value: float
    """The figure."""
    low: float
    """Lower end, of 95 %."""
    high: float
    """Upper end, of 95 %."""


# ── quantiles ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@lru_cache(maxsize=512)
def binomial_cdf(n: int, p: float) -> tuple[float, ...]:
    """P(B ≤ k) for k = 0 … n, B ~ Bin(n, p), 0 < p < 1.

    Terms by log-gamma, so that n of many thousands neither underflows nor overflows.
    """
    log_p, log_q, log_n = math.log(p), math.log1p(-p), math.lgamma(n + 1)
    terms = (
        math.exp(log_n - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * log_p + (n - k) * log_q)
        for k in range(n + 1)
    )
    return tuple(min(1.0, total) for total in accumulate(terms))


def least_samples(p: float, confidence: float = CONFIDENCE) -> int:
    """Fewest samples that bear quantile `p`: 11 for p50, 64 for p90, 662 for p99.

    The upper bound of the p-quantile is the order statistic x₍ᵤ₎ with the smallest u for which P(B ≤ u − 1) ≥ 0.99,
    B ~ Bin(n, p) (David & Nagaraja, Order Statistics, 3rd ed., §7.1). It is to be at most the second largest,
    u ≤ n − 1, so that no single outlier is the bound: 1 − P(B = n) − P(B = n − 1) ≥ 0.99, that is
    pⁿ + n·(1 − p)·pⁿ⁻¹ ≤ 0.01. MLPerf LoadGen's early stopping asks for the same 64 and 662.
    """
    n = 2
    while p**n + n * (1 - p) * p ** (n - 1) > 1 - confidence:
        n += 1
    return n


def bound_ranks(n: int, p: float, confidence: float = CONFIDENCE) -> tuple[int, int]:
    """Ranks (from 1) of the order statistics that bound quantile `p` of `n` samples; 0 or n + 1 where there is none.

    Upper: smallest u with P(B ≤ u − 1) ≥ confidence. Lower: largest l with P(B ≤ l − 1) ≤ 1 − confidence.
    B ~ Bin(n, p) counts the samples below the quantile (David & Nagaraja, §7.1); each bound holds alone.
    """
    cdf = binomial_cdf(n, p)
    return bisect.bisect_right(cdf, 1 - confidence), bisect.bisect_left(cdf, confidence) + 1


def quantile(samples: Sequence[float], p: float) -> float:
    """Sample quantile: an observed value, or the mean of two where n·p is whole (so p50 is the usual median).

    Definition 2 of Hyndman & Fan, Sample Quantiles in Statistical Packages, The American Statistician 50 (1996).
    """
    ordered, position = sorted(samples), len(samples) * p
    whole = round(position)
    if math.isclose(position, whole, rel_tol=1e-12) and 0 < whole < len(ordered):
        return (ordered[whole - 1] + ordered[whole]) / 2
    return float(ordered[min(max(math.ceil(position), 1), len(ordered)) - 1])


def bounded_quantile(samples: Sequence[float], p: float, confidence: float = CONFIDENCE) -> Quantile | None:
    """Quantile with its bounds, or None where the samples are too few to bear it (`least_samples`).

    The bounds take the samples as independent draws: see `replicated_quantile` for runs of several replicates.
    """
    n = len(samples)
    if n < least_samples(p, confidence):
        return None
    low, high = bound_ranks(n, p, confidence)
    ordered = sorted(samples)
    return Quantile(quantile(ordered, p), float(ordered[max(low, 1) - 1]), float(ordered[high - 1]))


def replicated_quantile(
    samples: Sequence[float], replicates: Sequence[int], p: float, confidence: float = CONFIDENCE
) -> Quantile | None:
    """`bounded_quantile` of runs of which those of one replicate are alike: no bound is narrower, most are wider.

    The share F of runs below the quantile is a ratio of sums over R replicates, of bᵣ runs below among nᵣ. Its variance
    is v = R/(R − 1)·Σ(bᵣ − F·nᵣ)²/n² (Cochran, Sampling Techniques, 3rd ed., §6.3), and the bounds are the sample
    quantiles of p ∓ t·√v, t being Student's of R − 1 degrees of freedom (Woodruff, JASA 47, 1952). Each bound holds
    alone. A run that equals the quantile counts half.
    """
    found = bounded_quantile(samples, p, confidence)
    count = len(set(replicates))
    if found is None or count < 2:
        return found
    below: dict[int, float] = {}
    runs = Counter(replicates)
    for value, replicate in zip(samples, replicates, strict=True):
        below[replicate] = below.get(replicate, 0.0) + (value < found.value) + 0.5 * (value == found.value)
    n = len(samples)
    share = sum(below.values()) / n
    squares = sum((below[r] - share * runs[r]) ** 2 for r in runs)
    half = t_quantile(confidence, count - 1) * math.sqrt(count / (count - 1) * squares) / n
    ordered = sorted(samples)
    low, high = (quantile(ordered, min(max(p + side * half, 0.0), 1.0)) for side in (-1, 1))
    return Quantile(found.value, min(found.low, low), max(found.high, high))


# ── Student's t ───────────────────────────────────────────────────────────────────────────────────────────────────────


def incomplete_beta(a: float, b: float, x: float) -> float:
    """Regularised incomplete beta function I_x(a, b), 0 ≤ x ≤ 1.

    Continued fraction 8.17.22 of the NIST Digital Library of Mathematical Functions, evaluated by Lentz's method.
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(b, a, 1 - x)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    tiny = 1e-300
    c, d = 1.0, 1 / max(1 - (a + b) * x / (a + 1), tiny)
    fraction = d
    for m in range(1, 1000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        change = 1.0
        for term in (even, odd):
            d = 1 / ((1 + term * d) or tiny)
            c = (1 + term / c) or tiny
            fraction *= c * d
            change = c * d
        if abs(change - 1) < 1e-15:
            break
    return front * fraction


def t_cdf(t: float, freedom: float) -> float:
    """P(T ≤ t) of Student's t (DLMF 8.17 with x = ν / (ν + t²))."""
    tail = incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t)) / 2
    return 1 - tail if t > 0 else tail


@lru_cache(maxsize=512)
def t_quantile(p: float, freedom: float) -> float:
    """The t with P(T ≤ t) = p, by bisection of `t_cdf`; 0 < p < 1, freedom ≥ 1."""
    if p < 0.5:
        return -t_quantile(1 - p, freedom)
    low, high = 0.0, 1.0
    while t_cdf(high, freedom) < p:
        high *= 2
    while high - low > 1e-13 * max(1.0, high):
        middle = (low + high) / 2
        low, high = (middle, high) if t_cdf(middle, freedom) < p else (low, middle)
    return (low + high) / 2


# ── ratios over replicates ────────────────────────────────────────────────────────────────────────────────────────────


def medians_by_replicate(latencies: Sequence[float], replicates: Sequence[int]) -> dict[int, float]:
    """Median latency of each replicate."""
    groups: dict[int, list[float]] = {}
    for latency, replicate in zip(latencies, replicates, strict=True):
        groups.setdefault(replicate, []).append(latency)
    return {replicate: statistics.median(group) for replicate, group in groups.items()}


def speed_ratio(base: Mapping[int, float], other: Mapping[int, float], confidence: float = 0.95) -> Interval | None:
    """How many times as fast `other` is as `base`: base / other, paired by replicate; None below two common ones.

    Per replicate r the log ratio d_r = ln(base_r / other_r): the replicate is the unit that is drawn anew (Kalibera &
    Jones, Rigorous Benchmarking in Reasonable Time, ISMM 2013), and pairing removes what both had in common. The figure
    is exp of `location(d)` and its interval that of `centre`, so that one process of ten that came out slow widens the
    interval and does not move the figure.
    """
    logs = [math.log(base[r] / other[r]) for r in sorted(base.keys() & other.keys())]
    if len(logs) < 2:
        return None
    return Interval(*map(math.exp, centre(logs, confidence)))


def location(values: Sequence[float]) -> float:
    """The median of all pairwise means (vᵢ + vⱼ)/2, i ≤ j (Hodges & Lehmann, Ann. Math. Stat. 34, 1963).

    Nearly as sharp as the mean where values are normal (its efficiency is 3/π); 29 % of outliers do not carry it away.
    """
    return statistics.median(_walsh(values))


def centre(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """`location` of two values or more with its interval, which holds for every symmetric distribution.

    With M = n(n + 1)/2 pairwise means in order, A₍ₖ₎ and A₍M+1−k₎ enclose the centre with probability
    1 − 2·P(W ≤ k − 1), W being Wilcoxon's signed rank statistic (Hollander & Wolfe, Nonparametric Statistical Methods,
    §3.3); k is the largest that reaches `confidence`. Where there is none, for 95 % below six values, it is the mean
    with Student's t interval, mean ± t₍ₙ₋₁₎·s/√n.
    """
    k = _signed_rank_bound(len(values), confidence)
    if not k:
        mean, half = (
            statistics.fmean(values),
            half_width(statistics.stdev(values), len(values), len(values) - 1, confidence),
        )
        return Interval(mean, mean - half, mean + half)
    means = sorted(_walsh(values))
    return Interval(statistics.median(means), means[k - 1], means[-k])


def _walsh(values: Sequence[float]) -> list[float]:
    return [(a + b) / 2 for i, a in enumerate(values) for b in values[i:]]


@lru_cache(maxsize=256)
def _signed_rank_bound(n: int, confidence: float) -> int:
    """The largest k with 2·P(W ≤ k − 1) ≤ 1 − `confidence`; 0 where there is none.

    W is the sum of a random subset of 1 … n: the subsets of each sum are counted.
    """
    ways = [1]
    for rank in range(1, n + 1):
        longer = [0] * (len(ways) + rank)
        for total, count in enumerate(ways):
            longer[total] += count
            longer[total + rank] += count
        ways = longer
    allowed = (1 - confidence) / 2 * 2**n
    return bisect.bisect_right(list(accumulate(ways)), allowed)


def half_width(deviation: float, count: int, freedom: float, confidence: float = 0.95) -> float:
    """Half-width of the t interval of a mean of `count` values of standard deviation `deviation`."""
    return t_quantile((1 + confidence) / 2, freedom) * deviation / math.sqrt(count)


def delta(medians: Sequence[Mapping[int, float]], least: float = LEAST_DELTA) -> float:
    """δ: how far from 1 a ratio of an artifact to itself may lie in this run, as a fraction, at least `least`.

    `medians` holds, for each cell of one batch size and boundary, the median latency by replicate. With
    y_cr = ln(median) = μ_c + ρ_r + ε_cr (the machine's state in replicate r is common to all cells and cancels in a
    ratio), the residual variance is s² = Σ ε̂² / ((C − 1)(R − 1)), two-way analysis of variance without repetition
    (Scheffé, The Analysis of Variance, §4.2). A ratio of two sessions of one artifact, averaged over R replicates, has
    standard error √2·s/√R, so that δ = exp(t₍0.975, ν₎·√2·s/√R) − 1, ν = (C − 1)(R − 1). With one cell ρ cannot be
    told from ε: s is then the plain deviation between replicates, which is the larger.
    """
    common = sorted(set.intersection(*(set(m) for m in medians))) if medians else []
    cells, count = len(medians), len(common)
    if count < 2:
        return least
    logs = [[math.log(m[r]) for r in common] for m in medians]
    rows = [statistics.fmean(row) for row in logs]
    columns = [statistics.fmean(column) for column in zip(*logs, strict=True)] if cells > 1 else [rows[0]] * count
    grand = statistics.fmean(rows)
    squares = sum((y - rows[i] - columns[j] + grand) ** 2 for i, row in enumerate(logs) for j, y in enumerate(row))
    freedom = max(cells - 1, 1) * (count - 1)
    return max(least, math.expm1(math.sqrt(2) * half_width(math.sqrt(squares / freedom), count, freedom)))


def word(ratio: Interval, delta: float) -> Word:
    """`faster` or `slower` where the whole interval lies outside [1/(1 + δ), 1 + δ], else `indistinguishable`.

    The band is the symmetric one on the log scale, so that swapping the two artifacts swaps the word. An equivalence
    margin, not a test of ratio = 1: with enough runs every two artifacts differ (Schuirmann, J. Pharmacokinetics and
    Biopharmaceutics 15, 1987).
    """
    if ratio.low > 1 + delta:
        return "faster"
    if ratio.high < 1 / (1 + delta):
        return "slower"
    return "indistinguishable"
