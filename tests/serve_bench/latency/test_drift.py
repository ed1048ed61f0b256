"""Trends over replicates: against scipy's exact test and by construction."""

import itertools
import math
import random

import pytest

from serve_bench.latency.drift import drift, kendall, order_effect, still_falling
from serve_bench.latency.stats import centre

scipy = pytest.importorskip("scipy.stats")


@pytest.mark.parametrize("count", [3, 5, 10, 14])
def test_the_exact_p_value_is_scipys(count):
    draw = random.Random(count)
    for _ in range(20):
        values = [draw.random() for _ in range(count)]
        known = scipy.kendalltau(range(count), values, method="exact")
        score, p_value = kendall(values)
        assert p_value == pytest.approx(known.pvalue, abs=1e-12)
        assert score == pytest.approx(known.statistic * count * (count - 1) / 2)


def test_the_exact_p_value_counts_permutations():
    scores = [kendall(order)[0] for order in itertools.permutations(range(5))]
    for wanted in {abs(s) for s in scores}:
        values = next(order for order in itertools.permutations(range(5)) if abs(kendall(order)[0]) == wanted)
        assert kendall(values)[1] == pytest.approx(sum(abs(s) >= wanted for s in scores) / 120)


def test_ties_take_the_normal_approximation_with_their_variance():
    # n = 6, 15 pairs, one tie: S = 14, variance (6·5·17 − 2·1·9) / 18; z = 13 / √variance.
    score, p_value = kendall([1, 2, 2, 3, 4, 5])
    variance = (6 * 5 * 17 - 18) / 18
    assert score == 14
    assert p_value == pytest.approx(2 * scipy.norm.sf(13 / math.sqrt(variance)))
    assert kendall([1.0, 1.0, 1.0, 1.0]) == (0, 1.0)
    assert kendall([1.0, 2.0])[1] == 1.0


def test_a_machine_that_slows_down_by_a_tenth_is_seen_in_all_cells_together():
    cells = [{r: base * 1.1 ** (r / 9) for r in range(10)} for base in (1e3, 5e6)]
    found = drift(cells)
    assert found.share == pytest.approx(0.1)
    assert found.p_value == pytest.approx(2 / math.factorial(10))


def test_one_disturbed_replicate_is_no_drift():
    steady = dict.fromkeys(range(10), 1000.0)
    steady[4] = 3e3
    found = drift([steady])
    assert found.share == pytest.approx(0.0)
    assert found.p_value > 0.5


def test_chance_alone_is_called_drift_as_often_as_it_says():
    draw = random.Random(0)
    called = 0
    for _ in range(2000):
        found = drift([{r: math.exp(draw.gauss(0, 0.01)) for r in range(10)} for _ in range(3)])
        called += found.p_value < 0.05
    assert called / 2000 < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)


def test_too_few_replicates_say_nothing():
    assert drift([{0: 1.0, 1: 2.0}]) is None
    assert drift([]) is None


def test_the_effect_of_order_is_the_last_round_against_the_first():
    latencies, replicates, rounds = [], [], []
    for replicate in range(4):
        for number, value in enumerate((100.0, 300.0, 110.0)):
            latencies += [value * (1 + replicate)] * 3
            replicates += [replicate] * 3
            rounds += [number] * 3
    found = order_effect([(latencies, replicates, rounds)])
    assert found.value == pytest.approx(1.1)
    assert (found.low, found.high) == (pytest.approx(1.1), pytest.approx(1.1))


def test_the_effect_of_order_has_the_interval_of_the_mean_over_replicates():
    logs = [0.01, 0.03, -0.02, 0.04]
    cell = (
        [v for d in logs for v in (1.0, math.exp(d))],
        [r for r in range(4) for _ in range(2)],
        [0, 1] * 4,
    )
    found = order_effect([cell, cell])
    low, high = scipy.t.interval(0.95, 3, sum(logs) / 4, scipy.sem(logs))
    assert (math.log(found.low), math.log(found.high)) == (pytest.approx(low), pytest.approx(high))


def test_one_round_says_nothing_of_order():
    assert order_effect([([1.0, 2.0], [0, 1], [0, 0])]) is None
    assert order_effect([]) is None


def test_warm_up_that_goes_on_shows_in_the_halves_of_each_replicate():
    latencies = [v * (1 + r) for r in range(10) for v in (121.0, 121.0, 7.0, 110.0, 110.0)]
    replicates = [r for r in range(10) for _ in range(5)]
    found = still_falling(latencies, replicates)
    assert found == (pytest.approx(1.1),) * 3
    logs = [0.01, 0.03, -0.02, 0.04, 0.025, -0.01, 0.002]
    pairs = [v for d in logs for v in (math.exp(d), 1.0)]
    found = still_falling(pairs, [r for r in range(7) for _ in range(2)])
    assert found == pytest.approx([math.exp(v) for v in centre(logs)])
    assert still_falling([1.0, 2.0], [0, 1]) is None
    assert still_falling([1.0, 2.0], [0, 0]) is None


def test_the_calibration_loop_is_told_with_its_trend():
    from serve_bench.reports._facts import _calibrated

    steady = [(r, n, 60_000 + 100 * ((r * 7 + n) % 3)) for r in range(10) for n in range(4)]
    assert _calibrated(steady) == "a fixed loop took 60.1 µs [60.0, 60.2] over 40 rounds"
    slower = [(r, n, 60_000 + 600 * r) for r in range(10) for n in range(4)]
    assert _calibrated(slower).endswith(" (9.0 % longer at the end) over 40 rounds")
    both = [(r, n, 60_000, 1_200_000 + 1000 * n) for r in range(10) for n in range(4)]
    assert (
        _calibrated(both)
        == "a fixed loop took 60.0 µs [60.0, 60.0], a copy of 8 MiB 1.20 ms [1.20, 1.20] over 40 rounds"
    )
