"""The allotment of runs and the order of visits."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_bench.latency.schedule import (
    ROUNDS,
    allot,
    discarded_runs,
    least_runs,
    most_runs,
    plan_rounds,
    visits_of,
)

MS = 1_000_000
times = st.lists(st.floats(1e3, 1e8), min_size=1, max_size=30)


def cost(run_ns, runs):
    return run_ns * (runs + min(ROUNDS, max(1, runs // 2)) * discarded_runs(run_ns))


def test_shares_by_hand():
    # 0.1 s and 10 ms runs, one untimed run before each visit, 1.58 s. From a level of 0.9 s on the slow cell has three
    # visits, 6 runs and 3 untimed, and the fast one 86 and 4: 1.8 s, too much. Below it has two, 5 and 2: 0.7 s, and
    # 0.88 s are left to 84 and 4 of the fast
    found = allot([100 * MS, 10 * MS], 1580 * MS, least=2, most=1000)
    assert found.runs == (5, 84)
    assert found.planned_ns == 1580 * MS
    assert found.over_ns == 0


def test_what_a_fast_cell_cannot_use_goes_to_the_slow():
    found = allot([100 * MS, 10 * MS], 1580 * MS, least=2, most=10)
    # the fast cell takes 100 + 40 ms; 1440 ms hold ten runs and four untimed ones of the slow
    assert found.runs == (10, 10)


def test_the_least_is_kept_where_the_budget_is_too_small_and_the_excess_is_said():
    found = allot([1000 * MS, 10 * MS], 480 * MS, least=2, most=100)
    # two runs in one visit of the slow: 3 s; half an equal share, 120 ms, holds 8 runs of the fast, and 4 untimed
    assert found.runs == (2, 8)
    assert found.over_ns == pytest.approx(3000 * MS + 120 * MS - 480 * MS)


@given(times, st.floats(1e6, 1e10), st.integers(1, 5), st.integers(5, 300))
def test_an_allotment_keeps_its_budget_and_its_limits(run_ns, budget, least, most):
    found = allot(run_ns, budget, least, most)
    assert all(least <= n <= most for n in found.runs)
    assert found.planned_ns <= (budget + found.over_ns) * (1 + 1e-9)
    level = budget / (2 * len(run_ns))
    floors = [max([n for n in range(least, most + 1) if cost(t, n) <= level], default=least) for t in run_ns]
    excess = sum(cost(t, n) for t, n in zip(run_ns, floors, strict=True)) - budget
    assert found.over_ns == pytest.approx(max(0.0, excess), abs=1.0)
    by_speed = dict(zip(run_ns, found.runs, strict=True))
    assert found.runs == tuple(by_speed[t] for t in run_ns)


@given(times, st.integers(1, 4))
def test_a_larger_budget_gives_no_cell_less(run_ns, factor):
    small, large = (allot(run_ns, b, 2, 200).runs for b in (1e8, 1e8 * factor))
    assert all(a <= b for a, b in zip(small, large, strict=True))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers())
def test_rounds_give_every_cell_its_runs_once_a_round(runs, seed):
    visits = plan_rounds(runs, [1e6] * len(runs), random.Random(seed))
    given_runs = Counter()
    for visit in visits:
        given_runs[visit.cell] += visit.runs
    assert [given_runs[c] for c in range(len(runs))] == runs
    turns = Counter((v.cell, v.round) for v in visits)
    assert set(turns.values()) == {1}
    assert all(sum(v.cell == c for v in visits) == visits_of(n) for c, n in enumerate(runs))
    assert [v.round for v in visits] == sorted(v.round for v in visits)


def test_the_order_differs_from_round_to_round():
    visits = plan_rounds([8] * 10, [1e6] * 10, random.Random(0))
    orders = {tuple(v.cell for v in visits if v.round == r) for r in range(ROUNDS)}
    assert len(orders) == ROUNDS


def test_untimed_runs_fill_ten_milliseconds_and_are_at_least_one():
    assert discarded_runs(100_000) == 100
    assert discarded_runs(3 * MS) == 3
    assert discarded_runs(50 * MS) == 1


def test_runs_of_a_replicate():
    assert least_runs(10) == 2
    assert least_runs(3) == 4
    assert most_runs(10) == 200


@pytest.mark.parametrize(("runs", "visits"), [(1, 1), (2, 1), (3, 1), (4, 2), (7, 3), (8, 4), (200, 4)])
def test_a_visit_has_at_least_two_runs(runs, visits):
    assert visits_of(runs) == visits
