"""Ratios of runs that were taken apart: against closed forms, scipy and simulated runs."""

import math
import random

import pytest

from serve_bench.latency import compare, stats
from serve_bench.latency.compare import BETWEEN_RUNS, KNOWN_LIKE, MANY, Spread

NONE = Spread(deviation=0.0, freedom=MANY)


def run(*values):
    return dict(enumerate(values))


def test_without_variance_between_runs_the_interval_is_welchs():
    scipy = pytest.importorskip("scipy.stats")
    base, new = [3.0, 3.3, 2.9, 3.1], [1.0, 1.3, 0.8]
    found = compare.ratio([run(*base)], [run(*new)], NONE)
    logs = [[math.log(v) for v in values] for values in (base, new)]
    known = scipy.ttest_ind(*logs, equal_var=False).confidence_interval()
    assert math.log(found.low) == pytest.approx(known.low, rel=1e-6)
    assert math.log(found.high) == pytest.approx(known.high, rel=1e-6)


def test_the_variance_between_runs_is_carried_whatever_the_replicates_say():
    same = [run(2.0, 2.0, 2.0)]
    found = compare.ratio(same, same, Spread(deviation=0.01, freedom=MANY))
    # Nothing but τ: ±1.96·√2·τ.
    assert found.value == 1.0
    assert math.log(found.high) == pytest.approx(1.96 * math.sqrt(2) * 0.01, rel=1e-3)
    # One estimate of τ for both sides: its degrees of freedom are the interval's. t(0.975, 10) = 2.228.
    few = compare.ratio(same, same, Spread(deviation=0.01, freedom=10))
    assert math.log(few.high) == pytest.approx(2.228 * math.sqrt(2) * 0.01, rel=1e-3)


def test_more_runs_narrow_what_lies_between_them():
    one, four = [run(2.0, 2.0)], [run(2.0, 2.0)] * 4
    tau = Spread(deviation=0.02, freedom=MANY)
    wide, narrow = compare.ratio(one, one, tau), compare.ratio(four, four, tau)
    assert math.log(wide.high) == pytest.approx(2 * math.log(narrow.high), rel=1e-9)


def test_a_single_replicate_says_nothing():
    assert compare.ratio([run(1.0)], [run(1.0, 1.1)], NONE) is None


def test_the_latencies_shown_are_those_that_the_ratio_is_of():
    base, new = [run(4.0, 1.0), run(8.0, 2.0)], [run(1.0, 1.0), run(2.0, 0.5)]
    # √(2 · 4): geometric means of 2 and 4 in the runs; of 1 and 1.
    assert compare.latency_ns(base) == pytest.approx(math.sqrt(8))
    assert compare.ratio(base, new, NONE).value == pytest.approx(compare.latency_ns(base) / compare.latency_ns(new))
    skew = [run(1.0, 1.0, 1.0, 16.0), run(3.0, 3.0, 3.0, 3.0)]
    # The pairwise means of three logs of 1 and one of 16 are six of 0, three of ln 4 and ln 16: their middle is 0.
    assert compare.latency_in_turns_ns(skew) == pytest.approx(math.sqrt(3))
    turns = compare.alternated(skew, base)
    assert turns.value == pytest.approx(compare.latency_in_turns_ns(skew) / compare.latency_in_turns_ns(base))


def test_between_runs_is_what_the_replicates_do_not_explain():
    given = Spread(deviation=BETWEEN_RUNS, freedom=KNOWN_LIKE)
    assert compare.between([[[run(1.0, 1.1)]], [[run(1.0, 1.1)]]]) == given
    apart = [run(1.0, 1.0), run(math.exp(0.02), math.exp(0.02))]
    found = compare.between([[apart], []])
    assert found.deviation**2 == pytest.approx((10 * 0.01**2 + 0.02**2 / 2) / 11)
    assert (found.freedom, found.repeats) == (11, 1)
    noisy = [run(1.0, 1.2), run(1.1, 1.1)]
    assert compare.between([[noisy]]).deviation ** 2 == pytest.approx(10 * 0.01**2 / 11)


def test_cells_of_one_run_are_no_further_runs():
    apart = [run(1.0, 1.0), run(math.exp(0.02), math.exp(0.02))]
    assert compare.between([[apart] * 28]) == compare.between([[apart]])
    both = compare.between([[apart], [apart, [run(1.0, 1.0)]]])
    assert (both.repeats, both.freedom) == (2, 12)
    assert both.deviation**2 == pytest.approx((10 * 0.01**2 + 2 * 0.02**2 / 2) / 12)


def test_swapping_the_sides_turns_the_interval_round():
    base, new = [run(3.0, 3.1, 2.9)], [run(2.0, 2.2, 2.1)]
    one, other = compare.ratio(base, new, NONE), compare.ratio(new, base, NONE)
    assert (one.value, one.low, one.high) == pytest.approx((1 / other.value, 1 / other.high, 1 / other.low))


def test_the_interval_covers_and_rarely_calls_twins_different():
    """Simulated: τ = 1 %, replicates vary by 2 %; five runs a side tell τ. 2,000 trials, ±3 standard errors."""
    draw = random.Random(0)

    def side():
        return [
            run(*(math.exp(middle + draw.gauss(0, 0.02)) for _ in range(10)))
            for middle in (draw.gauss(0, 0.01) for _ in range(5))
        ]

    covered = 0
    for _ in range(2000):
        base, new = side(), side()
        found = compare.ratio(base, new, compare.between([[base], [new]]))
        covered += found.low <= 1 <= found.high
    assert covered / 2000 > 0.95 - 3 * math.sqrt(0.05 * 0.95 / 2000)


def test_pairs_carry_everything_themselves():
    scipy = pytest.importorskip("scipy.stats")
    base = [run(2.0, 2.0), run(2.2, 2.2), run(2.1, 2.1)]
    new = [run(1.0, 1.0), run(1.2, 1.2), run(1.0, 1.0)]
    found = compare.alternated(base, new)
    logs = [math.log(2 / 1), math.log(2.2 / 1.2), math.log(2.1 / 1)]
    known = scipy.ttest_1samp(logs, 0).confidence_interval()
    assert (math.log(found.low), math.log(found.high)) == pytest.approx((known.low, known.high))
    assert compare.alternated(base[:1], new[:1]) is None


def test_an_interval_reaches_as_far_as_the_machine_moved():
    found = stats.Interval(0.8, 0.75, 0.85)
    slow = compare.widened(found, [1.5, 1.2])
    assert slow == pytest.approx((0.8, 0.75, 0.85 * 1.5)), "the machine was slower: the form may not be"
    both = compare.widened(found, [0.9, 1.1])
    assert both == pytest.approx((0.8, 0.75 * 0.9, 0.85 * 1.1))
    assert compare.widened(found, []) == found


def test_what_a_gate_can_see_is_where_it_closes():
    wide = stats.Interval(1.0, 1 / 1.04, 1.04)
    least = compare.least_seen(wide, 0.05)
    assert least == pytest.approx(1.05 * 1.04 - 1)
    for slowdown, closes in ((least + 1e-6, True), (least - 1e-6, False)):
        shifted = stats.Interval(*(part / (1 + slowdown) for part in wide))
        assert compare.slower_by(shifted, 0.05) == closes


def test_the_gate_closes_only_where_the_whole_interval_is_slower():
    slow = compare.ratio([run(1.0, 1.001)], [run(1.2, 1.201)], NONE)
    assert compare.slower_by(slow, 0.05)
    assert not compare.slower_by(slow, 0.25)
    unsure = compare.ratio([run(1.0, 1.3)], [run(1.2, 1.5)], NONE)
    assert not compare.slower_by(unsure, 0.05)
    assert stats.word(slow, 0.01) == "slower"
    assert stats.word(unsure, 0.01) == "indistinguishable"
