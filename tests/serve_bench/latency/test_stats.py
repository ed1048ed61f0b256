"""Closed-form cases, scipy as a reference, and properties that must hold for any sample."""

import math
import random
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special
from scipy import stats as reference

from serve_bench.latency import stats
from serve_bench.latency.stats import Interval

samples = st.lists(st.floats(1.0, 1e9), min_size=1, max_size=200)
probabilities = st.floats(0.01, 0.99)


@pytest.mark.parametrize(("p", "least"), [(0.5, 11), (0.9, 64), (0.99, 662)])
def test_fewest_samples_of_a_quantile(p, least):
    assert stats.least_samples(p) == least
    tail = [1 - reference.binom.cdf(n - 2, n, p) for n in (least, least - 1)]
    assert tail[0] <= 0.01 < tail[1]


def test_fewest_samples_of_the_median_by_hand():
    # 1/2^11 + 11/2^11 = 12/2048 = 0.0059 ≤ 0.01, but 11/1024 = 0.0107 > 0.01 for ten
    assert stats.bound_ranks(11, 0.5)[1] == 10
    assert stats.bound_ranks(10, 0.5)[1] == 10


@pytest.mark.parametrize("p", [0.5, 0.9, 0.99])
def test_upper_bound_is_the_second_largest_from_the_fewest_samples_on(p):
    least = stats.least_samples(p)
    assert stats.bound_ranks(least, p)[1] == least - 1
    assert stats.bound_ranks(least - 1, p)[1] >= least - 1


@given(st.integers(1, 3000), probabilities)
@settings(deadline=None, max_examples=40)
def test_binomial_distribution_is_scipys(n, p):
    ours = stats.binomial_cdf(n, p)
    for k in {0, n // 3, round(n * p), n}:
        assert ours[k] == pytest.approx(reference.binom.cdf(k, n, p), abs=1e-10)


@given(st.integers(1, 1500), st.sampled_from([0.5, 0.9, 0.99]))
@settings(deadline=None, max_examples=60)
def test_bounds_hold_their_confidence_and_are_the_tightest(n, p):
    low, high = stats.bound_ranks(n, p)
    below = reference.binom(n, p).cdf
    assert low == 0 or below(low - 1) <= 0.01 + 1e-9
    assert below(low) > 0.01 - 1e-9
    assert high == n + 1 or below(high - 1) >= 0.99 - 1e-9
    assert below(high - 2) < 0.99 + 1e-9


def test_bounds_cover_the_true_quantile_as_often_as_they_say():
    rng = random.Random(1)
    trials = 2000
    truth = -math.log(1 - 0.9)
    inside = 0
    for _ in range(trials):
        found = stats.bounded_quantile([rng.expovariate(1.0) for _ in range(100)], 0.9)
        inside += truth <= found.high
    # true coverage ≥ 99 %; 97.8 % of 2000 lies more than five standard errors below
    assert inside / trials >= 0.978


def test_quantiles_by_hand():
    assert stats.quantile([3, 1, 2], 0.5) == 2
    assert stats.quantile([4, 1, 3, 2], 0.5) == 2.5
    assert stats.quantile(range(1, 11), 0.9) == 9.5
    assert stats.quantile(range(1, 12), 0.9) == 10
    assert stats.quantile([7.0], 0.99) == 7


@given(samples, probabilities)
def test_quantile_splits_the_samples(values, p):
    q = stats.quantile(values, p)
    assert min(values) <= q <= max(values)
    assert sum(v <= q for v in values) >= math.floor(len(values) * p + 1e-9)
    assert sum(v < q for v in values) <= math.ceil(len(values) * p - 1e-9)


@given(samples)
def test_p50_is_the_median(values):
    assert stats.quantile(values, 0.5) == pytest.approx(statistics.median(values))


@given(st.lists(st.floats(1.0, 1e9), min_size=11, max_size=100))
def test_bounds_enclose_the_quantile_and_ignore_the_largest_sample(values):
    found = stats.bounded_quantile(values, 0.5)
    assert found.low <= found.value <= found.high
    larger = [*sorted(values)[:-1], 1e18]
    assert stats.bounded_quantile(larger, 0.5).high == found.high


@pytest.mark.parametrize(("count", "p"), [(10, 0.5), (63, 0.9), (661, 0.99)])
def test_no_quantile_of_too_few_samples(count, p):
    assert stats.bounded_quantile([1.0] * count, p) is None
    assert stats.replicated_quantile([1.0] * count, [0] * count, p) is None
    assert stats.bounded_quantile([1.0] * (count + 1), p) is not None


@given(st.floats(0.5, 80), st.floats(0.5, 80), st.floats(0, 1))
@settings(deadline=None)
def test_incomplete_beta_is_scipys(a, b, x):
    assert stats.incomplete_beta(a, b, x) == pytest.approx(special.betainc(a, b, x), abs=1e-10)


@given(st.integers(1, 500), st.floats(0.001, 0.999))
@settings(deadline=None)
def test_students_t_is_scipys(freedom, p):
    assert stats.t_quantile(p, freedom) == pytest.approx(reference.t.ppf(p, freedom), rel=1e-6, abs=1e-6)


def test_students_t_from_the_printed_tables():
    assert stats.t_quantile(0.975, 1) == pytest.approx(12.7062, abs=5e-5)
    assert stats.t_quantile(0.975, 9) == pytest.approx(2.2622, abs=5e-5)
    assert stats.t_quantile(0.025, 9) == pytest.approx(-2.2622, abs=5e-5)
    assert stats.t_cdf(0.0, 4) == 0.5


def test_medians_are_taken_within_each_replicate():
    assert stats.medians_by_replicate([1, 9, 2, 4, 4, 40], [0, 0, 0, 1, 1, 1]) == {0: 2, 1: 4}


def test_ratio_by_hand():
    # log ratios ln 2 and ln 8: mean ln 4, deviation ln 4 / √2, half-width 12.7062 · ln 4 / 2
    found = stats.speed_ratio({0: 2.0, 1: 8.0}, {0: 1.0, 1: 1.0})
    half = 12.706204736 * math.log(4) / 2
    assert found.value == pytest.approx(4)
    assert found.low == pytest.approx(4 * math.exp(-half), rel=1e-6)
    assert found.high == pytest.approx(4 * math.exp(half), rel=1e-6)


def test_location_and_interval_by_hand():
    # pairwise means of 0, 2, 10: 0, 1, 2, 5, 6, 10
    assert stats.location([10, 0, 2]) == 3.5
    # six values: 15 pairwise means of 1 … 5, the eleventh of which is 3.5, and six above; 2·P(W ≤ 0) = 2/64 leaves
    # k = 1, the whole range; five leave 2/32 > 0.05
    assert stats.centre([1, 2, 3, 4, 5, 60]) == (3.5, 1.0, 60.0)
    mean, half = 3.0, 2.776445105 * math.sqrt(2.5) / math.sqrt(5)
    assert stats.centre([1, 2, 3, 4, 5]) == pytest.approx((mean, mean - half, mean + half))


def test_bounds_of_the_signed_rank_statistic_from_the_printed_tables():
    """Wilcoxon's critical values for 5 %, two-sided, are k − 1: 0, 2, 3, 5, 8, 52 for n = 6 … 10, 20."""
    assert [stats._signed_rank_bound(n, 0.95) - 1 for n in (6, 7, 8, 9, 10, 20)] == [0, 2, 3, 5, 8, 52]
    assert stats._signed_rank_bound(5, 0.95) == 0


@given(st.lists(st.integers(-(10**6), 10**6), min_size=6, max_size=25, unique_by=abs))
@settings(deadline=None, max_examples=50)
def test_the_interval_holds_what_scipys_signed_rank_test_does_not_reject(values):
    _, low, high = stats.centre(values)
    for inside, outside in ((low + 0.25, low - 0.25), (high - 0.25, high + 0.25)):
        if low < high:
            assert reference.wilcoxon([v - inside for v in values], method="exact").pvalue > 0.05
        assert reference.wilcoxon([v - outside for v in values], method="exact").pvalue <= 0.05


def test_one_slow_process_of_ten_does_not_move_the_ratio():
    base = {r: 2.0 + r / 1000 for r in range(10)}
    other = dict.fromkeys(range(10), 1.0)
    calm, struck = stats.speed_ratio(base, other), stats.speed_ratio({**base, 4: 3.2}, other)
    assert struck.value == pytest.approx(calm.value, rel=1e-3)
    assert struck.high > calm.high


def test_a_ratio_needs_two_common_replicates():
    assert stats.speed_ratio({0: 1.0, 1: 1.0}, {1: 1.0, 2: 1.0}) is None


replicates = st.lists(st.tuples(st.floats(1, 1e6), st.floats(1, 1e6)), min_size=2, max_size=20)


@given(replicates)
def test_swapping_the_artifacts_inverts_the_ratio_and_the_word(pairs):
    base, other = ({i: pair[k] for i, pair in enumerate(pairs)} for k in (0, 1))
    there, back = stats.speed_ratio(base, other), stats.speed_ratio(other, base)
    assert there.low <= there.value <= there.high
    assert there.value * back.value == pytest.approx(1)
    opposite = {"faster": "slower", "slower": "faster", "indistinguishable": "indistinguishable"}
    assert stats.word(back, 0.01) == opposite[stats.word(there, 0.01)]


@given(replicates, st.lists(st.floats(0.1, 10), min_size=20, max_size=20))
def test_a_drift_common_to_both_cancels(pairs, drift):
    base, other = ({i: pair[k] for i, pair in enumerate(pairs)} for k in (0, 1))
    slowed = [{i: v * drift[i] for i, v in side.items()} for side in (base, other)]
    assert stats.speed_ratio(*slowed) == pytest.approx(stats.speed_ratio(base, other), rel=1e-6)
    assert stats.delta(slowed) == pytest.approx(stats.delta([base, other]), rel=1e-6)


def test_interval_covers_as_often_as_it_says():
    rng = random.Random(2)
    trials = 1500
    inside = 0
    for _ in range(trials):
        base = {r: math.exp(rng.gauss(0, 0.02)) for r in range(10)}
        other = {r: math.exp(rng.gauss(0, 0.02)) for r in range(10)}
        found = stats.speed_ratio(base, other)
        inside += found.low <= 1 <= found.high
    # 95 % nominal; ±2.5 % is more than four standard errors
    assert abs(inside / trials - 0.95) < 0.025


def test_delta_by_hand():
    # residuals of [[a, -a], [-a, a]] are all ±a: s² = 4a², ν = 1, half-width √2 · 12.7062 · 2a / √2
    a = 0.01
    logs = [{0: a, 1: -a}, {0: -a, 1: a}]
    found = stats.delta([{r: math.exp(y) for r, y in row.items()} for row in logs])
    assert found == pytest.approx(math.expm1(12.706204736 * 2 * a), rel=1e-6)


def test_delta_of_one_cell_is_its_own_spread():
    logs = [0.0, 0.1, 0.2, 0.3]
    half = 3.182446305 * math.sqrt(2) * statistics.stdev(logs) / 2
    found = stats.delta([{r: math.exp(y) for r, y in enumerate(logs)}])
    assert found == pytest.approx(math.expm1(half), rel=1e-6)


def test_delta_is_at_least_one_per_cent():
    assert stats.delta([dict.fromkeys(range(10), 5.0)] * 3) == 0.01
    assert stats.delta([]) == 0.01
    assert stats.delta([{0: 1.0}]) == 0.01


def test_twins_are_called_different_in_fewer_than_five_per_cent():
    rng = random.Random(3)
    different = 0
    for _ in range(400):
        cells = [{r: math.exp(rng.gauss(0, 0.02)) for r in range(10)} for _ in range(4)]
        ratio = stats.speed_ratio(cells[0], cells[1])
        different += stats.word(ratio, stats.delta(cells)) != "indistinguishable"
    assert different / 400 <= 0.02


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        (Interval(1.05, 1.02, 1.08), "faster"),
        (Interval(1.05, 1.005, 1.1), "indistinguishable"),
        (Interval(1.0, 0.98, 1.02), "indistinguishable"),
        (Interval(0.95, 0.92, 0.98), "slower"),
        (Interval(0.95, 0.91, 0.995), "indistinguishable"),
    ],
)
def test_the_word_of_an_interval(interval, said):
    assert stats.word(interval, 0.01) == said


def test_bounds_of_replicates_that_are_alike_are_those_of_independent_runs():
    values = [float(x) for x in range(40)]
    mixed = [x % 4 for x in range(40)]
    assert stats.replicated_quantile(values, mixed, 0.5) == stats.bounded_quantile(values, 0.5)
    assert stats.replicated_quantile(values, [0] * 40, 0.5) == stats.bounded_quantile(values, 0.5)


def test_bounds_reach_as_far_as_replicates_lie_apart():
    """Ten replicates of ten runs, 100 to 109 in seven and 200 to 209 in three. The median is 107: of the seven 7.5 runs
    lie below it (one counts half), of the three none, so that F = 0.525, Σ(bᵣ − 10·F)² = 7·2.25² + 3·5.25² = 118.125,
    v = 10/9·118.125/100² and t₉(0.99) = 2.8214: p ∓ 0.3232, the 17.68 % and 82.32 % quantiles."""
    values = [100.0 + i for _ in range(7) for i in range(10)] + [200.0 + i for _ in range(3) for i in range(10)]
    replicates = [r for r in range(10) for _ in range(10)]
    found = stats.replicated_quantile(values, replicates, 0.5)
    assert found == (107.0, 102.0, 204.0)
    alone = stats.bounded_quantile(values, 0.5)
    assert alone.high < 110 < found.high


def test_bounds_over_replicates_hold_where_those_of_independent_runs_do_not():
    rng = random.Random(5)
    held, alone = 0, 0
    replicates = [r for r in range(10) for _ in range(30)]
    for _ in range(300):
        centres = [rng.gauss(0, 1) for _ in range(10)]
        values = [centres[r] + rng.gauss(0, 0.3) for r in replicates]
        low, high = stats.replicated_quantile(values, replicates, 0.5)[1:]
        held += low <= 0 <= high
        low, high = stats.bounded_quantile(values, 0.5)[1:]
        alone += low <= 0 <= high
    assert held >= 0.96 * 300
    assert alone <= 0.6 * 300
